# %% [markdown]
# # The morphable model and its coefficients
#
# A 3D morphable model (Blanz and Vetter, 1999) is a mean face and a list of directions in which faces differ. A face
# is then a few numbers: how far to go along each direction.
#
# $$\text{vertices} = \text{mean} + \sum_k c_k\,\sigma_k\,\text{identity}_k + \sum_j w_j\,\text{expression}_j$$
#
# This notebook shows the directions of the head that comes with the package, one kind after the other.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, euler_to_quaternion, project, to_camera
from facejax.export import bake_vertex_colors, draw_landmarks, panels, to_uint8
from facejax.lighting import uniform_light
from facejax.programs import jit

model = facejax.load_face_model()
print(f"{len(model.mean):,} vertices, {len(model.faces):,} triangles")
print(f"{len(model.identity_std)} directions of identity, {len(model.expression_names)} expressions")
print(f"{model.albedo.count} directions of skin colour, as maps of {model.albedo.mean.shape[0]} texels a side")

# %% [markdown]
# ## Drawing faces
#
# `FaceParams` describe one face; `neutral_params` are those of the mean face in front of a camera. `replace` gives a
# copy with a changed part. Below, one compiled program draws five faces at a time, each with its own texture: skin,
# or plain clay if only the shape matters.

# %%
SIDE = 512
camera = PerspectiveCamera(focal=jnp.asarray(1350.0), principal=jnp.full(2, SIDE / 2))  # pixels
mean = facejax.neutral_params(model, camera, distance=750.0)  # millimetres
light = uniform_light(0.5).at[1].set(0.35).at[2].set(0.3).at[3].set(0.55)  # some from everywhere, more from a corner
mean = replace(mean, light=light)
clay = jnp.full((256, 256, 3), 0.75, jnp.float32)
night = jnp.array([0.10, 0.11, 0.13])


def one_picture(params, texture):
    # Without edges, that is, without antialiasing: it compiles faster, and the pictures are shrunk anyway.
    return facejax.render(model, params, size=(SIDE, SIDE), texture=texture, background=night, edges=False).color


draw = jit(jax.vmap(one_picture))


