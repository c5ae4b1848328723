"""A pose that is off comes back by following the rendered image's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from raster_oracle import bumpy_head

from facejax.camera import PerspectiveCamera, axis_angle_to_quaternion, quaternion_to_matrix
from facejax.mesh import face_neighbors
from facejax.programs import jit
from facejax.programs.promotion import standard_promotion
from facejax.rendering import render_mesh

SIDE = 64


def test_a_pose_off_by_eight_degrees_and_ten_millimetres_is_recovered():
    vertices, faces = bumpy_head(3)
    vertices, faces = jnp.asarray(vertices, jnp.float32), jnp.asarray(faces)
    neighbors = face_neighbors(faces)
    view = PerspectiveCamera(jnp.float32(160), jnp.full(2, SIDE / 2))
    light = jnp.asarray(np.random.default_rng(2).normal(size=(9, 3)) * 0.4, jnp.float32).at[0].set(2.2)

    def image(pose):  # rotation vector in units of 0.1 rad, shift in cm
        rotation = quaternion_to_matrix(axis_angle_to_quaternion(pose[:3] * 0.1))
        placed = vertices @ rotation.T + (pose[3:] * 10 + jnp.array([0, 0, -600.0]))[None]
        seen = render_mesh(placed, faces, view, size=(SIDE, SIDE), light=light, neighbors=neighbors)
        return jnp.concatenate([seen.color, seen.alpha[..., None]], axis=-1)

    @jit
    def recover(truth, start):
        target = image(truth)
        optimiser = optax.adam(optax.exponential_decay(0.08, 40, 0.5))

        def step(state, _):
            pose, memory = state
            value, slope = jax.value_and_grad(lambda p: jnp.mean((image(p) - target) ** 2))(pose)
            change, memory = standard_promotion(optimiser.update)(slope, memory)
            return (pose + change, memory), value

        (pose, _), losses = jax.lax.scan(step, (start, optimiser.init(start)), length=160)
        return pose, losses

    truth = jnp.array([0.5, 2.0, 0.4, 0.3, -0.2, 0.0])
    start = truth + jnp.array([0.8, -0.9, 0.7, 0.8, -0.6, 0.0])
    pose, losses = recover(truth, start)
    off = np.asarray(pose - truth)
    assert losses[-1] < 1e-3 * losses[0]
    assert np.rad2deg(np.linalg.norm(off[:3] * 0.1)) < 0.5
    assert np.linalg.norm(off[3:5] * 10) < 0.5  # across the view; along it the image says little
