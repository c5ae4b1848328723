# %% [markdown]
# # Many faces at once, and what it costs
#
# The fit is written for one face, and `jax.vmap` makes it take many. A list of photos becomes one compiled program.
# This notebook fits eight people at once and measures the cost: compilation, seconds per face, and memory per face.

# %%
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, project, to_camera
from facejax.commands.demo import random_face
from facejax.evaluation.plot import draw_lines
from facejax.export import alpha_over, draw_landmarks, panels, to_uint8
from facejax.fitting import compile_fit, prepare_crops
from facejax.programs import jit

SIDE = 224
model = facejax.load_face_model()


def show(*rows, captions=(), height=130):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Sixteen people, in two groups of eight
#
# They are drawn from the model and rendered, with noisy landmarks. Rendering them is already a batch.

# %%
wall = jnp.array([0.25, 0.28, 0.33])


@jit
@jax.vmap
def draw_person(key):
    """Someone, before the camera of a picture of SIDE pixels."""
    camera = PerspectiveCamera(focal=jnp.float32(520.0), principal=jnp.float32([SIDE / 2, SIDE / 2]))
    return replace(random_face(model, key=key), camera=camera)


@jit
@jax.vmap
def view(params):
    """Picture, coverage, and landmarks in pixels."""
    picture = facejax.render(model, params, size=(SIDE, SIDE), background=wall, edges=False)
    points = facejax.landmarks(model, facejax.decode(model, params), params.pose.rotation)
    return picture.color, picture.alpha, project(params.camera, to_camera(params.pose, points))[:, :2]


def photograph(key):
    """Eight photographs and their landmarks."""
    people, noise = jax.random.split(key)
    photos, _, points = view(draw_person(jax.random.split(people, 8)))
    points = points + 0.5 * jax.random.normal(noise, points.shape)
    return list(np.asarray(photos)), list(np.asarray(points))


photos, points = photograph(jax.random.key(1))
others, points_of_others = photograph(jax.random.key(2))
show(photos)

# %% [markdown]
# ## One program for eight
#
# We use the shortest recipe: landmarks, then the light in closed form. `result.seconds` separates compilation from
# fitting. The second group has the same size, so nothing is compiled for it.

# %%
recipe = replace(facejax.LANDMARKS, contour="moving")  # the jaw points lie on the outline, as people mark it
result = facejax.fit(model, photos, points, recipe=recipe)
second = facejax.fit(model, others, points_of_others, recipe=recipe)
for name, one in {"first group": result, "second group": second}.items():
    print(f"{name:13s} compiled for {one.seconds['compile']:5.1f} s, fitted in {one.seconds['fit']:5.2f} s")

# %% [markdown]
# First row: the photos with their landmarks. Second row: the fits, laid over the photos. Every skin is the mean skin,
# since this recipe leaves the albedo alone, and the light adapts to the tone.

# %%
fitted, coverage, _ = view(result.params)
dots = [draw_landmarks(photo, some) for photo, some in zip(photos, points, strict=True)]
show(dots, [alpha_over(*each) for each in zip(fitted, photos, coverage, strict=True)])

# %% [markdown]
# ## Eight, or one at a time?
#
# A program is compiled for one batch size, so the first single face compiles again. A run over many photos therefore
# keeps to one size, as `facejax fit` does with a folder.

# %%
alone = facejax.fit(model, photos[:1], points[:1], recipe=recipe)
begin = time.perf_counter()
for photo, some in zip(photos, points, strict=True):
    facejax.fit(model, photo, some, recipe=recipe)
one_by_one = (time.perf_counter() - begin) / 8
begin = time.perf_counter()
facejax.fit(model, photos, points, recipe=recipe)
together = (time.perf_counter() - begin) / 8


def memory(count):
    """Working memory of the compiled fit, MB a face."""
    crops = prepare_crops(photos[:count], points[:count], recipe=recipe)
    program = compile_fit(model, crops, recipe=recipe)  # remembered from the fit above
    return program.memory_analysis().temp_size_in_bytes / count / 1e6


print("batch   compile, s   seconds a face   MB a face")
print(f"    1 {alone.seconds['compile']:12.1f} {one_by_one:16.3f} {memory(1):11.1f}")
print(f"    8 {result.seconds['compile']:12.1f} {together:16.3f} {memory(8):11.1f}")

# %% [markdown]
# This is the cost of a thousand faces on this machine, compilation included. On a processor, a batch saves little at
# best, since one face already keeps the cores busy. An accelerator is nearly idle with one face, and the same code
# fills it.

# %%
count = np.arange(0, 1001, 50)
bill = {
    "one by one": (count, alone.seconds["compile"] + one_by_one * count),
    "in eights": (count, result.seconds["compile"] + together * count),
}
top = max(seconds[-1] for _, seconds in bill.values())
ticks = np.ceil(top / 40) * 10 * np.arange(5)
axes = {"across": np.arange(0, 1001, 250), "up": ticks, "x_label": "faces", "y_label": "seconds"}
Image.fromarray(to_uint8(draw_lines(bill, **axes)))

# %% [markdown]
# ## Do the faces affect each other?
#
# No. The first face fitted alone is the same as the first face fitted among eight, up to rounding. And if one face
# goes wrong, the others do not. Below, the landmarks of one person are random.

# %%
apart = np.abs(alone.landmarks[0] - result.landmarks[0]).max()
print(f"alone or among eight: landmarks differ by {apart:.4f} pixels at most")

garbage = [*points[:2], np.random.default_rng(0).uniform(0, SIDE, (68, 2)).astype(np.float32), *points[3:]]
mixed = facejax.fit(model, photos, garbage, recipe=recipe)
print("error of each, % of the face: ", *(f"{mixed.landmark_nme(k):6.2f}" for k in range(8)))
moved = np.abs(mixed.landmarks - result.landmarks).max(axis=(1, 2))
print("moved by, pixels:             ", *(f"{distance:6.2f}" for distance in moved))

# %%
fitted, coverage, _ = view(mixed.params)
dots = [draw_landmarks(photo, some) for photo, some in zip(photos, garbage, strict=True)]
show(dots, [alpha_over(*each) for each in zip(fitted, photos, coverage, strict=True)])

# %% [markdown]
# `docs/batch_runs.md` describes runs over thousands of photos that can be stopped and resumed. `docs/performance.md`
# has measured figures for longer recipes.
