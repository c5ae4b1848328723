# %% [markdown]
# # Your own objective, your own stage
#
# A photograph says little about depth: a larger head further away looks the same, and how far a nose sticks out hardly
# moves a pixel. Suppose your camera measures depth too, as many phones do. The library has no term for that. This
# notebook writes one, in five lines, and runs it in a stage for three people at once.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, project, to_camera
from facejax.commands.demo import random_face
from facejax.evaluation.plot import draw_lines
from facejax.export import panels, to_uint8
from facejax.fitting import TERMS, Term, fit_landmarks, run_stage
from facejax.fitting.scene import Observation
from facejax.fitting.stages import schedule
from facejax.programs import jit

SIDE = 224
model = facejax.load_face_model()


def show(*rows, captions=(), height=190):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Three people before a depth camera
#
# They are drawn from the model, so that the truth is known. The landmarks are off by a pixel or so, as a detector's
# are; the depth is off by a millimetre, and a fifth of it is missing.

# %%
person, dots, noise, holes = jax.random.split(jax.random.key(6), 4)


@jit
@jax.vmap
def draw_person(key):
    """Someone, before the camera of a picture of SIDE pixels."""
    camera = PerspectiveCamera(focal=jnp.float32(520.0), principal=jnp.float32([SIDE / 2, SIDE / 2]))
    return replace(random_face(model, key=key), camera=camera)


@jit
@jax.vmap
def view(params, texture):
    wall = jnp.array([0.2, 0.22, 0.26])
    return facejax.render(model, params, size=(SIDE, SIDE), texture=texture, background=wall, edges=False)


@jit
@jax.vmap
def mark(params):
    """The 68 landmarks, pixels."""
    points = facejax.landmarks(model, facejax.decode(model, params), params.pose.rotation)
    return project(params.camera, to_camera(params.pose, points))[:, :2]


truth = draw_person(jax.random.split(person, 3))
seen_truly = view(truth, jax.vmap(model.albedo.decode)(truth.albedo))
photos = seen_truly.color
points = mark(truth) + 0.7 * jax.random.normal(dots, (3, 68, 2))
measured = (seen_truly.triangle >= 0) & (jax.random.uniform(holes, (3, SIDE, SIDE)) > 0.2)
depth = jnp.where(measured, seen_truly.depth + jax.random.normal(noise, measured.shape), 0.0)  # mm; 0: unknown


def grey(depth):
    """Near is bright."""
    return jnp.repeat(jnp.where(depth > 0, jnp.clip((860 - depth) / 260, 0.1, 1), 0)[..., None], 3, axis=-1)


show(photos, grey(depth))

# %% [markdown]
# ## Where the fit begins
#
# The landmarks alone give pose, shape and expression: `fit_landmarks` is the first step of every recipe, and a pure
# function like all others. The focal length is known here, and given; the jaw points lie on the outline ("moving").


# %%
@jit
@jax.vmap
def begin_with(points, focal):
    principal = jnp.float32([SIDE / 2, SIDE / 2])
    return fit_landmarks(model, points, focal=focal, principal=principal, contour="moving")


begin = begin_with(points, truth.camera.focal)

# %% [markdown]
# ## The term
#
# A `Term` is a function of the *scene*: the current parameters, the rendering that they make, the projected landmarks,
# and what was observed. It returns one number, and JAX does the derivative. It may hold on to data of its own, here the
# depth map of its face.
#
# This one is the mean distance in depth, quadratic near zero and linear far away, so that a wrong measurement does not
# pull harder than ten right ones.


# %%
def depth_term(measured):
    def value(scene):
        both = (measured > 0) & (scene.rendering.triangle >= 0)
        apart = jnp.where(both, scene.rendering.depth - measured, 0.0)  # mm
        return jnp.sum(jnp.sqrt(1 + apart**2) - 1) / jnp.sum(both)

    return Term(value)


# %% [markdown]
# ## The stage
#
# A `Stage` is data: which blocks of the parameters move and how far a step takes them (standard deviations, weights,
# radians, millimetres), and which terms are added up with which weights. The steps are Adam's, scaled by an optax
# schedule that the stage describes with two numbers: full pace, then a half cosine down to `floor` over the last
# `rampdown` of the steps. Here the place of the head may be centimetres off, so it gets the longest steps.

