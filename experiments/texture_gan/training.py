"""One step of training a texture decoder, as pure functions of its state.

The phases are those of stylegan2-ada-pytorch's training loop: the generator, its path lengths, the discriminator, and
its gradient penalty. Each has its own step of Adam, and the regularisers run only every few steps. Then come, if asked
for, the reconstruction of real maps, and the running averages. A step's randomness comes from its key: the same key,
state and maps give the same next state.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8

from facejax.nets.stylegan2 import (
    Generator,
    apply_discriminator,
    apply_inverter,
    apply_mapping,
    apply_synthesis,
    init_discriminator,
    init_generator,
    init_inverter,
    to_layers,
)
from facejax.nets.stylegan2.augment import augment
from facejax.nets.stylegan2.resample import downsample
from facejax.objectives import critic_loss, fooling_loss
from facejax.objectives.gan import (
    adapt_strength,
    average_decay,
    finite_gradients,
    lazy_adam,
    path_lengths,
    path_penalty,
    slope_penalty,
)
from texture_gan.recipes import Recipe

W_AVG_DECAY = 0.995
BLUR = 0.1  # noise added to the z of reconstructed maps, in their standard deviations
REPULSION = 0.005
ASTRAY = 1e-3  # weight of the mean square of the layers' offsets
ADAPT_INTERVAL = 4  # steps between two changes of the augmentation's strength


Spread = NamedSharding | None  # placement of a batch on the devices


class State(NamedTuple):
    generator: Generator
    average: Any  # running average of the generator's parameters and noise maps, which is exported
    judge: Any
    inverter: Any  # maps to latents, for reconstruction; empty without
    generator_moments: Any
    judge_moments: Any
    maker_moments: Any  # Adam's, of generator and inverter together, for reconstruction
    path_mean: Float[Array, ""]
    strength: Float[Array, ""]  # of the augmentation
    signs: Float[Array, ""]  # sum of the mean signs of real maps' logits since the last adaptation
    step: Int[Array, ""]


def init_state(recipe: Recipe, key: Key[Array, ""]) -> State:
    first, second, third = jax.random.split(key, 3)
    generator = init_generator(recipe.generator, first)
    if recipe.learned_noise:
        generator = start_noise(generator)
    judge = init_discriminator(recipe.judge, second)
    inverter: Any = {}
    if recipe.reconstruct:
        if recipe.inverter is None:
            raise ValueError(f"recipe {recipe.name!r} reconstructs maps: it needs the sizes of an inverter")
        inverter = init_inverter(recipe.inverter, third, outputs=inverter_outputs(recipe))
    maker: Any = {}
    if recipe.reconstruct:
        maker = _maker(recipe).init((generator.params, _noise(recipe, generator), inverter))
    moments = _adam(recipe, "generator").init(generator.params), _adam(recipe, "judge").init(judge), maker
    average = jax.tree.map(jnp.copy, (generator.params, generator.noise))
    numbers = jnp.float32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0)
    return State(generator, average, judge, inverter, *moments, *numbers)


def averaged(state: State) -> Generator:
    """The generator with its averaged parameters and noise maps."""
    params, noise = state.average
    return state.generator._replace(params=params, noise=noise)


def start_noise(generator: Generator) -> Generator:
    """Noise maps to learn: flat, but at full strength, since maps and strength must not both be zero."""
    full = lambda path, leaf: jnp.ones_like(leaf) if path[-1].key == "strength" else leaf  # noqa: E731
    params = jax.tree_util.tree_map_with_path(full, generator.params)
    return generator._replace(params=params, noise=jax.tree.map(jnp.zeros_like, generator.noise))


def _noise(recipe: Recipe, generator: Generator) -> Any:
    """The noise maps if they are learned."""
    return generator.noise if recipe.learned_noise else {}


def _synthesis(recipe: Recipe, generator: Generator, ws: Array, key: Array, side: int | None = None) -> Array:
    """Maps with the noise that the recipe trains with; `side` texels wide, from the latents of all layers."""
    config = recipe.generator if side is None else replace(recipe.generator, resolution=side)
    ws = ws[:, : config.layers]
    if recipe.learned_noise:
        return apply_synthesis(config, generator, ws)
    return apply_synthesis(config, generator, ws, noise="random", key=key)


def _adam(recipe: Recipe, network: str) -> optax.GradientTransformation:
    interval = recipe.path_interval if network == "generator" else recipe.r1_interval
    return lazy_adam(recipe.rate, interval=interval)


def _maker(recipe: Recipe) -> optax.GradientTransformation:
    """Adam with momentum and a falling rate, neither of which suits adversarial training."""
    return optax.adam(optax.cosine_decay_schedule(recipe.reconstruct_rate, recipe.reconstruct), b1=0.9, b2=0.99)


def from_bytes(maps: UInt8[Array, "N R R 3"]) -> Float[Array, "N R R 3"]:
    """Bytes of display values as numbers in [-1, 1]."""
    return maps.astype(jnp.float32) / 127.5 - 1.0


def generator_phase(recipe: Recipe, state: State, key: Key[Array, ""], spread: Spread) -> tuple[State, dict]:
    """The generator learns to fool the discriminator.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      spread: placement of a batch.

    Returns:
      The next state and the terms.
    """
    latents, noise, change = jax.random.split(key, 3)

    def loss(params):
        generator = state.generator._replace(params=params)
        ws, w_mean = draw_latents(recipe, generator, latents, recipe.batch, spread)
        made = _synthesis(recipe, generator, ws, noise)
        logits = _judge(recipe, state, state.judge, made, change)
        return fooling_loss(logits), (w_mean, logits)

    (value, (w_mean, logits)), gradient = jax.value_and_grad(loss, has_aux=True)(state.generator.params)
    state = _move_generator(recipe, state, gradient)
    w_avg = w_mean + W_AVG_DECAY * (state.generator.w_avg - w_mean)
    terms = {"generator": value, "made": jnp.mean(logits)}
    return state._replace(generator=state.generator._replace(w_avg=w_avg)), terms


def path_phase(recipe: Recipe, state: State, key: Key[Array, ""], spread: Spread) -> tuple[State, dict]:
    """A step of the latents should change every map equally; computed on half a batch.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      spread: placement of a batch.

    Returns:
      The next state and the terms.
    """
    latents, noise, direction = jax.random.split(key, 3)
    count, side = max(recipe.batch // 2, 1), recipe.generator.resolution

    def loss(params):
        generator = state.generator._replace(params=params)
        ws, _ = draw_latents(recipe, generator, latents, count, spread)

        def make(ws):
            return _synthesis(recipe, generator, ws, noise)

        lengths = path_lengths(make, ws, jax.random.normal(direction, (count, side, side, 3)))
        penalty, mean = path_penalty(lengths, state.path_mean)
        return recipe.path_interval * recipe.path * jnp.mean(penalty), (jnp.mean(penalty), jnp.mean(lengths), mean)

    gradient, (penalty, length, mean) = jax.grad(loss, has_aux=True)(state.generator.params)
    state = _move_generator(recipe, state, gradient)._replace(path_mean=mean)
    return state, {"path penalty": penalty, "path length": length}


def judge_phase(
    recipe: Recipe, state: State, key: Key[Array, ""], maps: UInt8[Array, "N R R 3"], spread: Spread
) -> tuple[State, dict]:
    """The discriminator learns to tell generated maps from real ones.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      maps: real ones.
      spread: placement of a batch.

    Returns:
      The next state and the terms.
    """
    latents, noise, change, flip = jax.random.split(key, 4)
    ws, _ = draw_latents(recipe, state.generator, latents, recipe.batch, spread)
    made = _synthesis(recipe, state.generator, ws, noise)
    real = _shown(recipe, maps, flip)

    def loss(judge):
        first, second = jax.random.split(change)
        fake = _judge(recipe, state, judge, made, first)
        true = _judge(recipe, state, judge, real, second)
        return critic_loss(true, fake), true

    (value, logits), gradient = jax.value_and_grad(loss, has_aux=True)(state.judge)
    sign = jnp.mean(jnp.sign(logits))
    state = _move_judge(recipe, state, gradient)._replace(signs=state.signs + sign)
    return state, {"judge": value, "real": jnp.mean(logits), "real sign": sign}


def slope_phase(recipe: Recipe, state: State, key: Key[Array, ""], maps: UInt8[Array, "N R R 3"]) -> tuple[State, dict]:
    """Penalise the discriminator's gradient at real maps.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      maps: real ones.

    Returns:
      The next state and the terms.
    """
    change, flip = jax.random.split(key)
    real = _shown(recipe, maps, flip)

    def loss(judge):
        penalty, _ = slope_penalty(lambda images: _judge(recipe, state, judge, images, change), real)
        return recipe.r1_interval * (recipe.r1 / 2) * jnp.mean(penalty), jnp.mean(penalty)

    gradient, penalty = jax.grad(loss, has_aux=True)(state.judge)
    return _move_judge(recipe, state, gradient), {"slope": penalty}


def reconstruction_phase(
    recipe: Recipe, state: State, key: Key[Array, ""], maps: UInt8[Array, "N R R 3"], *, side: int
) -> tuple[State, dict]:
    """An inverter finds the latents of each real map, and the generator reconstructs the map.

    The inverter's outputs are a z and an offset of each layer's w. The z lie on the sphere that the mapping network
    sees. Noise is added to them and they repel each other, so that they become distributed like normal random numbers
    (Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML 2020). Every other map of a batch is made without the offsets, so that z carries as much as it
    can.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      maps: real ones.
      side: texels to reconstruct.

    Returns:
      The next state and the terms.
    """
    sizes = recipe.inverter
    assert sizes is not None
    flip, blur, noise = jax.random.split(key, 3)
    real, config = _shown(recipe, maps, flip), recipe.generator
    small, real = (shrink(real, to) for to in (sizes.resolution, side))
    alone = (jnp.arange(len(real)) % 2 == 0)[:, None, None]

    def loss(old):
        params, maps, inverter = old
        generator = state.generator._replace(params=params, noise=maps or state.generator.noise)
        found = apply_inverter(sizes, inverter, small)
        z, offsets = found[:, : config.latent], found[:, config.latent :].reshape(len(found), -1, config.latent)
        z = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=1, keepdims=True) + 1e-8)
        w = apply_mapping(config, generator, z + BLUR * jax.random.normal(blur, z.shape))
        made = _synthesis(recipe, generator, to_layers(config, w) + jnp.where(alone, 0.0, offsets), noise, side)
        gap = pyramid_distance(made, real)
        astray = jnp.mean(jnp.square(offsets))
        return gap + REPULSION * crowding(z) + ASTRAY * astray, (gap, jnp.mean(w, axis=0))

    old = state.generator.params, _noise(recipe, state.generator), state.inverter
    gradients, (gap, w_mean) = jax.grad(loss, has_aux=True)(old)
    updates, moments = _maker(recipe).update(finite_gradients(gradients), state.maker_moments, old)
    found: Any = optax.apply_updates(old, updates)
    params, learned, inverter = found
    w_avg = w_mean + W_AVG_DECAY * (state.generator.w_avg - w_mean)
    generator = Generator(params, learned or state.generator.noise, w_avg)
    return state._replace(generator=generator, inverter=inverter, maker_moments=moments), {"reconstruction": gap}


def inverter_outputs(recipe: Recipe) -> int:
    """Number of outputs: a z, and an offset of every layer's w."""
    return (1 + recipe.generator.layers) * recipe.generator.latent


