# %% [markdown]
# # A face in five minutes
#
# From a photo, facejax recovers a 3D face: its shape, its skin without the light, its pose, its expression, and the
# light in the photo. Everything below runs on a laptop and downloads nothing.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.commands.demo import errors_against, portrait, random_face
from facejax.export import alpha_over, draw_landmarks, panels, to_uint8
from facejax.programs import jit


def show(*images, captions=(), height=None):
    """Pictures side by side, as the notebook displays them."""
    return Image.fromarray(to_uint8(panels(images, captions, height=height)))


# %% [markdown]
# ## The photograph
#
# This photo shows nobody. We draw a random person from the head that comes with the package, and render it in front
# of a grey wall with some noise. So we know the truth, and need nobody's picture. For a photo of your own, write
# `photo = facejax.read_image("photo.jpg")`.

# %%
model = facejax.load_face_model()
truth = random_face(model, key=jax.random.key(11))
photo, _ = portrait(model, truth, key=jax.random.key(12))
show(photo, height=320)

# %% [markdown]
# ## The fit
#
# `facejax.fit` detects the face, asks a small network for its 68 landmarks, fits the 3D head to them, and then
# compares pixels. A **recipe** says how, and with which loss terms. Here we use the linear one on a small crop; without
# `recipe=` the files of the result would also hold the maps of the skin. The first call compiles; the next call of the
# same size does not.

# %%
quick = replace(facejax.LINEAR, name="quick", size=128)
result = facejax.fit(model, [photo], recipe=quick)
print({name: round(seconds, 1) for name, seconds in result.seconds.items()})

# %% [markdown]
# ## What is in the result
#
# `result.params` is a tree of arrays whose first axis counts the faces: identity, expression, skin, pose, camera and
# light. `result.save("out")` writes all of it as files: meshes; a `face.glb` for Blender and most viewers, with every
# expression as a slider; the skin as a texture; an `overlay.png`, to look at first; and a `summary.json`, which says
# how well the fit went.

# %%
face = jax.tree.map(lambda leaf: leaf[0], result.params)  # the first and only face
blocks = {"identity": face.identity, "expression": face.expression, **face.appearance, "light": face.light}
print({name: block.shape for name, block in blocks.items()})

# %% [markdown]
# ## It is a 3D face
#
# `render` makes a picture from parameters. It takes one face, and `jax.vmap` makes it take many. Here are six at
# once: the face as the photo saw it, and then turned, smiling, with an open mouth, and with closed eyes. For each we
# only change a number and render again.

# %%
camera = PerspectiveCamera(focal=jnp.float32(1750.0), principal=jnp.float32([256.0, 256.0]))  # pixels, of 512 a side


def turned(degrees, **expressions):
    """The fitted face at another pitch, yaw and roll (degrees), with other expression weights."""
    weights = jnp.zeros_like(face.expression)
    for name, weight in expressions.items():
        weights = weights.at[model.expression_names.index(name)].set(weight)
    pose = Pose(euler_to_quaternion(jnp.float32(degrees)), jnp.float32([0.0, 0.0, -1000.0]))
    return replace(face, pose=pose, camera=camera, expression=weights)


views = [
    face,
    turned([0, -50, 0]),
    turned([0, -25, 0]),
    turned([0, 0, 0], mouthSmileLeft=0.9, mouthSmileRight=0.9),
    turned([0, 25, 0], jawOpen=0.7, browInnerUpLeft=0.8, browInnerUpRight=0.8),
    turned([12, 50, 8], eyeBlinkLeft=1.0, eyeBlinkRight=1.0),
]
many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
night = jnp.array([0.10, 0.11, 0.13])
seen = jit(jax.vmap(lambda one: facejax.render(model, one, size=(512, 512), background=night)))(many)
show(*seen.color[1:], height=210)

# %% [markdown]
# Below: the first of the six laid over the photo; the landmarks that the network saw (green) and those of the fit
# (red); and the skin without the light, as a map that goes around the head.

# %%
overlay = alpha_over(seen.color[0], photo, seen.alpha[0])
dots = draw_landmarks(photo, result.observed[0])
dots = draw_landmarks(dots, result.landmarks[0], color=(1.0, 0.25, 0.2), radius=1.5)
skin = facejax.decode_albedo(model, face)
show(photo, overlay, dots, skin, captions=["photograph", "fit over it", "landmarks", "skin"], height=280)

# %% [markdown]
# ## How exact is it?
#
# We know the truth here, so we can measure the error of the fit: the distance of its vertices to the true ones, over
# the face. Before measuring, we align them by the best shift, rotation and scale, since one photo does not say how
# large a head is.

# %%
for name, error in errors_against(model, truth, result).items():
    print(f"{name:25s} {error:6.2f}")
