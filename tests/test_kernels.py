"""Contracts of facejax.kernels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raster_oracle import sphere

from facejax.kernels import add_rows, gather, gather_rows, nearest_triangle
from facejax.kernels.barrier import once


def test_rows_outside_the_table_read_zeros_and_get_no_gradient():
    table = jnp.arange(6.0).reshape(3, 2)
    rows = jnp.array([2, 3, 0, 2])
    np.testing.assert_array_equal(gather_rows(table, rows), [[4, 5], [0, 0], [0, 1], [4, 5]])
    slope = jax.grad(lambda t: jnp.sum(gather_rows(t, rows) * jnp.array([[1.0], [10.0], [100.0], [1000.0]])))(table)
    np.testing.assert_array_equal(slope, [[100, 100], [0, 0], [1001, 1001]])


def indexed(table, rows):
    """What `gather_rows` gives, by JAX's own indexing."""
    inside = (rows >= 0) & (rows < len(table))
    return jnp.where(inside[:, None], table[jnp.clip(rows, 0, len(table) - 1)], 0)


def summed(updates, rows):
    """What `add_rows` gives for a table of seven rows, by a matrix of ones."""
    return (rows[:, None] == jnp.arange(7)[None]).astype(updates.dtype).T @ updates


def seven(updates, rows):
    return add_rows(updates, rows, 7)


@pytest.mark.parametrize("axes", [(0, 0), (1, 1), (1, None), (None, 1)])
@pytest.mark.parametrize("ours, reference, count", [(gather_rows, indexed, 7), (seven, summed, 5)])
def test_rows_of_a_batch_of_batches(ours, reference, count, axes, float64):
    """Values and derivatives, forward, backward and both; some rows lie outside the table."""
    keys = jax.random.split(jax.random.key(3), 3)
    values = jax.random.normal(keys[0], (3, 3, count, 6) if axes[0] is not None else (count, 6))
    rows = jax.random.randint(keys[1], (3, 3, 5) if axes[1] is not None else (5,), -2, 9)
    inner = tuple(None if axis is None else 0 for axis in axes)
    ours, reference = (jax.vmap(jax.vmap(one, inner), axes, out_axes=1) for one in (ours, reference))
    np.testing.assert_allclose(ours(values, rows), reference(values, rows))
    change = jax.random.normal(keys[2], values.shape)
    cost = lambda one: lambda values: jnp.sum(one(values, rows) ** 3)  # noqa: E731
    slope = lambda one: lambda values: jax.grad(cost(one))(values)  # noqa: E731
    for derivative in (cost, slope):
        mine, true = (jax.jvp(derivative(one), (values,), (change,)) for one in (ours, reference))
        np.testing.assert_allclose(mine[0], true[0])
        np.testing.assert_allclose(mine[1], true[1])


@pytest.mark.parametrize("width", [3, 6, 9])
def test_every_platforms_rows_are_the_same(width):
    table, rows = jax.random.normal(jax.random.key(0), (7, width)), jnp.array([6, 0, 7, 3, 3])
    for gathered in (gather._gather_on_processors, gather._gather_in_sectors):
        np.testing.assert_array_equal(gathered(table, rows), indexed(table, rows))
    for added in (gather._add_on_processors, gather._add_in_sectors):
        np.testing.assert_allclose(added(table[:5], rows, count=7), summed(table[:5], rows), rtol=1e-6)


def test_what_is_computed_once_is_differentiated_like_anything_else():
    """Tuples of which some parts do not change, whole numbers, and batches."""

    def cost(barrier, x):
        a, (b, k), c = barrier((x**2, (jnp.sin(x), jnp.arange(3)), jnp.ones(3)))
        return jnp.sum(a * b[k] * c) + jnp.sum(barrier(b) * barrier(c))

    x = jax.random.normal(jax.random.key(0), (4, 3))
    for derivative in (lambda f: f, jax.grad, jax.hessian, lambda f: jax.grad(lambda x: jax.grad(f)(x).sum())):
        mine, plain = (derivative(partial(cost, barrier)) for barrier in (once, lambda values: values))
        np.testing.assert_allclose(jax.jit(jax.vmap(mine))(x), jax.vmap(plain)(x), rtol=1e-5, atol=1e-5)


