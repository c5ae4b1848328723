"""Several processes, on one machine or many, that compute as one (`jax.distributed`).

Every process runs the same program on the same global arrays; files are written by the first one.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding


@dataclass(frozen=True, kw_only=True)
class MultihostOptions:
    """Which of several processes this is, as options of a script; without them it is alone."""

    coordinator: str | None = None
    """HOST:PORT of the first of several processes that work together; all are started with the same options"""
    processes: int | None = None
    """how many"""
    process: int | None = None
    """which of them this is, from 0"""

    def join(self) -> None:
        """Become one of several; before anything else of jax. Raises ValueError when only some options are given."""
        given = self.coordinator, self.processes, self.process
        if given == (None, None, None):
            return
        if None in given:
            raise ValueError("several hosts: pass --coordinator HOST:PORT, --processes N and --process K, all three")
        jax.distributed.initialize(*given)


def first_host() -> bool:
    """The one that writes files."""
    return jax.process_index() == 0


def spread(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays, the same on every process, as global ones; each process copies its own parts only."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda part: leaf[part])

    return jax.tree.map(place, tree)


def gathered(tree: Any) -> Any:
    """Whole arrays on every host."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


def agreed(value: int) -> int:
    """The first host's number, on all."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def wait_for_hosts(name: str) -> None:
    """Until all are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