def shrink(maps: Float[Array, "N R R 3"], side: int) -> Float[Array, "N S S 3"]:
    """Maps reduced to `side` texels, by a power of two."""
    while maps.shape[1] > side:
        maps = downsample(maps)
    return maps


def pyramid_distance(first: Float[Array, "N R R 3"], second: Float[Array, "N R R 3"]) -> Float[Array, ""]:
    """The mean absolute difference, averaged over the pictures and their halvings down to 8 texels."""
    gaps, gap = [], first - second
    while gap.shape[1] > 8:
        gaps.append(jnp.mean(jnp.abs(gap)))
        gap = downsample(gap)
    return sum(gaps, jnp.mean(jnp.abs(gap))) / (len(gaps) + 1)


def crowding(z: Float[Array, "N W"]) -> Float[Array, ""]:
    """How close the members of a batch are: the log of the mean of exp(-2 d^2) over all pairs, on the unit sphere."""
    unit = z / jnp.sqrt(1.0 * z.shape[1])
    squared = 2.0 - 2.0 * unit @ unit.T
    apart = jnp.where(jnp.eye(len(z)) > 0, -jnp.inf, -2.0 * squared)
    return jax.nn.logsumexp(apart) - jnp.log(max(len(z) * (len(z) - 1.0), 1.0))


