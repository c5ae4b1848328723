# %% [markdown]
# # From photographs to a clean texture
#
# A photo of a face is already a texture, but it is bent around a head, lit from one side, and half of it is missing.
# *Unwrapping* straightens it: for each texel of a map, it finds the point on the head, the place of that point in the
# photo, and the colour there. Then the light is divided out, several views are combined, and gaps are filled.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, euler_to_quaternion, project, to_camera
from facejax.commands.demo import random_face
from facejax.export import panels, to_uint8
from facejax.lighting import uniform_light
from facejax.programs import jit
from facejax.unwrap import cut_out, face_layout, template_map, unwrap_photos

SIDE, TEXELS = 512, 256
model = facejax.load_face_model()


def show(*rows, captions=(), height=210):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Three photographs of one face
#
# They show a person drawn from the model, with freckles, which the model does not have: from the left, the front and
# the right, in the light of a window on one side.

# %%
person, skin, freckles, noise = jax.random.split(jax.random.key(31), 4)
camera = PerspectiveCamera(focal=jnp.float32(1250.0), principal=jnp.float32([SIDE / 2, SIDE / 2]))
face = random_face(model, key=person)
light = uniform_light(0.55).at[2].set(0.15).at[3].set(0.95)
face = replace(face, camera=camera, light=light, expression=jnp.zeros_like(face.expression))

plain = model.albedo.decode({"albedo": 0.7 * jax.random.normal(skin, (model.albedo.count,))})
places = jax.random.uniform(freckles, (160, 2), minval=jnp.array([0.38, 0.27]), maxval=jnp.array([0.56, 0.73]))
texel = (np.stack(np.mgrid[:TEXELS, :TEXELS], axis=-1) + 0.5) / TEXELS
distance = np.linalg.norm(texel[:, :, None] - np.asarray(places), axis=-1).min(axis=-1)
spots = np.exp(-((distance / 0.0035) ** 2))[..., None]
true_skin = jnp.clip(plain * (1 - spots * np.array([0.3, 0.4, 0.45])), 0, 1)


@jit
@jax.vmap
def view(params, texture):
    """Picture, and landmarks in pixels."""
    wall = jnp.array([0.3, 0.34, 0.4])
    picture = facejax.render(model, params, size=(SIDE, SIDE), texture=texture, background=wall, edges=False)
    points = facejax.landmarks(model, facejax.decode(model, params), params.pose.rotation)
    return picture.color, project(params.camera, to_camera(params.pose, points))[:, :2]


def turned(params, degrees):
    """One face three times, with these yaws."""
    poses = euler_to_quaternion(jnp.array([[0.0, yaw, 0.0] for yaw in degrees]))
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params)
    return replace(many, pose=replace(many.pose, rotation=poses))


truth = turned(face, [35.0, 0.0, -35.0])
photos, points = view(truth, jnp.stack([true_skin] * 3))
photos = np.asarray(jnp.clip(photos + 0.01 * jax.random.normal(noise, photos.shape), 0, 1))
points = np.asarray(points)
show(photos, captions=["left", "front", "right"], height=260)

# %% [markdown]
# ## The fit
#
# Unwrapping needs the pose of the head and the light. The linear recipe on a small crop is enough.

# %%
recipe = replace(facejax.LINEAR, name="short", size=96, contour="moving")
result = facejax.fit(model, list(photos), list(points), recipe=recipe, focal=float(camera.focal))
[round(result.landmark_nme(k), 2) for k in range(3)]  # landmark error, % of the face

# %% [markdown]
# ## The map of each photograph
#
# `face_layout` gives the point on the mesh for every texel; it depends on the model and the size of the map.
# `cut_out` cuts the face out of a photo. `unwrap_photos` does the rest. It is a pure function of arrays, so compile
# it once.
#
# The template fills what no photo shows. It is the fitted skin of the front view: the right tone, without freckles.

# %%
layout = face_layout(model, TEXELS)
cuts = [cut_out(photo, some, layout) for photo, some in zip(photos, points, strict=True)]
cuts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cuts)
front = jax.tree.map(lambda leaf: leaf[1], result.params)
template = jnp.clip(template_map(model, layout.texels, facejax.decode_albedo(model, front)), 0, 1)

unwrap = jit(unwrap_photos, static_argnames="delight")
found = unwrap(model, result.params, cuts, layout, template, delight=True)

# %% [markdown]
# First row: what each photo shows, including its light. Second row: how much each texel faces the camera. If two
# photos show the same skin, the one that sees it more directly is used. Third row: the shading by the light that the
# fit found, which is divided out.


# %%
def grey(values):
    return jnp.repeat(values[..., None], 3, axis=-1)


views = found.views
show(views.color, grey(views.facing), jnp.clip(views.shading / 1.4, 0, 1), captions=["left", "front", "right"])

# %% [markdown]
# ## The texture
#
# The result is de-lit, pasted, repaired and completed. Next to it are the template and the truth.

# %%
texture = found.completed.texture
show([texture, template, true_skin], captions=["from photographs", "template", "truth"], height=300)

# %% [markdown]
# The same part of the three, enlarged. The freckles came from the photos, and the light of the window is gone.

# %%
show(
    [one[85:150, 62:194] for one in (texture, template, true_skin)], captions=["from photographs", "template", "truth"]
)

# %% [markdown]
# ## How good is it?
#
# The BS error says how unevenly lit a map is: how much its blurred brightness differs from its mirror image, out of
# 255. And since we know the truth, we can measure the error over the texels that a photo showed.

# %%
quality = found.quality
print(f"seen in photographs: {quality.seen:.0%} of the face")
print(f"BS error: {quality.bs_photo:.1f} as photographed, {quality.bs:.1f} in the end")
shown = (found.completed.filled > 0.5) & (layout.regions.face > 0.5)
for name, one in {"template": template, "from photographs": texture}.items():
    psnr = -10 * jnp.log10(jnp.mean((one - true_skin)[shown] ** 2))
    print(f"{name}: {psnr:.1f} dB")

# %% [markdown]
# ## In another light
#
# This is what a clean texture is for: the same head in a light that was never there. Above with the unwrapped
# texture, below the truth.

# %%
evening = uniform_light(0.3).at[3].set(jnp.array([-0.9, -0.6, -0.35])).at[1].set(0.3)
relit = replace(turned(face, [25.0, 0.0, -25.0]), light=jnp.stack([evening] * 3))
show(*(view(relit, jnp.stack([one] * 3))[0] for one in (texture, true_skin)))

# %% [markdown]
# On the command line, use `facejax unwrap --views left.jpg front.jpg right.jpg --out textures`, and `facejax
# build-uv-dataset` for thousands of faces. `docs/unwrap.md` has the details and the limits.
