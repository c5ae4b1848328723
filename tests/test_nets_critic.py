"""The self-critic: shapes, independence of the batch, and that it can learn what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.nets import CriticConfig, apply_critic, init_critic
from facejax.objectives import critic_loss

pytestmark = pytest.mark.promotes("types")  # optax counts in int32

CONFIG = CriticConfig(size=64, coefficients=4, widths=(4, 4, 8, 8, 8, 8), hidden=(32, 32, 32))


def pictures(values):
    """A picture per row whose first two coefficients are its colour."""
    colour = jnp.concatenate([values[:, :2], jnp.zeros((len(values), 1))], axis=1)
    return jnp.broadcast_to(colour[:, None, None], (len(values), 64, 64, 3))


def test_the_sizes_are_2dasls():
    config = CriticConfig()
    params = jax.eval_shape(lambda key: init_critic(config, key), jax.random.key(0))
    assert sorted(params["encoder"]) == [f"conv{layer}" for layer in range(1, 7)]
    widths = [params["judge"][name]["bias"].shape[0] for name in ("dense1", "dense2", "dense3", "logit")]
    assert widths == [512, 1024, 1024, 1]
    latent = params["judge"]["dense1"]["kernel"].shape[0] - config.coefficients
    assert latent == config.widths[-1]  # 120 px halve six times to one cell


def test_each_pair_is_judged_alone_and_both_parts_count():
    params = init_critic(CONFIG, jax.random.key(0))
    values = jax.random.normal(jax.random.key(1), (3, 4))
    images = pictures(values)
    apply = jax.jit(apply_critic, static_argnums=0)
    logits = apply(CONFIG, params, images, values)
    assert logits.shape == (3,)
    np.testing.assert_allclose(apply(CONFIG, params, images[1:2], values[1:2]), logits[1:2], atol=1e-5)
    grads = jax.jit(jax.grad(lambda x, c: jnp.sum(apply_critic(CONFIG, params, x, c)), (0, 1)))(images, values)
    assert all(np.any(np.asarray(grad) != 0) for grad in grads)


def test_it_learns_which_coefficients_belong_to_which_picture():
    optimiser = optax.adam(3e-3)
    values = jax.random.normal(jax.random.key(1), (12, 4))
    images, others = pictures(values), jnp.roll(values, 1, axis=0)  # the same coefficients, of other pictures

    def loss(params):
        return critic_loss(*(apply_critic(CONFIG, params, images, pair) for pair in (values, others)))

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    params = init_critic(CONFIG, jax.random.key(0))
    state, losses = optimiser.init(params), []
    for _ in range(60):
        params, state, value = step(params, state)
        losses.append(value)
    assert losses[-1] < 0.3 * losses[0]
    assert np.all(apply_critic(CONFIG, params, images, values) > apply_critic(CONFIG, params, images, others))


@pytest.mark.parametrize(
    ("shape", "coefficients", "message"),
    [
        ((2, 120, 120, 3), (2, 4), "pictures of .120, 120. px: this critic was made for 64"),
        ((2, 64, 64, 4), (2, 4), r"takes \(N, H, W, 3\)"),
        ((2, 64, 64, 3), (2, 5), r"coefficients of shape \(2, 5\): this critic takes \(2, 4\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(shape, coefficients, message):
    with pytest.raises(ValueError, match=message):
        apply_critic(CONFIG, None, jnp.zeros(shape), jnp.zeros(coefficients))
