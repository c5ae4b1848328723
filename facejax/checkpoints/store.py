"""Trees of arrays on disk: Orbax folders with a schema name and version that are checked on load.

A checkpoint is written beside its place and then renamed, so it is either complete or absent. It holds host arrays and
nothing about devices, so a CPU can read what a GPU wrote. Orbax sees only nested dictionaries with string keys; any
other tree is rebuilt from an example of it, `like`.
"""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.multihost import agreed, first_host, wait_for_hosts

_ITEM = "tree"  # the name of the one item in each Orbax folder
_HALF_MAX = float(np.finfo(np.float16).max)


class Checkpoint(NamedTuple):
    """The contents of a checkpoint."""

    tree: Any
    metadata: dict[str, Any]


def save(path: str | Path, tree: Any, *, schema: str, version: int, half: bool = False, **metadata: Any) -> None:
    """Write the arrays of a tree to the folder `path`, replacing a checkpoint there.

    With several hosts (`facejax.multihost`) all call this, with one path that all can reach and leaves that are whole
    on each.

    Args:
      path: folder.
      tree: leaves are arrays, numbers or random keys.
      schema: says what the tree is.
      version: says how it is laid out.
      half: store float32 arrays in 16 bits (11 bits of precision, up to 65504); they come back as float32.
      metadata: anything that JSON can hold.

    Raises ValueError when a leaf cannot be stored, and when `path` is something other than a checkpoint.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(path).absolute()
    if path.exists() and not _is_checkpoint(path):
        raise ValueError(f"{path}: exists and is no checkpoint; give another path, or remove it")
    leaves = {name: _to_host(path, name, leaf, half) for name, leaf in _named_leaves(path, tree)}
    empty = {name: [value.dtype.name, *value.shape] for name, value in leaves.items() if not value.size}
    if len(empty) == len(leaves):
        raise ValueError(f"{path}: the tree holds no numbers; give the parameters to save")
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the metadata cannot be written as JSON ({error}); put arrays in the tree") from None
    about = {"schema": schema, "version": version, "half": half, "empty": empty, "metadata": metadata}
    nested = _nest({name: value for name, value in leaves.items() if value.size})
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{agreed(secrets.randbits(31)):08x}"
    fresh, old = (path.with_name(f".{path.name}.{mark}.{part}") for part in ("tmp", "old"))
    try:
        ocp.save(str(fresh), nested, checkpointable_name=_ITEM, custom_metadata=about)
        if first_host():
            (fresh / "commit_success.txt").unlink(missing_ok=True)  # not needed, and it says where it was written
            if path.exists():
                os.replace(path, old)
            os.replace(fresh, path)
    finally:
        for leftover in (fresh, old, fresh.with_name(fresh.name + ".orbax-checkpoint-tmp")) if first_host() else ():
            shutil.rmtree(leftover, ignore_errors=True)
    wait_for_hosts(f"saved {path}")


def load(path: str | Path, *, schema: str, version: int, like: Any = None) -> Checkpoint:
    """The tree and the metadata of a checkpoint.

    Args:
      path: folder.
      schema, version: must be those of the checkpoint.
      like: an example of the tree (arrays or `jax.ShapeDtypeStruct`). The result has its structure, shapes and types
        are checked, and each leaf becomes the kind of array that it is in the example. None: nested dictionaries of
        numpy arrays.

    Returns:
      The checkpoint.

    Raises FileNotFoundError or ValueError, of one line that names the fix, when there is no such checkpoint, it is
    damaged, or its schema, version or arrays are not those asked for.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(path).absolute()
    about = _about(path)
    _compare(path, about, schema, version)
    try:
        leaves = _flat(ocp.load(str(path), checkpointable_name=_ITEM))
    except Exception as error:
        raise _damaged(path, error) from None
    leaves |= {name: np.zeros(shape, dtype) for name, (dtype, *shape) in about["empty"].items()}
    if about["half"]:
        leaves = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in leaves.items()}
    tree = _nest(leaves) if like is None else _rebuild(path, leaves, like)
    return Checkpoint(tree, about["metadata"])


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What a checkpoint says about itself, without its arrays: "schema", "version", "metadata" and how it is stored.

    Raises like `load`.
    """
    path = Path(path).absolute()
    about = _about(path)
    if "schema" not in about:
        raise _foreign(path)
    return about


def _about(path: Path) -> dict[str, Any]:
    from orbax.checkpoint import v1 as ocp

    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; check the path")
    if not _is_checkpoint(path):
        raise ValueError(f"{path}: not a checkpoint; give a folder that facejax.checkpoints.save wrote")
    try:
        about: Any = ocp.metadata(str(path), checkpointable_name=_ITEM).custom_metadata
    except Exception as error:  # Orbax and its storage fail in many ways on truncated files
        raise _damaged(path, error) from None
    return about if isinstance(about, dict) else {}


def _is_checkpoint(path: Path) -> bool:
    return (path / _ITEM).is_dir()


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ValueError(f"{path}: the checkpoint is incomplete or damaged ({reason}); copy or download it again")


def _foreign(path: Path) -> ValueError:
    return ValueError(f"{path}: a checkpoint of another program; give one that facejax.checkpoints.save wrote")


def _compare(path: Path, about: Mapping[str, Any], schema: str, version: int) -> None:
    if "schema" not in about:
        raise _foreign(path)
    if about["schema"] != schema:
        raise ValueError(f"{path}: holds {about['schema']!r}, wanted is {schema!r}; give a checkpoint of that kind")
    if about["version"] > version:
        fix = "install a newer facejax, or give an older checkpoint"
    else:
        fix = "write it again with this facejax, or install the one that wrote it"
    if about["version"] != version:
        raise ValueError(f"{path}: {schema!r} version {about['version']}, this facejax reads version {version}; {fix}")


def _named_leaves(path: Path, tree: Any) -> list[tuple[str, Any]]:
    """Leaves by their path in the tree, such as "params/conv1/kernel"."""
    named = [
        (jax.tree_util.keystr(keys, simple=True, separator="/"), leaf)
        for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]
    names = {name for name, _ in named}
    if len(names) < len(named) or any(not part for name in names for part in name.split("/")):
        raise ValueError(
            f"{path}: two leaves of the tree have one name, or one has none; use distinct keys without '/'"
        )
    return named


def _is_random_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(path: Path, name: str, leaf: Any, half: bool) -> np.ndarray:
    value = np.asarray(jax.random.key_data(leaf) if _is_random_key(leaf) else leaf)
    if value.dtype.kind not in "fiubV" or value.dtype.names or value.dtype.hasobject:  # V: bfloat16 and similar types
        raise ValueError(f"{path}: {name!r} is a {type(leaf).__name__}, not an array of numbers; pass it as metadata")
    if half and value.dtype == np.float32:
        if np.any(np.abs(value) > _HALF_MAX):
            raise ValueError(f"{path}: {name!r} exceeds {_HALF_MAX:g}, the largest 16-bit number; save without half")
        value = value.astype(np.float16)
    return value


def _nest(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = value
    return tree


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    leaves: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= _flat(value, f"{name}/") if isinstance(value, Mapping) else {name: np.asarray(value)}
    return leaves


def _rebuild(path: Path, leaves: Mapping[str, np.ndarray], like: Any) -> Any:
    named = _named_leaves(path, like)
    names = {name for name, _ in named}
    for fault, odd in (("lacks", names - leaves.keys()), ("has unknown", leaves.keys() - names)):
        if odd:
            count = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise ValueError(
                f"{path}: the checkpoint {fault} {min(odd)!r}{count}; load it with the configuration that wrote it"
            )
    return jax.tree.unflatten(
        jax.tree.structure(like), [_restore(path, name, leaves[name], leaf) for name, leaf in named]
    )


def _restore(path: Path, name: str, value: np.ndarray, like: Any) -> Any:
    if _is_random_key(like):
        return jax.random.wrap_key_data(jnp.asarray(value), impl=str(jax.random.key_impl(like)))
    if isinstance(like, (bool, int, float)):
        return type(like)(value)
    found, wanted = (f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in (value, like))
    if found != wanted:
        raise ValueError(
            f"{path}: {name!r} is {found}, wanted is {wanted}; load it with the configuration that wrote it"
        )
    if isinstance(like, np.ndarray | np.generic):
        return value
    if isinstance(like, jax.Array) and len(like.devices()) > 1:
        return jax.device_put(value, like.sharding)
    return jnp.array(value)
