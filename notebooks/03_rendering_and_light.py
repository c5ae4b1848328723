# %% [markdown]
# # Rendering and light, and gradients through silhouettes
#
# The renderer is a function from numbers to a picture. This notebook shows what it returns, how nine numbers per
# colour describe a light, and why the derivative at an outline matters.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import facejax
from facejax.camera import Pose, axis_angle_to_quaternion, quaternion_multiply, transform_camera
from facejax.commands.demo import random_face
from facejax.evaluation.plot import draw_lines
from facejax.export import panels, to_uint8
from facejax.lighting import uniform_light
from facejax.programs import jit

SIDE = 256
model = facejax.load_face_model()
face = random_face(model, key=jax.random.key(5))
face = replace(face, camera=transform_camera(face.camera, jnp.asarray(SIDE / 400), jnp.asarray([-36.0, -36.0])))


def show(*images, captions=(), height=210):
    return Image.fromarray(to_uint8(panels(images, captions, height=height)))


# %% [markdown]
# ## What the renderer returns
#
# `facejax.render` returns a `Rendering`: colour, coverage (soft within a pixel of the outline), depth in millimetres,
# unit normals, and the texture coordinates that each pixel shows. `facejax.programs.jit` is `jax.jit` with
# compiler options that suit this renderer.

# %%
see = jit(lambda params: facejax.render(model, params, size=(SIDE, SIDE)))
seen = see(face)
near, far = seen.depth[seen.alpha == 1].min(), seen.depth.max()
depth = jnp.where(seen.alpha > 0.5, (far - seen.depth) / (far - near), 0)
inside = seen.alpha[..., None]
pictures = {
    "colour": seen.color,
    "coverage": jnp.repeat(inside, 3, axis=2),
    f"depth, {near:.0f} to {far:.0f} mm": jnp.repeat(depth[..., None], 3, axis=2),
    "normal": inside * (seen.normal + 1) / 2,
    "texture coordinates": jnp.concatenate([seen.uv, 0.5 * inside], axis=-1) * inside,
}
show(*pictures.values(), captions=list(pictures))

# %% [markdown]
# ## Light
#
# A light is nine numbers for each colour, the coefficients of the first spherical harmonics. The first number is
# light from all directions. The next three say how much more comes from above, from the front, and from the viewer's
# right. The last five refine its shape. That is enough for matt skin (Ramamoorthi and Hanrahan, 2001); it has no cast
# shadows. Light and skin are multiplied in linear RGB, not in the display values of a file.

# %%
dim = uniform_light(0.4)
colours = jnp.array([[1.0, 0.35, 0.1], [0.1, 0.35, 1.0]])  # of a lamp on the left and one on the right
lights = {
    "from everywhere": uniform_light(0.9),
    "from above": dim.at[1].set(0.9),
    "from the right": dim.at[3].set(0.9),
    "from below": dim.at[1].set(-0.9),
    "two lamps": dim.at[3].set(0.9 * (colours[1] - colours[0])).at[8].set(0.5),
}
show(*[see(replace(face, light=light)).color for light in lights.values()], captions=list(lights))

# %% [markdown]
# ## The derivative of a picture
#
# Turn the head a little to the viewer's right. Which pixels become brighter (red), and which darker (blue)? `jax.jvp`
# computes that picture in one pass. Inside the face, a pixel changes because the skin under it moves. At the outline
# it changes from head to wall. A plain rasteriser has no derivative there, because each pixel shows one triangle or
# another. This renderer blends the two pixels at an outline by its exact position between their centres, so the
# derivative exists there too. `edges=False` leaves it out.


# %%
def turned(angle):
    """The face, turned about the vertical axis by an angle in radians."""
    turn = axis_angle_to_quaternion(angle * jnp.array([0.0, 1.0, 0.0]))
    return replace(face, pose=replace(face.pose, rotation=quaternion_multiply(turn, face.pose.rotation)))