def close_step(recipe: Recipe, state: State) -> State:
    """Update the running averages, the augmentation's strength and the step's number."""
    decay = average_decay(recipe.batch, half_life=recipe.half_life)
    # At first the average follows closely, so that it forgets the start.
    seen = state.step.astype(jnp.float32)
    decay = jnp.minimum(decay, (1.0 + seen) / (10.0 + seen))
    new = state.generator.params, state.generator.noise
    average = jax.tree.map(lambda new, old: new + decay * (old - new), new, state.average)
    state = state._replace(average=average, step=state.step + 1)
    if not recipe.augment:
        return state._replace(signs=jnp.float32(0))
    due = state.step % ADAPT_INTERVAL == 0
    images = ADAPT_INTERVAL * recipe.batch
    adapted = adapt_strength(state.strength, state.signs / ADAPT_INTERVAL, images=images)
    return state._replace(strength=jnp.where(due, adapted, state.strength), signs=jnp.where(due, 0.0, state.signs))


def draw_latents(
    recipe: Recipe, generator: Generator, key: Key[Array, ""], count: int, spread: Spread
) -> tuple[Float[Array, "N L W"], Float[Array, " W"]]:
    """One latent per layer for `count` maps, and the mean w; many maps change to a second latent at some layer.

    Args:
      recipe: of the run.
      generator: its weights.
      key: consumed.
      count: maps.
      spread: placement of a batch.

    Returns:
      The latents and the mean.
    """
    normal, mixed, cut = jax.random.split(key, 3)
    config = recipe.generator
    z = jax.random.normal(normal, (2, count, config.latent))
    if spread is not None:
        z = jax.lax.with_sharding_constraint(z, NamedSharding(spread.mesh, PartitionSpec(None, *spread.spec)))
    first, second = (apply_mapping(config, generator, one) for one in z)
    cutoff = jax.random.randint(cut, (count,), 1, config.layers)
    cutoff = jnp.where(jax.random.uniform(mixed, (count,)) < recipe.mixing, cutoff, config.layers)
    early = jnp.arange(config.layers) < cutoff[:, None]
    ws = jnp.where(early[..., None], to_layers(config, first), to_layers(config, second))
    return ws, jax.lax.stop_gradient(jnp.mean(first, axis=0))


def _judge(recipe: Recipe, state: State, judge: Any, images: Array, key: Array) -> Array:
    if recipe.augment:
        images = augment(key, images, state.strength)
    return apply_discriminator(recipe.judge, judge, images)


def _shown(recipe: Recipe, maps: Array, key: Array) -> Array:
    real = from_bytes(maps)
    if not recipe.mirror:
        return real
    flip = jax.random.bernoulli(key, shape=(len(real), 1, 1, 1))
    return jnp.where(flip, real[:, :, ::-1], real)


def _move_generator(recipe: Recipe, state: State, gradient: Any) -> State:
    updates, moments = _adam(recipe, "generator").update(finite_gradients(gradient), state.generator_moments)
    params: Any = optax.apply_updates(state.generator.params, updates)
    return state._replace(generator=state.generator._replace(params=params), generator_moments=moments)


def _move_judge(recipe: Recipe, state: State, gradient: Any) -> State:
    updates, moments = _adam(recipe, "judge").update(finite_gradients(gradient), state.judge_moments)
    return state._replace(judge=optax.apply_updates(state.judge, updates), judge_moments=moments)
