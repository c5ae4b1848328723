# %% [markdown]
# # The texture GAN: sampling, interpolation, inversion
#
# A linear albedo is the sum of a mean and some directions. A generator network instead makes a map from *latents*, a
# few hundred numbers for each of its layers, and can make maps that no sum gives. The package has such a generator
# (StyleGAN2, 256 texels). Here it makes new skins and interpolates between them. Then we invert it: which latents
# give a certain map?
#
# The shipped generator is small (7 MB) and was trained within an hour on a processor. Its skins are smooth and differ
# mostly in tone. `docs/texture.md` says how to train a larger one; the calls are the same.

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
layers, width = decoder.blocks["latents"]
print(f"{layers} layers, each with a latent of {width} numbers")


def show(*rows, captions=(), height=200):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## New skins
#
# Latents are in standard deviations from their mean, so zeros give the mean skin. `DetailedTexture` takes two blocks:
# the latents, and *details*, which we explain below; here they are zero.

# %%
texture = DetailedTexture(decoder)
camera = PerspectiveCamera(focal=jnp.float32(920.0), principal=jnp.float32([SIDE / 2, SIDE / 2]))
head = facejax.neutral_params(model, camera, distance=750.0)
pose = replace(head.pose, rotation=euler_to_quaternion(jnp.array([0.0, -18.0, 0.0])))
light = uniform_light(0.75).at[1].set(0.2).at[2].set(0.25).at[3].set(-0.2)
head = replace(head, pose=pose, light=light)


@jit
@jax.vmap
def make(blocks):
    """A map (256, 256, 3) of display values."""
    return jnp.clip(texture.decode(blocks), 0, 1)


@jit
@jax.vmap
def wear(skin):
    night = jnp.array([0.10, 0.11, 0.13])
    return facejax.render(model, head, size=(SIDE, SIDE), texture=skin, background=night, edges=False).color


def smooth(latents):
    """The blocks of five skins from their latents (5, layers, width), without details."""
    return {"latents": latents, "details": jnp.zeros((5, *texture.blocks["details"]))}


skins = to_standard(decoder, sample_latents(decoder, jax.random.key(4), 5))
maps = make(smooth(skins))
show(maps, wear(maps))

# %% [markdown]
# ## Closer to the mean
#
# Latents far from the mean give rarer skins, and more mistakes. Scaling them towards the mean by a factor psi trades
# variety for quality. Beyond 1 it exaggerates.

# %%
psis = jnp.array([0.0, 0.5, 1.0, 1.5, 2.0])
show(wear(make(smooth(psis[:, None, None] * skins[4]))), captions=[f"psi {psi:g}" for psi in psis])

# %% [markdown]
# ## From one skin to another
#
# Latents can be averaged. What lies between two skins is again a skin, not two skins printed over each other.

# %%
shares = jnp.linspace(0, 1, 5)
between = jnp.stack([(1 - share) * skins[3] + share * skins[4] for share in shares])
show(wear(make(smooth(between))), captions=[f"{share:.0%}" for share in shares])

# %% [markdown]
# Each layer has its own latent. The first layers decide the large structures, and the last ones the fine structures
# and the tone of single texels. So some layers may come from one skin and the rest from another.

# %%
cuts = [0, 4, 7, 10, layers]
layer = jnp.arange(layers)[:, None]
mixed = jnp.stack([jnp.where(layer < cut, skins[4], skins[3]) for cut in cuts])
show(wear(make(smooth(mixed))), captions=[f"{cut} layers of the other" for cut in cuts])

# %% [markdown]
# ## Inversion
#
# A fit needs the inverse. As a target we take a map that this generator did not make: a skin of the linear model,
# with a mole painted on its cheek. `encode` gives a first guess, by linear regression from a tiny copy of the map.
# From there, Adam moves the latents of every layer (W+, as in FFHQ-UV). In a second run it also moves the details,
# which are added to the noise maps of the generator. The noise maps hold what differs at every texel.

# %%
target = model.albedo.decode({"albedo": 0.8 * jax.random.normal(jax.random.key(23), (model.albedo.count,))})
rows, columns = np.mgrid[:256, :256]
mole = np.hypot(rows - 122, columns - 180) < 3.5
target = jnp.clip(jnp.where(mole[..., None], jnp.array([0.25, 0.13, 0.10]), target), 0, 1)

STEPS = 40


@jit
def invert(start, lengths):
    """The blocks after every one of STEPS steps of Adam, each block with its own step length."""

    def loss(blocks):
        numbers = jnp.concatenate([block.reshape(-1) for block in blocks.values()])
        prior = 1e-5 * jnp.mean(numbers**2)  # plausible skins lie near the middle
        return jnp.mean((texture.decode(blocks) - target) ** 2) + prior

    adam, pace = optax.scale_by_adam(), optax.cosine_decay_schedule(1.0, STEPS)

    def step(state, k):
        blocks, memory = state
        direction, memory = adam.update(jax.grad(loss)(blocks), memory)
        blocks = {name: blocks[name] - pace(k) * lengths[name] * direction[name] for name in blocks}
        return (blocks, memory), blocks

    return jax.lax.scan(step, (start, adam.init(start)), jnp.arange(STEPS))[1]


def after(steps, k):
    return jax.tree.map(lambda leaf: leaf[k], steps)


guess = texture.encode(target)
by_latents = invert(guess, {"latents": 0.15, "details": 0.0})
with_details = invert(after(by_latents, -1), {"latents": 0.03, "details": 0.3})

# %%
on_the_way = [guess, *(after(steps, k) for steps in (by_latents, with_details) for k in (9, -1))]
found = make(jax.tree.map(lambda *leaves: jnp.stack(leaves), *on_the_way))
psnr = -10 * jnp.log10(jnp.mean((found - target) ** 2, axis=(1, 2, 3)))
steps = ["guess", "10 steps", "40 steps", "and 10 with details", "and 40"]
names = [f"{step}, {db:.1f} dB" for step, db in zip(steps, psnr, strict=True)]
cheeks = [one[90:154, 148:212] for one in found]
show(found, wear(found), cheeks, captions=names)

# %% [markdown]
# The bottom row is the cheek with its mole. For comparison, the target:

# %%
show([target, wear(jnp.stack([target] * 5))[0], target[90:154, 148:212]])

# %% [markdown]
# Latents find tone, brows and lips. They cannot represent a mole or the grain of a beard; the details paint those. A
# fit does the same with a photo as the target: its stages name the appearance `"decoder"` or `"detailed"`.
#
# Details have a price. They can paint anything, including a shadow or a fringe, so the fit gives them a prior of
# their own (`docs/fitting.md`).