def stack(trees):
    """Many trees of arrays as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def show(*rows, captions=(), height=210):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Identity
#
# The first directions hold most of the differences between people. Coefficients are in standard deviations: 0 is the
# mean, most people lie between -2 and 2, and hardly anyone is at 3.

# %%
steps = [-3.0, -1.5, 0.0, 1.5, 3.0]


def along(component):
    faces = [replace(mean, identity=mean.identity.at[component].set(step)) for step in steps]
    return draw(stack(faces), jnp.stack([clay] * 5))


show(along(0), along(1), along(2), captions=[f"{step:+g} standard deviations" for step in steps])

# %% [markdown]
# Where does each direction move the skin? Yellow: by 5 mm or more. Blue: not at all.


# %%
def heat(distance, most=5.0):
    """Colours (V, 3) of distances in mm."""
    x = np.clip(np.asarray(distance)[:, None] / most, 0, 1)
    return (1 - x) * np.array([0.15, 0.25, 0.55]) + x * np.array([1.0, 0.85, 0.2])


def paint(colours):
    """A texture from a colour for each vertex."""
    return bake_vertex_colors(colours, model.faces, model.uv, model.topology.uv_faces, 256)


moved = model.identity_std[:, None] * jnp.linalg.norm(model.identity_basis, axis=-1)  # (K, V), mm
textures = jnp.stack([jnp.asarray(paint(heat(distance))) for distance in moved[:5]])
show(draw(stack([mean] * 5), textures), captions=[f"identity {k}" for k in range(5)])

# %% [markdown]
# ## Expression
#
# Expressions are named shapes with weights between 0 and 1. The names are those that animators and phones use.
# Expressions add up, so a grin with one raised brow is three numbers.

# %%
named = {
    "jaw open": ["jawOpen"],
    "smile": ["mouthSmileLeft", "mouthSmileRight"],
    "pucker": ["mouthPucker"],
    "wink": ["eyeBlinkLeft"],
    "one brow raised": ["mouthSmileLeft", "browInnerUpLeft", "browOuterUpLeft"],
}


def with_expression(names):
    index = jnp.array([model.expression_names.index(name) for name in names])
    return replace(mean, expression=mean.expression.at[index].set(1.0))


faces = stack([with_expression(names) for names in named.values()])
show(draw(faces, jnp.stack([clay] * 5)), captions=list(named))

# %% [markdown]
# ## Skin
#
# Colour works the same way: a mean map and directions. A map holds the *albedo*, the colour of the skin without
# light. The renderer adds the light later. Here are five skins on one shape:

# %%
albedos = 1.2 * jax.random.normal(jax.random.key(1), (5, model.albedo.count))
skins = jax.vmap(model.albedo.decode)({"albedo": albedos})  # (5, 256, 256, 3)
show(draw(stack([mean] * 5), skins), skins)

# %% [markdown]
# ## People
#
# The coefficients are scaled so that standard normal numbers give plausible people. Nobody below exists.

# %%
shapes = 0.9 * jax.random.normal(jax.random.key(2), (5, len(model.identity_std)))
people = stack([replace(mean, identity=shape) for shape in shapes])
show(draw(people, jnp.stack([clay] * 5)), draw(people, skins))

# %% [markdown]
# `decode` computes the sum. Written out it is a few lines, and gives the same result to the last micrometre.

# %%
one = replace(with_expression(["jawOpen"]), identity=shapes[0])
by_hand = model.mean + jnp.einsum("k,kvc->vc", one.identity * model.identity_std, model.identity_basis)
by_hand = by_hand + jnp.einsum("k,kvc->vc", one.expression * model.expression_std, model.expression_basis)
f"largest difference: {float(jnp.abs(facejax.decode(model, one) - by_hand).max()):.6f} mm"

# %% [markdown]
# ## Landmarks
#
# 68 points connect the model to photos. Most are fixed points of the surface. Those along the jaw are not: people and
# detectors mark the *outline*, and when the head turns, another part of the cheek becomes the outline. Given the
# rotation of the head, `landmarks` follows the outline (green; the fixed points are red).

# %%
turned = replace(mean, pose=replace(mean.pose, rotation=euler_to_quaternion(jnp.array([0.0, 35.0, 0.0]))))
vertices = facejax.decode(model, turned)
fixed = facejax.landmarks(model, vertices)
outline = facejax.landmarks(model, vertices, turned.pose.rotation)
pixels = [project(camera, to_camera(turned.pose, points))[:, :2] for points in (fixed, outline)]
picture = draw(stack([turned] * 5), jnp.stack([clay] * 5))[0]
marked = draw_landmarks(picture, pixels[0], color=(0.9, 0.15, 0.1), radius=4.0)
both = draw_landmarks(marked, pixels[1], radius=4.0)
show([picture, marked, both], captions=["", "fixed", "following the outline"], height=340)

# %% [markdown]
# ## Regions
#
# Masks over the vertices say where things are, for example where the skin is, or which part a loss should use.

# %%
colours = {"forehead": (0.9, 0.6, 0.2), "nose": (0.2, 0.6, 0.9), "cheeks": (0.9, 0.3, 0.4), "lips": (0.6, 0.2, 0.7)}
colours |= {"eyes": (0.2, 0.75, 0.4), "chin": (0.95, 0.85, 0.3), "ears": (0.4, 0.4, 0.9), "neck": (0.5, 0.7, 0.7)}
table = np.full((len(model.mean), 3), 0.75)
for name, colour in colours.items():
    weight = np.asarray(model.regions[name])[:, None]
    table = (1 - weight) * table + weight * np.array(colour)
map_of_regions = jnp.asarray(paint(table))
picture = draw(stack([mean] * 5), jnp.stack([map_of_regions] * 5))[0]
show([picture, map_of_regions], captions=["", "the same as a texture"], height=340)