@jit
def derivatives(angle):
    """By the angle: of grey values and coverage, and of grey values without edges."""

    def picture(angle, edges=True):
        seen = facejax.render(model, turned(angle), size=(SIDE, SIDE), edges=edges)
        return seen.color.mean(axis=-1), seen.alpha

    _, (grey, coverage) = jax.jvp(picture, (angle,), (1.0,))
    _, (inside, _) = jax.jvp(lambda angle: picture(angle, edges=False), (angle,), (1.0,))
    return grey, coverage, inside


def signed(change, most=4.0):
    """Red for more, blue for less, white for the same."""
    x = np.clip(np.asarray(change)[..., None] / most, -1, 1)
    return np.where(x > 0, 1 - x * np.array([0.1, 0.9, 0.9]), 1 + x * np.array([0.9, 0.8, 0.1]))


brighter, more_covered, inside_only = derivatives(0.0)
show(seen.color, signed(brighter), signed(inside_only), captions=["", "derivative", "without edges"], height=320)

# %% [markdown]
# Is it right? The area of the head in the picture, in pixels, changes as the head turns. Turn it by half a degree in
# both directions and measure the change. The derivative of the coverage should agree.

# %%
step = np.deg2rad(0.5)
more, less = (see(turned(angle)).alpha.sum() for angle in (step, -step))
print(f"by turning     {(more - less) / (2 * step):8.1f} pixels a radian")
print(f"by derivative  {more_covered.sum():8.1f}")

# %% [markdown]
# ## An application: a pose from a silhouette
#
# Take only the coverage of the head, a white shape on black, and start from a wrong pose. There is no colour and no
# landmark, so only the outline gives a gradient. Eighty steps of Adam on rotation and position reduce the mean
# squared difference.

# %%
STEPS = 80
target = seen.alpha
units = jnp.array([0.01] * 3 + [1.0] * 3)  # a hundredth of a radian moves the skin about as far as a millimetre


def shadow(change):
    """Coverage of the head, turned and moved."""
    turn, shift = jnp.split(change * units, 2)
    rotation = quaternion_multiply(axis_angle_to_quaternion(turn), face.pose.rotation)
    posed = replace(face, pose=Pose(rotation, face.pose.translation + shift))
    return facejax.render(model, posed, size=(SIDE, SIDE)).alpha


def loss(change):
    alpha = shadow(change)
    return jnp.mean((alpha - target) ** 2), alpha


optimiser = optax.adam(optax.cosine_decay_schedule(2.5, STEPS))


@jit
def descend(start):
    def step(state, _):
        change, memory = state
        (_, alpha), gradient = jax.value_and_grad(loss, has_aux=True)(change)
        update, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(change, update), memory), (change, alpha)

    return jax.lax.scan(step, (start, optimiser.init(start)), None, length=STEPS + 1)[1]


changes, shadows = descend(jnp.array([10.0, 30.0, -12.0, 22.0, -15.0, 0.0]))
degrees = jnp.rad2deg(jnp.linalg.norm(changes[:, :3] * units[:3], axis=1))
millimetres = jnp.linalg.norm(changes[:, 3:5], axis=1)
print(f"start: {degrees[0]:4.1f} degrees and {millimetres[0]:4.1f} mm off")
print(f"end:   {degrees[-1]:4.1f} degrees and {millimetres[-1]:4.1f} mm off")

# %% [markdown]
# Green: only the target. Red: only the head. Grey: both.


# %%
def overlay(alpha):
    both = jnp.minimum(alpha, target)[..., None]
    head_only = (alpha[..., None] - both) * jnp.array([0.9, 0.2, 0.15])
    target_only = (target[..., None] - both) * jnp.array([0.2, 0.7, 0.3])
    return head_only + target_only + 0.45 * both


steps = [0, 6, 12, 24, STEPS]
show(*[overlay(shadows[k]) for k in steps], captions=[f"step {k}" for k in steps])

# %%
count = np.arange(STEPS + 1)
curves = {"degrees off": (count, np.asarray(degrees)), "millimetres off": (count, np.asarray(millimetres))}
plot = draw_lines(curves, across=np.arange(0, STEPS + 1, 20), up=np.arange(0, 31, 10), x_label="step", corner="top")
Image.fromarray(to_uint8(plot))
