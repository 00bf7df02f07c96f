"""The container of glTF 2.0: numbered arrays with a description in JSON, in one file."""
# n frames

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

#: what the format calls the kinds of numbers, and the shapes of their rows
KINDS: Final = {"float32": 5126, "uint16": 5123}
SHAPES: Final = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
#: what a vertex or an index is read as
VERTICES: Final = 34962
INDICES: Final = 34963
#: the file's own length is a number of 32 bits
MAX_BYTES: Final = 2**32 - 2**20


@dataclass
class Content:
    """What is written: tables of the format's description, and the arrays they point to."""

    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    skins: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    channels: list[dict[str, Any]] = field(default_factory=list)
    samplers: list[dict[str, Any]] = field(default_factory=list)
    length: int = 0

    def add(self, values: np.ndarray, *, target: int | None = None, limits: bool = False) -> int:
        """Number of an accessor of an array, whose rows are the format's elements."""
        view: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": self.length,
            "byteLength": values.nbytes,
        }
        self.views.append(view | ({"target": target} if target else {}))
        self.arrays.append(values)
        self.length += -(-values.nbytes // 4) * 4

        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": KINDS[values.dtype.name],
            "count": len(values),
            "type": SHAPES[values.shape[1:]],
        }
        if limits:
            accessor["min"] = np.atleast_1d(values.min(0)).astype(float).tolist()
            accessor["max"] = np.atleast_1d(values.max(0)).astype(float).tolist()
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def animate(self, node: int, path: str, times: int, values: np.ndarray) -> None:
        """Let values (n,...) be the rotation or translation of a node."""
        self.samplers.append(
            {"input": times, "output": self.add(values), "interpolation": "LINEAR"}
        )
        self.channels.append(
            {"sampler": len(self.samplers) - 1, "target": {"node": node, "path": path}}
        )


def write_parts(beside: Path, description: dict[str, Any], content: Content) -> None:
    """Write the description and the arrays, each in its part of the file."""
    text = json.dumps(description, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with beside.open("wb") as stream:
        stream.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + content.length))
        stream.write(struct.pack("<I4s", len(text), b"JSON") + text)
        stream.write(struct.pack("<I4s", content.length, b"BIN\0"))
        for values in content.arrays:
            stream.write(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
            stream.write(bytes(-values.nbytes % 4))
