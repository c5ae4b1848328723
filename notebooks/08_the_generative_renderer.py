# %% [markdown]
# # GAR: a renderer that paints
#
# The renderer of the other notebooks multiplies skin by light. Hair, a background, the gloss of an eye: what is not in
# the model is not in its picture. GAR (Piao et al., CVPR 2021) puts a generator in its place. It sees the *normals* of
# the posed head and a *code*, and paints the whole photograph. It is differentiable, so it can be run backwards too.
#
# The shipped one is small: 128 pixels, trained for an hour and a half on a processor, on rendered pictures. Its heads
# are bald and its walls are blurred; `docs/gar.md` says what a longer training is for.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import facejax
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
layers, width = painter.latent_layers, gar.config.generator.latent
print(f"pictures of {SIDE} pixels; {layers} layers, each with a latent of {width} numbers")


def show(*rows, captions=(), height=160):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## Normals in, pictures out
#
# Five heads: one person looking about, then with an open mouth, then another person. The generator sees nothing of them
# but the direction in which every bit of the surface faces, here as colours.

# %%
camera = PerspectiveCamera(focal=jnp.float32(330.0), principal=jnp.float32([64.0, 66.0]))
front = replace(facejax.neutral_params(model, camera, distance=750.0), albedo=jnp.zeros(painter.count))
shapes = 0.8 * jax.random.normal(jax.random.key(3), (2, len(model.identity_std)))


def head(yaw=0.0, pitch=0.0, who=0, jaw=0.0):
    pose = Pose(euler_to_quaternion(jnp.float32([pitch, yaw, 0.0])), front.pose.translation)
    expression = front.expression.at[model.expression_names.index("jawOpen")].set(jaw)
    return replace(front, identity=shapes[who], pose=pose, expression=expression)


@jit
@jax.vmap
def draw(params):
    return painter.draw(model, params, size=(SIDE, SIDE))


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


heads = stack([head(-30), head(), head(30, pitch=8), head(jaw=0.6), head(15, who=1)])
seen = draw(heads)
show(seen.alpha[..., None] * (seen.normal + 1) / 2)

# %% [markdown]
# Four random codes, each on all five heads. Down a column the geometry is the same, along a row the code: skin, light
# and surroundings.

# %%
z = jax.random.normal(jax.random.key(10), (4, width))
ws = to_ws(gar.config, gar.weights, Guess(z, offsets=jnp.zeros((4, layers, width))))
codes = ((ws - gar.w_avg) / gar.w_std).reshape(4, -1)  # in standard deviations, as a fit moves them
codes = jnp.pad(codes, ((0, 0), (0, painter.detail_count)))  # and no details
show(*[draw(replace(heads, albedo=jnp.stack([code] * 5))).color for code in codes])

# %% [markdown]
# ## Backwards
#
# A portrait, made by the *other* renderer. Which head, and which code, would make GAR paint it? The landmarks give the
# head. An encoder that was trained with the generator looks at the photograph and guesses the code.

# %%
photo, points = portrait(model, random_face(model, key=jax.random.key(41)), key=jax.random.key(42))
crops = prepare_crops([photo], [points], recipe=GAR)  # framed as the generator's pictures are
crop, principal = crops.images[0], crops.principal[0]
solve = jit(lambda points: fit_landmarks(model, points, principal=principal, contour="moving").params)
guess = jit(painter.begin)(crop)
face = replace(solve(crops.landmarks[0]), albedo=guess)

# %% [markdown]
# From the guess, Adam moves the code, a latent for every layer (W+). The head stays as it is; its pixels count five
# times as much as the wall's.

# %%
STEPS = 40
lengths = jnp.where(jnp.arange(painter.count) < layers * width, 0.05, 0.0)  # the rest are details, in the noise


@jit
def invert(face, crop):
    """Coefficients after every one of STEPS steps."""

    def loss(coefficients):
        picture = painter.draw(model, replace(face, albedo=coefficients), size=(SIDE, SIDE))
        weight = 1 + 4 * picture.alpha[..., None]
        return jnp.mean(weight * jnp.abs(picture.color - crop)) + 1e-3 * jnp.mean(coefficients**2)

    adam, pace = optax.scale_by_adam(), optax.cosine_decay_schedule(1.0, STEPS)

    def step(state, k):
        coefficients, memory = state
        direction, memory = adam.update(jax.grad(loss)(coefficients), memory)
        coefficients = coefficients - pace(k) * lengths * direction
        return (coefficients, memory), coefficients

    return jax.lax.scan(step, (face.albedo, adam.init(face.albedo)), jnp.arange(STEPS))[1]


found = invert(face, crop)
codes = [guess, found[4], found[9], found[19], found[-1]]
pictures = draw(stack([replace(face, albedo=code) for code in codes])).color
errors = jnp.abs(pictures - crop).mean(axis=(1, 2, 3))
names = [f"{step}, {error:.3f} off" for step, error in zip(["guess", 5, 10, 20, 40], errors, strict=True)]
show([crop, *pictures], captions=["photograph", *names])

# %% [markdown]
# ## The photograph from elsewhere
#
# The code is found, the head is a head: turn it, and GAR paints what the camera would have seen. Nothing of this was in
# the photograph.


# %%
def turned(yaw, pitch=0.0, jaw=0.0):
    turn = euler_to_quaternion(jnp.float32([pitch, yaw, 0.0]))
    pose = replace(face.pose, rotation=quaternion_multiply(turn, face.pose.rotation))
    expression = face.expression.at[model.expression_names.index("jawOpen")].add(jaw)
    return replace(face, albedo=found[-1], pose=pose, expression=expression)


elsewhere = stack([turned(-30), turned(-15), turned(0, jaw=0.5), turned(15), turned(30, pitch=10)])
again = draw(elsewhere)
show(again.color, again.alpha[..., None] * (again.normal + 1) / 2)

# %% [markdown]
# It is a small generator: tone, light and wall are right, eyes and brows are hardly there. `facejax fit photo.jpg
# --recipe gar` does all this, with a last stage that moves head and code together under the normals and the outline
# that a network reads from the photograph. What it reaches, and where shading is still better, is in `docs/gar.md`.
