"""Valid structures with one value after another put to a value of every wrong kind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np


def deep(n: int = 3000) -> list[Any]:
    """Lists inside each other, too deep to be printed."""
    value: list[Any] = []
    for _ in range(n):
        value = [value]
    return value


#: what a JSON file can hold in the place of any value
JSON_KINDS: dict[str, Any] = {
    "none": None,
    "int": 7,
    "negative": -3,
    "zero": 0,
    "huge": 10**30,
    "fraction": 0.5,
    "large": 1e308,
    "nan": float("nan"),
    "endless": float("inf"),
    "true": True,
    "text": "<b>=cmd\x1b[2J",
    "digits": "12",
    "long": "x" * 10_000,
    "empty list": [],
    "list": [1, "a", None],
    "list of lists": [[1, 2], [3]],
    "empty object": {},
    "object": {"a": 1},
    "deep": deep(60),
}
#: what a pickle or an .npz can hold besides
PICKLE_KINDS: dict[str, Any] = {
    **JSON_KINDS,
    "bytes": b"\xff\x00",
    "complex": 1j,
    "tuple": (1, "a"),
    "set": {1, 2},
    "0d": np.array(5),
    "row": np.arange(5),
    "two axes": np.zeros((3, 2)),
    "int8": np.zeros((2, 9, 17, 2), np.int8),
    "complex array": np.zeros(4, complex),
    "text array": np.array(["a", "bc"]),
    "object array": np.array([{}, None], object),
    "huge floats": np.full((4, 17, 3), 1e308),
}


def variants(
    content: Any, kinds: dict[str, Any], depth: int = 4, first: int = 2
) -> Iterator[tuple[str, Any]]:
    """`content` with one place after another changed: the keys of every object, and the first
    few entries of every list, down to a depth; each place also left out.
    """
    for place in _places(content, depth, first):
        for kind, value in kinds.items():
            changed = copy.deepcopy(content)
            inside = _inside(changed, place[:-1])
            if type(inside[place[-1]]) is type(value) and np.array_equal(inside[place[-1]], value):
                continue
            inside[place[-1]] = copy.deepcopy(value) if kind != "deep" else value
            yield f"{'.'.join(map(str, place))}={kind}", changed
        changed = copy.deepcopy(content)
        del _inside(changed, place[:-1])[place[-1]]
        yield f"{'.'.join(map(str, place))} left out", changed


def _inside(content: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        content = content[key]
    return content


def _places(content: Any, depth: int, first: int) -> Iterator[tuple[Any, ...]]:
    if depth == 0:
        return
    if isinstance(content, dict):
        keys: list[Any] = list(content)[: 4 * first]
    elif isinstance(content, list):
        keys = list(range(min(first, len(content))))
    else:
        return
    for key in keys:
        yield (key,)
        for below in _places(content[key], depth - 1, first):
            yield (key, *below)
