# %% [markdown]
# # The texture GAN: sampling, interpolation, inversion
#
# A linear albedo adds up a mean and some directions. A generator network makes a map from *latents* instead, a few
# hundred numbers for each of its layers, and can make what no sum of maps is. The package has one (StyleGAN2, 256
# texels). Here it makes new skins, walks from one to another, and is run backwards: which latents make a given map?
#
# The shipped one is small, 7 MB, and learned within an hour on a processor: its skins are smooth and differ mostly in
# tone. `docs/texture.md` says how to train a larger one; the calls are the same.

# %%
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import facejax
from facejax.camera import PerspectiveCamera, euler_to_quaternion
from facejax.export import panels, to_uint8
from facejax.lighting import uniform_light
from facejax.programs import jit
from facejax.texture import DetailedTexture, load_decoder, sample_latents, to_standard

SIDE = 384
model = facejax.load_face_model()
decoder = load_decoder()
layers, width = decoder.latent_layers, decoder.config.latent
print(f"{layers} layers, each with a latent of {width} numbers")


def show(*rows, captions=(), height=200):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## New skins
#
# Latents count standard deviations from their mean, so zeros make the mean skin. `DetailedTexture` takes them in one
# vector, and after them *details*, of which more below; here they are zero.

# %%
texture = DetailedTexture(decoder)
camera = PerspectiveCamera(focal=jnp.float32(920.0), principal=jnp.float32([SIDE / 2, SIDE / 2]))
head = facejax.neutral_params(model, camera, distance=750.0)
pose = replace(head.pose, rotation=euler_to_quaternion(jnp.array([0.0, -18.0, 0.0])))
light = uniform_light(0.75).at[1].set(0.2).at[2].set(0.25).at[3].set(-0.2)
head = replace(head, pose=pose, light=light)


@jit
@jax.vmap
def make(coefficients):
    """A map (256, 256, 3) of display values."""
    return jnp.clip(texture.decode(coefficients), 0, 1)


@jit
@jax.vmap
def wear(skin):
    night = jnp.array([0.10, 0.11, 0.13])
    return facejax.render(model, head, size=(SIDE, SIDE), texture=skin, background=night, edges=False).color


def smooth(latents):
    """Five skins' coefficients from their latents (5, layers, width), without details."""
    return jnp.pad(latents.reshape(5, -1), ((0, 0), (0, texture.detail_count)))


skins = to_standard(decoder, sample_latents(decoder, jax.random.key(4), 5))
maps = make(smooth(skins))
show(maps, wear(maps))

# %% [markdown]
# ## Nearer to the mean
#
# Latents far from the mean make rarer skins, and more mistakes. Drawing them towards it by a factor psi trades variety
# for safety; beyond 1 it exaggerates.

# %%
psis = jnp.array([0.0, 0.5, 1.0, 1.5, 2.0])
show(wear(make(smooth(psis[:, None, None] * skins[4]))), captions=[f"psi {psi:g}" for psi in psis])

# %% [markdown]
# ## From one skin to another
#
# Latents can be averaged, and what lies between two skins is a skin, not two printed over each other.

# %%
shares = jnp.linspace(0, 1, 5)
between = jnp.stack([(1 - share) * skins[3] + share * skins[4] for share in shares])
show(wear(make(smooth(between))), captions=[f"{share:.0%}" for share in shares])

# %% [markdown]
# Each layer has its own latent: the first decide what is large, the last what is fine, down to the tone of single
# texels. So some layers may come from one skin and the rest from another.

# %%
cuts = [0, 4, 7, 10, layers]
layer = jnp.arange(layers)[:, None]
mixed = jnp.stack([jnp.where(layer < cut, skins[4], skins[3]) for cut in cuts])
show(wear(make(smooth(mixed))), captions=[f"{cut} layers of the other" for cut in cuts])

# %% [markdown]
# ## Backwards
#
# A fit needs the inverse. As a target take a map that this generator did not make: a skin of the linear model, with a
# mole painted on its cheek. `encode` is a first guess, a linear regression from a tiny copy of the map. From there Adam
# moves the latents of every layer (W+, as FFHQ-UV does), and in a second run the details too: what is added to the
# generator's noise maps, which hold what is different at every texel.

# %%
target = model.albedo.decode(0.8 * jax.random.normal(jax.random.key(23), (model.albedo.count,)))
rows, columns = np.mgrid[:256, :256]
mole = np.hypot(rows - 122, columns - 180) < 3.5
target = jnp.clip(jnp.where(mole[..., None], jnp.array([0.25, 0.13, 0.10]), target), 0, 1)

STEPS = 40
is_latent = jnp.arange(texture.count) < layers * width


@jit
def invert(start, lengths):
    """Coefficients after every one of STEPS steps of Adam, each coefficient with its own step length."""

    def loss(coefficients):
        prior = 1e-5 * jnp.mean(coefficients**2)  # plausible skins lie near the middle
        return jnp.mean((texture.decode(coefficients) - target) ** 2) + prior

    adam, pace = optax.scale_by_adam(), optax.cosine_decay_schedule(1.0, STEPS)

    def step(state, k):
        coefficients, memory = state
        direction, memory = adam.update(jax.grad(loss)(coefficients), memory)
        coefficients = coefficients - pace(k) * lengths * direction
        return (coefficients, memory), coefficients

    return jax.lax.scan(step, (start, adam.init(start)), jnp.arange(STEPS))[1]


guess = texture.encode(target)
by_latents = invert(guess, jnp.where(is_latent, 0.15, 0.0))
with_details = invert(by_latents[-1], jnp.where(is_latent, 0.03, 0.3))

# %%
found = make(jnp.stack([guess, by_latents[9], by_latents[-1], with_details[9], with_details[-1]]))
psnr = -10 * jnp.log10(jnp.mean((found - target) ** 2, axis=(1, 2, 3)))
steps = ["guess", "10 steps", "40 steps", "and 10 with details", "and 40"]
names = [f"{step}, {db:.1f} dB" for step, db in zip(steps, psnr, strict=True)]
cheeks = [one[90:154, 148:212] for one in found]
show(found, wear(found), cheeks, captions=names)

# %% [markdown]
# The bottom row is the cheek with its mole. For comparison the target:

# %%
show([target, wear(jnp.stack([target] * 5))[0], target[90:154, 148:212]])

# %% [markdown]
# Latents find tone, brows and lips; a mole, or the grain of a beard, is beyond them, and the details paint it. A fit
# does just that with a photograph in the place of the target: its stages say `albedo="decoder"` or `albedo="detailed"`.
#
# Details are a bargain. They can paint anything, a shadow and a fringe too, so the fit holds them with a prior of their
# own (`docs/fitting.md`).
