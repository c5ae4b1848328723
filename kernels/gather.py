"""Gather the rows of a table, and sum rows back into it: two primitives, each the transpose of the other.

In a batch, JAX's own gather and scatter give every row a second index, the number of its table. Processors and GPUs
have slower programs for that, and with one set of rows for many tables they stride through all tables at once. Here
vmap concatenates the tables of a batch. Forward-mode, reverse-mode and higher derivatives work as with JAX's own. How
rows are read and summed is decided when a program is lowered for its platform.
"""

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Int, Num, Shaped

from facejax.kernels.barrier import stored


def gather_rows(table: Shaped[Array, "V ..."], rows: Int[Array, "*N"]) -> Shaped[Array, "..."]:
    """`table[rows]`, (*N, ...); a row number outside the table reads zeros and receives no gradient.

    Linear in `table`; the transpose is `add_rows`.
    """
    table = jnp.asarray(table)
    found = _gather.bind(table.reshape(table.shape[0], -1), _numbers(rows))
    return found.reshape(*jnp.shape(rows), *table.shape[1:])


def add_rows(updates: Num[Array, "N ..."], rows: Int[Array, " N"], count: int) -> Num[Array, "V ..."]:
    """A table of `count` rows, each the sum of its updates; updates for rows outside the table are dropped.

    Linear in `updates`; the transpose is `gather_rows`.
    """
    updates = jnp.asarray(updates)
    summed = _add.bind(updates.reshape(updates.shape[0], -1), _numbers(rows), count=count)
    return summed.reshape(count, *updates.shape[1:])


def _numbers(rows: Array) -> Array:
    return jnp.asarray(rows, jnp.int32).reshape(-1)


_gather, _add = Primitive("gather_rows"), Primitive("add_rows")


@_gather.def_impl
def _gather_plain(table, rows):
    return table.at[rows].get(mode="fill", fill_value=0, wrap_negative_indices=False)


@_add.def_impl
def _add_plain(updates, rows, *, count):
    table = jnp.zeros((count, updates.shape[1]), updates.dtype)
    return table.at[rows].add(updates, mode="drop", wrap_negative_indices=False)


def _gather_on_processors(table, rows):
    return stored(_gather_plain(stored(table), rows))


def _add_on_processors(updates, rows, *, count):
    return stored(_add_plain(stored(updates), rows, count=count))


def _gather_in_sectors(table, rows):
    return _gather_plain(_in_sectors(table), rows)[:, : table.shape[1]]


def _add_in_sectors(updates, rows, *, count):
    return _add_plain(_in_sectors(updates), rows, count=count)[:, : updates.shape[1]]


def _in_sectors(table):
    """Pad rows of five to seven numbers to eight: on accelerators each then lies in one sector of memory."""
    spare = 8 - table.shape[1] if 4 < table.shape[1] < 8 else 0
    return jnp.pad(table, ((0, 0), (0, spare))) if spare else table


@_gather.def_abstract_eval
def _gather_shape(table, rows):
    return table.update(shape=(rows.shape[0], table.shape[1]), weak_type=False)


@_add.def_abstract_eval
def _add_shape(updates, rows, *, count):
    return updates.update(shape=(count, updates.shape[1]), weak_type=False)


mlir.register_lowering(_gather, mlir.lower_fun(_gather_in_sectors, multiple_results=False))
mlir.register_lowering(_gather, mlir.lower_fun(_gather_on_processors, multiple_results=False), platform="cpu")
mlir.register_lowering(_add, mlir.lower_fun(_add_in_sectors, multiple_results=False))
mlir.register_lowering(_add, mlir.lower_fun(_add_on_processors, multiple_results=False), platform="cpu")
ad.defjvp(_gather, lambda change, table, rows: _gather.bind(change, rows), None)
ad.defjvp(_add, lambda change, updates, rows, *, count: _add.bind(change, rows, count=count), None)


def _gather_transposed(cotangent, table, rows):
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(table.aval), None]
    return [_add.bind(cotangent, rows, count=table.aval.shape[0]), None]


def _add_transposed(cotangent, updates, rows, *, count):
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(updates.aval), None]
    return [_gather.bind(cotangent, rows), None]


ad.primitive_transposes[_gather] = _gather_transposed
ad.primitive_transposes[_add] = _add_transposed


def _gather_batched(values, axes):
    (table, rows), (of_table, of_rows) = values, axes
    if of_table is None:
        rows = jnp.moveaxis(rows, of_rows, 0)
        return _gather.bind(table, rows.reshape(-1)).reshape(*rows.shape, -1), 0
    table = jnp.moveaxis(table, of_table, 0)
    batch, count, width = table.shape
    found = _gather.bind(table.reshape(-1, width), _in_a_row(rows, of_rows, batch, count))
    return found.reshape(batch, -1, width), 0


def _add_batched(values, axes, *, count):
    (updates, rows), (of_updates, of_rows) = values, axes
    batch = rows.shape[of_rows] if of_updates is None else updates.shape[of_updates]
    updates = _in_front(updates, of_updates, batch)
    updates = updates.reshape(-1, updates.shape[2])
    summed = _add.bind(updates, _in_a_row(rows, of_rows, batch, count), count=batch * count)
    return summed.reshape(batch, count, -1), 0


def _in_a_row(rows, axis, batch: int, count: int):
    """Row numbers for `batch` tables of `count` rows each, concatenated."""
    if batch * count >= 2**31:
        raise ValueError(f"{batch} tables of {count} rows are too long for 32-bit row numbers: use a smaller batch")
    rows = _in_front(rows, axis, batch)
    first = count * jnp.arange(batch, dtype=rows.dtype)[:, None]
    return jnp.where((rows >= 0) & (rows < count), first + rows, batch * count).reshape(-1)


def _in_front(values, axis, batch: int):
    return jnp.broadcast_to(values, (batch, *values.shape)) if axis is None else jnp.moveaxis(values, axis, 0)


batching.primitive_batchers[_gather] = _gather_batched
batching.primitive_batchers[_add] = _add_batched
