# %% [markdown]
# # Your own objective
#
# A photograph says little about depth: a larger head further away looks the same, and how far a nose sticks out hardly
# moves a pixel. Suppose your camera measures depth too, as many phones do. The library has no term for that. This
# notebook writes one, in two lines, and hands it to `facejax.fit` with a depth map for each photograph.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, project, to_camera
from facejax.commands.demo import random_face
from facejax.evaluation.plot import draw_lines
from facejax.export import panels, to_uint8
from facejax.mesh import align_similarity
from facejax.programs import jit

SIDE, FOCAL = 224, 520.0  # pixels
model = facejax.load_face_model()


def show(*rows, captions=(), height=190):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Three people before a depth camera
#
# They are drawn from the model, so that the truth is known. The landmarks are off by a pixel or so, as a detector's
# are; the depth is off by a millimetre. The wall is 1.2 metres away.

# %%
person, dots, noise = jax.random.split(jax.random.key(6), 3)


@jit
@jax.vmap
def draw_person(key):
    """Someone, before the camera of a picture of SIDE pixels."""
    camera = PerspectiveCamera(focal=jnp.float32(FOCAL), principal=jnp.float32([SIDE / 2, SIDE / 2]))
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
seen = view(truth, jax.vmap(model.albedo.decode)(truth.appearance))
photos = list(np.asarray(seen.color))
points = list(np.asarray(mark(truth) + 0.7 * jax.random.normal(dots, (3, 68, 2))))
surface = jnp.where(seen.triangle >= 0, seen.depth, 1200.0)  # mm from the camera
depths = list(np.asarray(surface + jax.random.normal(noise, surface.shape)))


def grey(depth):
    """Near is bright."""
    return np.repeat(np.clip((860 - depth) / 260, 0, 1)[..., None], 3, axis=-1)


show(photos, [grey(depth) for depth in depths])

# %% [markdown]
# ## The term
#
# A term is a function of the *scene*: `scene.rendering` is what the current parameters look like, `scene.mask` says
# where the face is compared with the photograph, and `scene.data` holds what was given with the term. It returns one
# number, and JAX does the derivative. This one is the mean distance in depth, quadratic near zero and linear far away,
# so that a wrong measurement pulls no harder than a right one.


# %%
def depth_error(scene):
    apart = scene.rendering.depth - scene.data["depth"]  # mm
    return jnp.sum(scene.mask * (jnp.sqrt(1 + apart**2) - 1)) / jnp.sum(scene.mask)


# %% [markdown]
# ## The fit
#
# `facejax.Maps` are pictures of the photographs' sizes; the fit cuts and scales them as it cuts and scales the
# photographs. (`facejax.Points` are places in the photographs, `facejax.Numbers` are anything else.) A term that no
# stage of the recipe names joins all of them, with its `weight`.
#
# The recipe has one stage of Adam in which everything moves, with the weights of the library's linear recipe. The head
# may be centimetres from where its landmarks put it, and steps of a tenth of a millimetre do not lead there; so the fit
# with depth takes longer ones. Without depth nothing says where to go, and long steps lead astray.

# %%
everything = facejax.Stage(
    "all",
    steps=120,
    rates=(
        ("identity", 0.03),
        ("expression", 0.01),
        ("albedo", 0.05),
        ("light", 0.02),
        ("rotation", 0.002),
        ("translation", 0.1),
    ),
    weights=facejax.LINEAR.stages[0].weights,
)
longer = dict(everything.rates) | {"translation": 3.0, "identity": 0.1}
recipe = replace(facejax.LINEAR, name="short", stages=(everything,), size=112, contour="moving")
with_depth = replace(recipe, name="with depth", stages=(replace(everything, rates=tuple(longer.items())),))

depth = facejax.Term(depth_error, weight=0.02, data=facejax.Maps(depths))
without = facejax.fit(model, photos, points, recipe=recipe, focal=FOCAL)
result = facejax.fit(model, photos, points, recipe=with_depth, focal=FOCAL, terms={"depth": depth})

# %% [markdown]
# The result keeps the weighted value of every term at every step:

# %%
errors = np.asarray(result.faces.terms[everything.name]["depth"]) / depth.weight
lines = {f"person {k}": (np.arange(everything.steps), values) for k, values in enumerate(errors)}
axes = {"across": np.arange(0, 121, 30), "x_label": "step", "corner": "top"}
plot = draw_lines(lines, up=np.arange(0, 61, 20), title="depth term, mm", **axes)
Image.fromarray(to_uint8(plot))

# %% [markdown]
# ## Did it help?
#
# How far the fitted surface lies before (red) or behind (blue) the true one, up to 50 mm: without the term, and with
# it.


# %%
clay = jnp.full((3, *model.albedo.mean.shape), 0.75, jnp.float32)


def compare(params, most=50.0):
    """Red where the surface is too near, blue where it is too far; dark where there is none."""
    found = view(params, clay)
    off = np.clip(np.asarray(seen.depth - found.depth)[..., None] / most, -1, 1)
    colour = np.where(off > 0, 1 - off * np.array([0.1, 0.9, 0.9]), 1 + off * np.array([0.9, 0.8, 0.1]))
    known = np.asarray((found.triangle >= 0) & (seen.triangle >= 0))
    return np.where(known[..., None], colour, 0.1)


show(compare(without.params), compare(result.params))

# %% [markdown]
# In numbers: the mean distance of the face's vertices to the true ones where they are in space, and of the shape alone,
# after the best shift, turn and scale. Most of the gain is in the place.

# %%
face = np.flatnonzero(model.regions["face"] > 0.5)


@jit
@jax.vmap
def distances(params, truth):
    found, true = (to_camera(one.pose, facejax.decode(model, one))[face] for one in (params, truth))
    scale, rotation, shift = align_similarity(found, true)
    aligned = scale * found @ rotation.T + shift
    return [jnp.linalg.norm(one - true, axis=-1).mean() for one in (found, aligned)]


for name, one in {"without depth": without, "with depth": result}.items():
    for kind, values in zip(("in space", "shape"), distances(one.params, truth), strict=True):
        print(f"{name:14s} {kind:9s}", *(f"{value:6.2f} mm" for value in values))
