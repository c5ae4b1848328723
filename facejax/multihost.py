"""Several processes, on one machine or many, that compute as one (`jax.distributed`).

Every process runs the same program on the same global arrays; the first one writes files.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding


@dataclass(frozen=True, kw_only=True)
class MultihostOptions:
    """Options of a script that say which of several processes this is. Without them there is only one."""

    coordinator: str | None = None
    """HOST:PORT of the first process; the same for all"""
    processes: int | None = None
    """number of processes"""
    process: int | None = None
    """index of this process, from 0"""

    def join(self) -> None:
        """Join the other processes. Call it before any other use of jax. Raises ValueError when only some options are
        given.
        """
        given = self.coordinator, self.processes, self.process
        if given == (None, None, None):
            return
        if None in given:
            raise ValueError("several hosts: pass --coordinator HOST:PORT, --processes N and --process K, all three")
        jax.distributed.initialize(*given)


def first_host() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def spread(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays, the same on every process, as global ones; each process copies only its own parts."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda part: leaf[part])

    return jax.tree.map(place, tree)


def gathered(tree: Any) -> Any:
    """The whole arrays, on every host."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


def agreed(value: int) -> int:
    """The first host's number, on all hosts."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def wait_for_hosts(name: str) -> None:
    """Wait until all hosts have called this."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
