# %% [markdown]
# # A face in five minutes
#
# A photograph goes in; out come a 3D face, its skin without the light, its pose, its expression and the light it stood
# in. Everything below runs on a laptop and downloads nothing.

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
# This one is of nobody: a person is drawn at random from the head that comes with the package, and rendered before a
# grey wall with some noise. So the truth is known, and no one's picture is needed. For a photograph of your own write
# `photo = facejax.read_image("photo.jpg")`.

# %%
model = facejax.load_face_model()
truth = random_face(model, key=jax.random.key(11))
photo, _ = portrait(model, truth, key=jax.random.key(12))
show(photo, height=320)

# %% [markdown]
# ## The fit
#
# `facejax.fit` looks for the face, asks a small network for its 68 landmarks, fits the 3D head to them, and then
# compares pixels: a **recipe** says how long and with which terms. Without `recipe=` you get the best one, which takes
# half a minute to compile; here a short one does. The first call compiles, the next one of the same size does not.

# %%
everything = replace(facejax.LINEAR.stages[-1], steps=60)
quick = replace(facejax.LINEAR, name="quick", stages=(everything,), size=128)
result = facejax.fit(model, [photo], recipe=quick)
print({name: round(seconds, 1) for name, seconds in result.seconds.items()})

# %% [markdown]
# ## What is in the result
#
# `result.params` is a tree of arrays whose first axis counts the faces: who it is, what the face does, its skin, where
# the head is, the camera, the light. `result.save("out")` writes all of it as files: meshes, a `face.glb` for Blender
# and most viewers with every expression as a slider, the skin as a texture, an `overlay.png` to look at first, and a
# `summary.json` that says how well the fit went.

# %%
face = jax.tree.map(lambda leaf: leaf[0], result.params)  # the first and only face
print({name: getattr(face, name).shape for name in ("identity", "expression", "albedo", "light")})

# %% [markdown]
# ## It is a 3D face
#
# `render` makes a picture of parameters, and is written for one face; `jax.vmap` makes it take many. Here are six at
# once: the face where the photograph saw it, and then turned, smiling, with an open mouth and with closed eyes. All it
# takes is to change a number and render again.

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
# The first of the six, laid over the photograph; the landmarks that the network saw (green) and those of the fit (red);
# and the skin, as a map that goes around the head, without the light.

# %%
overlay = alpha_over(seen.color[0], photo, seen.alpha[0])
dots = draw_landmarks(photo, result.observed[0])
dots = draw_landmarks(dots, result.landmarks[0], color=(1.0, 0.25, 0.2), radius=1.5)
skin = facejax.decode_albedo(model, face)
show(photo, overlay, dots, skin, captions=["photograph", "fit over it", "landmarks", "skin"], height=280)

# %% [markdown]
# ## How near is it?
#
# Here the truth is known, so the fit can be told how far off it is: the distance of its vertices to the true ones, over
# the face, after the best shift, turn and scale, since one photograph does not say how large a head is.

# %%
for name, error in errors_against(model, truth, result).items():
    print(f"{name:25s} {error:6.2f}")
