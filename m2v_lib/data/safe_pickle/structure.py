"""How far a structure unfolds: values that are shared over and over, or hold themselves, are small
in a file and without end to whoever walks through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from m2v_lib.data.limits import MAX_PICKLE_DEPTH
from m2v_lib.data.safe_pickle.plain_arrays import NotPlain

_CONTAINERS: Final = frozenset((list, tuple, dict, set, np.ndarray))


def check_unfolded(root: Any, limit: int) -> None:
    """Raise NotPlain where `root` holds itself, is nested too deeply, or has more than `limit`
    objects when whatever is shared is counted each time it is met.
    """
    sizes: dict[int, int] = {}
    open_ids: set[int] = set()
    path: list[tuple[Any, Iterator[Any], int]] = []

    def enter(value: Any) -> None:
        if id(value) in open_ids:
            raise NotPlain("holds a container that contains itself")
        if len(path) >= MAX_PICKLE_DEPTH:
            raise NotPlain(f"holds containers nested more than {MAX_PICKLE_DEPTH} deep")
        open_ids.add(id(value))
        items, n_items = _items(value)
        path.append((value, items, n_items + 1))

    if type(root) in _CONTAINERS:
        enter(root)

    while path:
        value, items, size = path.pop()
        for item in items:
            known = sizes.get(id(item))
            if known is None:
                path.append((value, items, size))
                enter(item)
                break

            size += known
            if size > limit:
                break
        else:
            open_ids.discard(id(value))
            sizes[id(value)] = size
            _add_to_parent(path, size)
        if size > limit:
            raise NotPlain(f"unfolds to more than {limit} objects, far more than its bytes")


def _add_to_parent(path: list[tuple[Any, Iterator[Any], int]], size: int) -> None:
    if path:
        value, items, so_far = path.pop()
        path.append((value, items, so_far + size))


def _items(value: Any) -> tuple[Iterator[Any], int]:
    """The containers directly inside one, and how many items it has in all."""
    if isinstance(value, np.ndarray):
        if not value.dtype.hasobject:
            return iter(()), 0
        held: Iterable[Any] = value.reshape(-1).tolist()
    elif isinstance(value, dict):
        held = value.values()
    else:
        held = value

    n_items = len(held)  # type: ignore[arg-type]
    if _CONTAINERS.isdisjoint(map(type, held)):
        return iter(()), n_items

    return iter([item for item in held if _holds_others(item)]), n_items


def _holds_others(value: Any) -> bool:
    kind = type(value)
    return kind in _CONTAINERS and (kind is not np.ndarray or value.dtype.hasobject)
