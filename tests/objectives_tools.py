"""What every loss must pass: gradients against central differences, vmap against a loop. And a small face in numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.objectives.coefficients import CoefficientSpace, Whitening, coefficient_space

IDENTITY, EXPRESSION, POINTS = 4, 3, 11


def check_gradient(loss, x, *, frozen=None, step=1e-6, tolerance=1e-6):
    """jax.grad of `loss` at float64 `x` is the central difference of `frozen`: the loss with its weights held fixed."""
    assert x.dtype == np.float64
    gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(x)))
    compare = jax.jit(lambda y: (loss if frozen is None else frozen)(y))
    numeric = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        change = np.zeros_like(x)
        change[place] = step
        numeric[place] = (float(compare(jnp.asarray(x + change))) - float(compare(jnp.asarray(x - change)))) / (
            2 * step
        )
    assert np.abs(numeric).max() > 0
    np.testing.assert_allclose(gradient, numeric, atol=tolerance * max(1.0, np.abs(numeric).max()))


def check_batch(function, *arguments):
    """vmap and jit of `function` over the leading axis of all arguments gives what a loop gives."""
    together, single = jax.jit(jax.vmap(function))(*arguments), jax.jit(lambda *one: function(*one))
    for k in range(len(jax.tree.leaves(arguments)[0])):
        alone = single(*jax.tree.map(lambda leaf: leaf[k], arguments))  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[k], b, rtol=1e-9, atol=1e-12), together, alone)  # noqa: B023


class NumpyFace:
    """A linear face with random points, modes and whitening, posed by explicit loops in float64."""

    def __init__(self, seed: int = 0, points: int = POINTS):
        rng = np.random.default_rng(seed)
        self.mean = rng.normal(size=(points, 3)) * [40, 60, 30]
        self.basis = rng.normal(size=(IDENTITY + EXPRESSION, points, 3)) * np.linspace(5, 1, 7)[:, None, None]
        size = 12 + IDENTITY + EXPRESSION
        self.centre, self.spread = rng.normal(size=size), np.exp(rng.normal(size=size))

    def space(self) -> CoefficientSpace:
        whitening = Whitening(jnp.asarray(self.centre), jnp.asarray(self.spread))
        return coefficient_space(jnp.asarray(self.mean), jnp.asarray(self.basis), whitening)

    def raw(self, white):
        return np.asarray(white) * self.spread + self.centre

    def shape(self, white):
        coefficients = self.raw(white)[12:]
        points = self.mean.copy()
        for coefficient, mode in zip(coefficients, self.basis, strict=True):
            points += coefficient * mode
        return points

    def pose(self, white):
        p = self.raw(white)
        return np.array([p[0:4], p[4:8], p[8:12]])

    def posed(self, white):
        pose = self.pose(white)
        return np.array([pose[:, :3] @ point + pose[:, 3] for point in self.shape(white)])

    def vectors(self, seed: int = 1, spread: float = 0.3):
        """A predicted and a true whitened vector."""
        rng = np.random.default_rng(seed)
        true = rng.normal(size=self.centre.shape)
        return true + spread * rng.normal(size=true.shape), true