# %%
stage = facejax.Stage(
    name="depth",
    steps=120,
    rates=(("identity", 0.1), ("expression", 0.005), ("rotation", 0.002), ("translation", 4.0)),
    weights=(("depth", 1.0), ("landmarks", 200.0), ("identity", 0.2), ("expression", 0.1)),
    rampdown=0.8,
)
steps = np.arange(stage.steps)
paces = {f"rampdown {share:g}": schedule(replace(stage, rampdown=share)) for share in (0.2, 0.8, 1.0)}
curves = {name: (steps, np.array([pace(k) for k in steps])) for name, pace in paces.items()}
axes = {"across": np.arange(0, 121, 30), "x_label": "step", "corner": "top"}
plot = draw_lines(curves, up=np.arange(0, 1.6, 0.5), title="pace of the steps", **axes)
Image.fromarray(to_uint8(plot))

# %% [markdown]
# ## The run
#
# `run_stage` runs a stage on one face; `terms` are the library's, and ours beside them. `vmap` makes it three faces,
# each with its own depth map, in one compiled program.


# %%
@jit
@jax.vmap
def refine(params, seen, measured):
    terms = {**TERMS, "depth": depth_term(measured)}
    return run_stage(model, params, seen, stage=stage, terms=terms)


seen = Observation(
    image=photos,
    valid=jnp.ones((3, SIDE, SIDE)),
    landmarks=points,
    landmark_weights=jnp.ones((3, 68)),
    size=jnp.sqrt(jnp.prod(jnp.ptp(points, axis=1), axis=1)),  # of the face, pixels
    moving=begin.moving,
)
params, trace = refine(begin.params, seen, depth)
losses = {f"person {k}": (steps, np.asarray(trace.terms["depth"][k])) for k in range(3)}
plot = draw_lines(losses, up=np.arange(0, 21, 5), title="depth term, mm", **axes)
Image.fromarray(to_uint8(plot))

# %% [markdown]
# ## Did it help?
#
# How far the fitted surface lies before (red) or behind (blue) the true one, up to 10 mm: after the landmarks, and
# after the stage.


# %%
clay = jnp.full((3, *model.albedo.mean.shape), 0.75, jnp.float32)


def signed(off, known, most=10.0):
    x = np.clip(np.asarray(off)[..., None] / most, -1, 1)
    colour = np.where(x > 0, 1 - x * np.array([0.1, 0.9, 0.9]), 1 + x * np.array([0.9, 0.8, 0.1]))
    return np.where(np.asarray(known)[..., None], colour, 0.1)


def compare(params):
    found = view(params, clay)
    known = (found.triangle >= 0) & (seen_truly.triangle >= 0)
    return signed(seen_truly.depth - found.depth, known)


show(compare(begin.params), compare(params))

# %% [markdown]
# The profile is where it counts, and no photograph from the front shows it: the truth, the landmarks alone, with depth.


# %%
def profile(params):
    """The same heads from the side, in clay."""
    rotation = jnp.tile(euler_to_quaternion(jnp.array([0.0, 80.0, 0.0])), (3, 1))
    pose = Pose(rotation, jnp.tile(jnp.array([0.0, 0.0, -750.0]), (3, 1)))
    light = jnp.zeros((3, 9, 3)).at[:, 0].set(0.7).at[:, 3].set(1.3)
    return view(
        replace(truth, identity=params.identity, expression=params.expression, pose=pose, light=light), clay
    ).color


show(profile(truth), profile(begin.params), profile(params))

# %% [markdown]
# In numbers: the mean distance of the face's vertices to the true ones, in camera space, so that place counts as well
# as shape.

# %%
face = np.flatnonzero(model.regions["face"] > 0.5)


@jit
@jax.vmap
def off(params, truth):
    found, true = (to_camera(one.pose, facejax.decode(model, one))[face] for one in (params, truth))
    return jnp.linalg.norm(found - true, axis=-1).mean()


for name, one in {"landmarks": begin.params, "with depth": params}.items():
    print(f"{name:12s}", *(f"{distance:6.2f} mm" for distance in off(one, truth)))