def test_tables_that_are_too_long_together_ask_for_a_smaller_batch():
    tables, rows = jax.ShapeDtypeStruct((2**11, 2**20, 3), jnp.float32), jax.ShapeDtypeStruct((4,), jnp.int32)
    with pytest.raises(ValueError, match="smaller batch"):
        jax.eval_shape(jax.vmap(gather_rows, (0, None)), tables, rows)


def test_equal_depths_go_to_the_lower_triangle_and_nearer_ones_win():
    square = [[1, 1], [1, 7], [7, 1]]
    points = jnp.array([[*corner, depth] for depth in (30.0, 20.0, 20.0) for corner in square])
    faces = jnp.arange(9).reshape(3, 3)
    seen = nearest_triangle(points, faces, size=(8, 8), perspective=True, near=1.0)
    assert seen[2, 2] == 1 and seen[7, 7] == -1


def test_no_triangles_and_no_pixels_in_reach_give_an_empty_image():
    empty = nearest_triangle(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32), size=(4, 5), perspective=True, near=1.0)
    assert empty.shape == (4, 5) and (empty == -1).all()


def test_visibility_is_the_same_batched_and_alone():
    unit, faces = sphere(1)
    points = jnp.asarray(unit[None] * [[[20, 20, 20]], [[400, 400, 20]], [[1, 1, 1]]] + [16, 16, 100], jnp.float32)
    points = points * jnp.array([[[1.0, -1.0, 1.0]]]) + jnp.array([[[0.0, 32.0, 0.0]]])

    def one(p):
        return nearest_triangle(p, jnp.asarray(faces), size=(32, 32), perspective=False, near=1.0)

    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(points), jnp.stack([jax.jit(one)(p) for p in points]))


def test_visibility_of_batches_of_batches_and_of_different_topologies():
    unit, faces = sphere(1)
    turned = [jnp.roll(jnp.asarray(unit), k, axis=1) * 12 + jnp.array([[16.0, 16.0, 100.0]]) for k in range(3)]
    points = jnp.stack([jnp.stack(turned), 1.2 * jnp.stack(turned)])  # (2, 3, V, 3)
    topologies = jnp.stack([jnp.asarray(faces), jnp.asarray(faces)[::-1]])

    @jax.jit
    def one(points, faces):
        return nearest_triangle(points, faces, size=(24, 32), perspective=True, near=1.0)

    both = jax.jit(jax.vmap(jax.vmap(one, (0, None))))(points, topologies)
    for k in range(2):
        for n in range(3):
            np.testing.assert_array_equal(both[k, n], one(points[k, n], topologies[k]))
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(one, (None, 0)))(points[0, 0], topologies)[1], one(points[0, 0], topologies[1])
    )


def test_too_many_triangles_say_how_many_are_allowed():
    faces = jax.ShapeDtypeStruct((2**24, 3), jnp.int32)
    points = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    with pytest.raises(ValueError, match="at most 16777215"):
        jax.eval_shape(lambda p, f: nearest_triangle(p, f, size=(8, 8), perspective=True, near=1.0), points, faces)


def test_a_lane_a_triangle_sees_what_the_lists_see():
    """The program for GPUs, step by step: small triangles, ones that fill the picture, ones outside of it, batches."""
    unit, faces = sphere(2)
    ball = jnp.asarray(unit * [20, -20, 20] + [16, 16, 100], jnp.float32)
    large = jnp.array([[-50, -50, 10], [300, 20, 12], [20, 300, 15], [-30, -30, 5], [10, 40, 5], [40, 10, 5.0]])

    @partial(jax.jit, static_argnums=(2, 3))
    def seen(points, faces, size, implementation):
        return nearest_triangle(points, faces, size=size, perspective=True, near=1.0, implementation=implementation)

    for points, corners, size in ((ball, faces, (32, 24)), (large, [[0, 2, 1], [3, 4, 5]], (40, 48))):
        lists, lanes = (seen(points, jnp.asarray(corners), size, how) for how in ("xla", "interpreted"))
        np.testing.assert_array_equal(lanes, lists)
        assert len(np.unique(lists)) > 1
    two = jnp.stack([ball, 1.5 * ball])
    batched = jax.jit(jax.vmap(lambda points: seen(points, jnp.asarray(faces), (16, 16), "interpreted")))(two)
    np.testing.assert_array_equal(batched, [seen(points, jnp.asarray(faces), (16, 16), "xla") for points in two])
