"""A skeleton: named joints in an order, their tree of bones, sides, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.errors import InputError
from m2v_lib.yaml_text import parse_yaml

if TYPE_CHECKING:
    import numpy as np

#: More joints than any body model; a larger count in a file is a mistake.
MAX_JOINTS: Final = 300
MAX_SKELETON_FILE_BYTES: Final = 1_000_000


class SkeletonError(InputError):
    """A skeleton that is none: one sentence that names the file or skeleton and the joint."""


@dataclass(frozen=True)
class Skeleton:
    """Joints in the order of the arrays, each joint's parent (-1 for the one root), and the pairs
    (right, left) that mirroring swaps.

    rest_direction: where joint lies from its parent in the rest pose (x to the person's left, y
    up, z to the front; any length), by joint name; reference_mm: the bone's length on an adult of
    1.70 m. Lifting tells sizes by the lengths and writes BVH by both; joints with the usual names
    need neither (`skeletons.body`).
    words: a joint's name in the vocabulary of joints (`m2v_lib.skeletons.vocabulary`), where it is
    another: what skeletons call neck are different points of the body.
    Raises SkeletonError unless the bones form one tree and the pairs are pairs.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    rest_direction: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    reference_mm: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self)
        _check_tree(self)
        _check_pairs(self)

    def __hash__(self) -> int:
        return hash((self.name, self.joints, self.parents, self.flip_pairs))

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def n_joints(self) -> int:
        return len(self.joints)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """What the vocabulary of joints calls each joint, in the order of the arrays."""
        return tuple(self.words.get(joint, joint) for joint in self.joints)

    @cached_property
    def root(self) -> int:
        """Index of the joint that poses are relative to."""
        return self.parents.index(-1)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child), in the order of the child joint."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def bones_from_root(self) -> tuple[tuple[int, int], ...]:
        """The bones, each after the one that ends where it begins."""
        ordered, reached = list[tuple[int, int]](), {self.root}
        while len(ordered) < len(self.bones):
            found = [bone for bone in self.bones if bone[0] in reached and bone[1] not in reached]
            ordered += found
            reached.update(child for _, child in found)
        return tuple(ordered)

    @cached_property
    def right(self) -> tuple[int, ...]:
        return tuple(right for right, _ in self.flip_pairs)

    @cached_property
    def left(self) -> tuple[int, ...]:
        return tuple(left for _, left in self.flip_pairs)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """``pose[..., flip_order, :]`` swaps the two sides of the body."""
        order = list(range(len(self)))
        for right, left in self.flip_pairs:
            order[right], order[left] = left, right
        return tuple(order)

    def side(self, joint: int) -> str:
        """ "right", "left" or "middle"."""
        if joint in self.right:
            return "right"
        return "left" if joint in self.left else "middle"

    def index(self, name: str) -> int:
        """Position of a joint. Raises SkeletonError for a name that is not there."""
        if name not in self.joints:
            raise SkeletonError(
                f"{self.name}: there is no joint {name!r}; it has {', '.join(self.joints)}"
            )
        return self.joints.index(name)

    def parent_among(self, joint: int, kept: Collection[int]) -> int:
        """The nearest ancestor of a joint that is kept, -1 where there is none: where its bone ends
        when the others are left out.
        """
        parent = self.parents[joint]
        while parent >= 0 and parent not in kept:
            parent = self.parents[parent]
        return parent

    def without(self, joints: Sequence[int]) -> Skeleton:
        """The skeleton less some joints, its bones contracted along the tree; a child of a root that
        is left out hangs on the first joint that has lost its parent too.
        """
        kept = [joint for joint in range(len(self)) if joint not in joints]
        links = {joint: self.parent_among(joint, kept) for joint in kept}
        root = next(joint for joint in kept if links[joint] < 0)
        place = {joint: number for number, joint in enumerate(kept)}
        parents = [-1 if joint == root else place.get(links[joint], place[root]) for joint in kept]
        names = tuple(self.joints[joint] for joint in kept)
        whole = {self.joints[joint] for joint in kept if links[joint] == self.parents[joint]}
        return Skeleton(
            f"{self.name}-{len(joints)}",
            names,
            tuple(parents),
            tuple((place[r], place[left]) for r, left in self.flip_pairs if r in place),
            {name: value for name, value in self.rest_direction.items() if name in whole},
            {name: value for name, value in self.reference_mm.items() if name in whole},
            {name: value for name, value in self.words.items() if name in names},
        )

    def adjacency(self, *, self_loops: bool = True) -> np.ndarray:
        """Adjacency (J, J) of the bones in both directions, plus the identity (paper III-A.2)."""
        import numpy as np

        adjacency = np.eye(len(self)) if self_loops else np.zeros((len(self), len(self)))
        for parent, child in self.bones:
            adjacency[parent, child] = adjacency[child, parent] = 1.0
        return adjacency

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a store's meta or a YAML file holds them."""
        twin = dict(self.flip_pairs) | {left: right for right, left in self.flip_pairs}
        joints = []
        for number, name in enumerate(self.joints):
            parent = self.parents[number]
            entry: dict[str, Any] = {"name": name}
            entry["parent"] = self.joints[parent] if parent >= 0 else None

            if number in twin:
                entry["twin"] = self.joints[twin[number]]
                entry["side"] = self.side(number)

            if name in self.rest_direction:
                entry["rest_direction"] = list(self.rest_direction[name])
            if name in self.reference_mm:
                entry["reference_mm"] = self.reference_mm[name]
            if name in self.words:
                entry["word"] = self.words[name]
            joints.append(entry)

        return {"name": self.name, "joints": joints}

    @staticmethod
    def from_dict(values: Any, where: str = "skeleton") -> Skeleton:
        """Inverse of `to_dict`. Raises SkeletonError that begins with `where`."""
        joints = _joint_entries(values, where)
        names = [entry["name"] for entry in joints]
        position = {name: number for number, name in enumerate(names)}

        def find(entry: Mapping[str, Any], key: str) -> int:
            wanted = entry[key]
            if not isinstance(wanted, str) or wanted not in position:
                raise SkeletonError(f"{where}: {entry['name']}: unknown joint under {key!r}")
            return position[wanted]

        parents = [-1 if e.get("parent") is None else find(e, "parent") for e in joints]
        pairs = _pairs_of(joints, find, where)
        numbers = {e["name"]: e["reference_mm"] for e in joints if "reference_mm" in e}

        directions = {e["name"]: e["rest_direction"] for e in joints if "rest_direction" in e}
        words = {
            e["name"]: _word(e["word"], f"{where}: {e['name']}") for e in joints if "word" in e
        }

        return Skeleton(
            values["name"],
            tuple(names),
            tuple(parents),
            pairs,
            {name: _direction(value, f"{where}: {name}") for name, value in directions.items()},
            {name: _length(value, f"{where}: {name}") for name, value in numbers.items()},
            words,
        )

    @staticmethod
    def from_yaml(path: Path | str) -> Skeleton:
        """Read a skeleton file. Raises SkeletonError that names the file."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_SKELETON_FILE_BYTES:
                raise SkeletonError(f"{path}: must be at most {MAX_SKELETON_FILE_BYTES} bytes")
            values = parse_yaml(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, InputError) as error:
            if isinstance(error, SkeletonError):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise SkeletonError(f"{path}: not readable as YAML ({reason})") from error

        return Skeleton.from_dict(values, str(path))


def _joint_entries(values: Any, where: str) -> list[dict[str, Any]]:
    """The list under `joints`, each a table with a name."""
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise SkeletonError(f"{where}: must be a table with the keys name and joints")

    joints = values.get("joints")
    if not isinstance(joints, list) or not 2 <= len(joints) <= MAX_JOINTS:
        raise SkeletonError(f"{where}: joints must be a list of 2 to {MAX_JOINTS} joints")

    known = {"name", "parent", "twin", "side", "rest_direction", "reference_mm", "word"}
    for number, entry in enumerate(joints):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise SkeletonError(f"{where}: joint {number} must be a table with a name")
        if unknown := sorted(str(key) for key in entry.keys() - known):
            raise SkeletonError(
                f"{where}: {entry['name']}: unknown key {unknown[0]!r}, known are "
                f"{', '.join(sorted(known))}"
            )

    return joints


def _pairs_of(joints: Sequence[Mapping[str, Any]], find: Any, where: str) -> Any:
    """Pairs (right, left) from `twin` entries, which must point at each other."""
    pairs = []
    for number, entry in enumerate(joints):
        if "twin" not in entry:
            continue

        twin = find(entry, "twin")
        if joints[twin].get("twin") != entry["name"]:
            raise SkeletonError(
                f"{where}: {entry['name']} has the twin {entry['twin']}, whose twin it is not"
            )

        side = entry.get("side", "right" if "right" in entry["name"].lower() else "left")
        if side not in ("right", "left"):
            raise SkeletonError(f"{where}: {entry['name']}: side must be right or left")

        if side == "right":
            pairs.append((number, twin))

    return tuple(pairs)


def _direction(value: Any, where: str) -> tuple[float, float, float]:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 3 or not all(isinstance(v, int | float) for v in numbers):
        raise SkeletonError(f"{where}: rest_direction must be three numbers")
    length = math.hypot(*numbers)
    if not math.isfinite(length) or length == 0:
        raise SkeletonError(f"{where}: rest_direction must have a length")
    x, y, z = map(float, numbers)
    return x, y, z


def _length(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2000:
        raise SkeletonError(f"{where}: reference_mm must be a length of 0 to 2000 mm")
    return float(value)


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise SkeletonError(f"{where}: word must be a name of the vocabulary of joints")
    return value


def _check_names(skeleton: Skeleton) -> None:
    if len(skeleton.parents) != len(skeleton.joints):
        raise SkeletonError(
            f"{skeleton.name}: must have a parent for each of {len(skeleton.joints)} joints, "
            f"got {len(skeleton.parents)}"
        )

    seen: set[str] = set()
    for joint in skeleton.joints:
        if not joint or joint in seen:
            raise SkeletonError(f"{skeleton.name}: joint names must differ, got {joint!r} twice")
        seen.add(joint)

    if len(set(skeleton.vocabulary)) != len(skeleton):
        raise SkeletonError(f"{skeleton.name}: two joints must not have one word of the vocabulary")


def from_links(
    name: str, *links: tuple[str, str], words: Mapping[str, str] | None = None
) -> Skeleton:
    """A skeleton from (joint, parent) in the order of the arrays; the root's parent is empty.
    Sides are told by the names.
    """
    joints = [joint for joint, _ in links]
    parents = [joints.index(parent) if parent else -1 for _, parent in links]
    twins = [(joint, joint.replace("right ", "left ")) for joint in joints]
    pairs = [(joints.index(j), joints.index(o)) for j, o in twins if j != o and o in joints]
    return Skeleton(name, tuple(joints), tuple(parents), tuple(pairs), words=words or {})


def _check_tree(skeleton: Skeleton) -> None:
    """One root, and every joint reaches it."""
    roots = [j for j, parent in zip(skeleton.joints, skeleton.parents, strict=True) if parent < 0]
    if len(roots) != 1:
        found = ", ".join(roots) or "none"
        raise SkeletonError(
            f"{skeleton.name}: must have one root (a joint without parent), got {found}"
        )

    for start, joint in enumerate(skeleton.joints):
        steps, at = 0, start
        while skeleton.parents[at] >= 0:
            at, steps = skeleton.parents[at], steps + 1
            if at >= len(skeleton.joints) or steps > len(skeleton.joints):
                raise SkeletonError(f"{skeleton.name}: the bones from {joint} run in a circle")


def _check_pairs(skeleton: Skeleton) -> None:
    paired = [joint for pair in skeleton.flip_pairs for joint in pair]
    if len(set(paired)) != len(paired) or any(not 0 <= j < len(skeleton) for j in paired):
        raise SkeletonError(f"{skeleton.name}: a joint must be the twin of one other joint")

    lone = [
        joint
        for number, joint in enumerate(skeleton.joints)
        if joint.lower().startswith(("left ", "right ")) and number not in paired
    ]
    if lone:
        raise SkeletonError(f"{skeleton.name}: {lone[0]} must have a twin on the other side")
