# %% [markdown]
# # GAR: a renderer that paints
#
# The renderer of the other notebooks multiplies skin by light. Hair, background, the highlight in an eye: what is not
# in the model is not in its picture. GAR (Piao et al., CVPR 2021) replaces it by a generator. The generator gets the
# *normals* of the posed head and a *code*, and paints the whole picture. It is differentiable, so it can be inverted.
#
# The shipped generator is small: 128 pixels, trained for an hour and a half on a processor, on rendered pictures. Its
# heads are bald and its walls are blurred. `docs/gar.md` says what a longer training would bring.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import facejax
from facejax.appearance import zero_blocks
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, quaternion_multiply
from facejax.commands.demo import portrait, random_face
from facejax.export import panels, to_uint8
from facejax.fitting import GAR, fit_landmarks, prepare_crops
from facejax.generative_renderer import GARAppearance, Guess, load_gar, to_ws
from facejax.programs import jit

model = facejax.load_face_model()
gar = load_gar()
painter = GARAppearance(gar)
SIDE = painter.side
layers, width = painter.blocks["latents"]
print(f"pictures of {SIDE} pixels; {layers} layers, each with a latent of {width} numbers")


def show(*rows, captions=(), height=160):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Normals in, pictures out
#
# Five heads: one person looking around, then with an open mouth, then another person. All that the generator sees of
# them is the direction of the surface at each pixel, shown here as colours.

# %%
camera = PerspectiveCamera(focal=jnp.float32(330.0), principal=jnp.float32([64.0, 66.0]))
front = replace(facejax.neutral_params(model, camera, distance=750.0), appearance=zero_blocks(painter))
shapes = 0.8 * jax.random.normal(jax.random.key(3), (2, len(model.identity_std)))


def head(yaw=0.0, pitch=0.0, who=0, jaw=0.0):
    pose = Pose(euler_to_quaternion(jnp.float32([pitch, yaw, 0.0])), front.pose.translation)
    expression = front.expression.at[model.expression_names.index("jawOpen")].set(jaw)
    return replace(front, identity=shapes[who], pose=pose, expression=expression)


@jit
@jax.vmap
def draw(params):
    return facejax.render(model, params, painter, size=(SIDE, SIDE))


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


heads = stack([head(-30), head(), head(30, pitch=8), head(jaw=0.6), head(15, who=1)])
seen = draw(heads)
show(seen.alpha[..., None] * (seen.normal + 1) / 2)

# %% [markdown]
# Four random codes, each on all five heads. In a column the geometry is the same. In a row the code is the same:
# skin, light and surroundings.

# %%
z = jax.random.normal(jax.random.key(10), (4, width))
ws = to_ws(gar.config, gar.weights, Guess(z, offsets=jnp.zeros((4, layers, width))))
codes = (ws - gar.w_avg) / gar.w_std  # (4, layers, width), in standard deviations, as a fit moves them


def with_code(params, code):
    return replace(params, appearance={**params.appearance, "latents": code})


show(*[draw(with_code(heads, jnp.stack([code] * 5))).color for code in codes])

# %% [markdown]
# ## Inversion
#
# Here is a portrait made by the *other* renderer. Which head and which code would make GAR paint it? The landmarks
# give the head. An encoder that was trained together with the generator sees the photo and guesses the code.

# %%
photo, points = portrait(model, random_face(model, key=jax.random.key(41)), key=jax.random.key(42))
crops = prepare_crops([photo], [points], recipe=GAR)  # framed as the generator's pictures are
crop, principal = crops.images[0], crops.principal[0]
solve = jit(lambda points: fit_landmarks(model, points, principal=principal, contour="moving").params)
begin = jit(lambda photo: painter.init(photo, previous=None))(crop)
face = replace(solve(crops.landmarks[0]), appearance=begin)

# %% [markdown]
# From the guess, Adam moves the code, a latent for every layer (W+). The head is fixed. Its pixels count five times
# as much as those of the wall.

# %%
STEPS = 40


@jit
def invert(face, crop):
    """The code after every one of STEPS steps."""

    def loss(code):
        picture = facejax.render(model, with_code(face, code), painter, size=(SIDE, SIDE))
        weight = 1 + 4 * picture.alpha[..., None]
        return jnp.mean(weight * jnp.abs(picture.color - crop)) + 3e-5 * jnp.mean(code**2)

    adam, pace = optax.scale_by_adam(), optax.cosine_decay_schedule(1.0, STEPS)

    def step(state, k):
        code, memory = state
        direction, memory = adam.update(jax.grad(loss)(code), memory)
        code = code - 0.05 * pace(k) * direction
        return (code, memory), code

    start = face.appearance["latents"]
    return jax.lax.scan(step, (start, adam.init(start)), jnp.arange(STEPS))[1]


found = invert(face, crop)
codes = [begin["latents"], found[4], found[9], found[19], found[-1]]
pictures = draw(stack([with_code(face, code) for code in codes])).color
errors = jnp.abs(pictures - crop).mean(axis=(1, 2, 3))
names = [f"{step}, {error:.3f} off" for step, error in zip(["guess", 5, 10, 20, 40], errors, strict=True)]
show([crop, *pictures], captions=["photograph", *names])

# %% [markdown]
# ## The same face from other directions
#
# Now we have the code and the head. Turn the head, and GAR paints what the camera would have seen. None of this was
# in the photo.


# %%
def turned(yaw, pitch=0.0, jaw=0.0):
    turn = euler_to_quaternion(jnp.float32([pitch, yaw, 0.0]))
    pose = replace(face.pose, rotation=quaternion_multiply(turn, face.pose.rotation))
    expression = face.expression.at[model.expression_names.index("jawOpen")].add(jaw)
    return replace(with_code(face, found[-1]), pose=pose, expression=expression)


elsewhere = stack([turned(-30), turned(-15), turned(0, jaw=0.5), turned(15), turned(30, pitch=10)])
again = draw(elsewhere)
show(again.color, again.alpha[..., None] * (again.normal + 1) / 2)

# %% [markdown]
# This is a small generator. Tone, light and wall are right; eyes and brows are hardly visible. `facejax fit photo.jpg
# --recipe gar` does all of this. Its last stage moves head and code together, guided by the normals and the outline
# that a network reads from the photo. `docs/gar.md` says how accurate it is, and where shading is still better.
