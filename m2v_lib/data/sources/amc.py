"""CMU motion capture as published: ASF skeletons and AMC motions to the 38 points of the rig in
world mm at 50 Hz.

An ASF file lists bones: direction and length at rest, an axis triple that defines the bone's own
frame, and which rotations (dof) a motion gives. An AMC file lists these numbers frame by frame.
A bone's end is at
  x[b] = x[parent] + G[b] (length d),   G[b] = G[parent] C M C^-1,   G[root] from the root's own
  angles,
with C from the axis triple and M from the frame's angles, both applied x first, then y, then z.
"""
# n frames at the source rate, m frames at the new one, R = 38 points of the rig

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_number, check_file
from m2v_lib.data.limits import MAX_TEXT_BYTES
from m2v_lib.data.sources.packs import Clip, Pack
from m2v_lib.data.sources.rig_layouts import RIG_DERIVED, RIG_H36M17, RIG_JOINTS
from m2v_lib.data.sources.rig_points import RIG_BONES, rig_points, suspect_points
from m2v_lib.geometry.kinematics import axis_rotation
from m2v_lib.geometry.resampling import resample, resample_marks, steady_segments
from m2v_lib.skeletons.known import RIG38

INCH_MM: Final = 25.4
#: the lowest points of the bones, which the floor is told by
FOOT_POINTS: Final = ("ltoe_base", "rtoe_base", "ltoe_tip", "rtoe_tip")
#: the order of rotations in every CMU file
XYZ: Final = ("x", "y", "z")
SOURCE_FPS: Final = 120.0
#: bones of a skeleton, and the length of one: CMU's have 30 bones of up to 500 mm
MAX_BONES: Final = 1000
MAX_BONE_MM: Final = 1e5


@dataclass(frozen=True)
class Bone:
    """One bone: parent's name, rest vector (3,) mm, frame C (3,3) and the rotations a motion
    gives, e.g. ("x", "z").
    """

    parent: str
    vector: np.ndarray
    frame: np.ndarray
    dof: tuple[str, ...]


@dataclass(frozen=True)
class Skeleton:
    """Bones in an order in which parents come first; ``scale`` is mm per length unit of the
    files.
    """

    bones: dict[str, Bone]
    scale: float


def euler(degrees: np.ndarray) -> np.ndarray:
    """Rotations (...,3,3) by angles (...,3) about x, then y, then z: ``Rz Ry Rx``."""
    x, y, z = (axis_rotation(axis, degrees[..., axis]) for axis in range(3))
    return z @ y @ x


def read_asf(path: Path | str) -> Skeleton:
    """Read an ASF skeleton; lengths become mm by CMU's convention (value / unit length, in
    inches).
    """
    path = Path(path)
    sections = _sections(path, _read_text(path))

    try:
        units = {line.split()[0]: line.split()[1] for line in sections["units"]}
        if units["angle"] != "deg":
            raise DataError(f"{path}: angles are in {units['angle']}, expected deg")

        unit = as_number(units["length"], f"{path}: units: length", 1e-6, 1e6, text=True)
        scale = INCH_MM / unit
        blocks = list(islice(_blocks(sections["bonedata"]), MAX_BONES + 1))
        if len(blocks) > MAX_BONES:
            raise DataError(f"{path}: must have at most {MAX_BONES} bones")

        bones = dict(_bone(block, scale) for block in blocks)
        return Skeleton(_in_order(path, bones, sections["hierarchy"]), scale)
    except (KeyError, IndexError) as error:
        raise DataError(
            f"{path}: an ASF file lacks {error}, expected units, bonedata and hierarchy"
        ) from error
    except ValueError as error:
        raise (
            error
            if isinstance(error, DataError)
            else DataError(f"{path}: not an ASF file ({error})")
        ) from error


def _read_text(path: Path) -> str:
    check_file(path, MAX_TEXT_BYTES, "an ASF or AMC file")
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}), expected an ASF or AMC file"
        ) from error


def _sections(path: Path, text: str) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith(":"):
            lines = out.setdefault(line[1:].strip().partition(" ")[0].lower(), [])
        elif line and not line.startswith("#"):
            lines.append(line)

    if "bonedata" not in out:
        raise DataError(f"{path}: has no :bonedata, expected an ASF skeleton")

    return out


def _blocks(lines: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """The ``begin`` .. ``end`` blocks as word lists by first word."""
    block: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if words[0] == "begin":
            block = {}
        elif words[0] == "end":
            yield block
        else:
            block.setdefault(words[0], words[1:])


def _bone(block: dict[str, list[str]], scale: float) -> tuple[str, Bone]:
    name, axis = block["name"][0], block["axis"]
    if axis[3:] != ["XYZ"]:
        raise ValueError(f"bone {name} has axis order {axis[3:]}, expected XYZ")

    direction, length = _numbers(block["direction"], 3), _numbers(block["length"][:1], 1)
    vector = direction * length * scale
    dof = tuple(word[1:].lower() for word in block.get("dof", []))
    if not (np.abs(vector) < MAX_BONE_MM).all():
        raise ValueError(f"bone {name} is longer than {MAX_BONE_MM:g} mm")
    if set(dof) - set(XYZ):
        raise ValueError(f"bone {name} has dof {dof}, expected rx, ry, rz")

    return name, Bone("root", vector, euler(_numbers(axis[:3], 3)), dof)


def _numbers(words: Sequence[str], n: int) -> np.ndarray:
    """So many numbers of a bone."""
    if len(words) != n:
        raise ValueError(f"a bone has {len(words)} numbers, expected {n}")
    return np.array([as_number(word, "a bone's number", -1e6, 1e6, text=True) for word in words])


def _in_order(path: Path, bones: dict[str, Bone], hierarchy: Sequence[str]) -> dict[str, Bone]:
    """The bones parents first, with their parents filled in."""
    parent = {child: words[0] for words in map(str.split, hierarchy) for child in words[1:]}
    out: dict[str, Bone] = {}
    while waiting := [name for name in bones if name not in out]:
        ready = [name for name in waiting if parent.get(name) == "root" or parent.get(name) in out]
        if not ready:
            raise DataError(
                f"{path}: bone {waiting[0]} hangs on no root in :hierarchy, expected one tree"
            )
        for name in ready:
            bone = bones[name]
            out[name] = Bone(parent[name], bone.vector, bone.frame, bone.dof)

    return out


def read_amc(path: Path | str, skeleton: Skeleton) -> dict[str, np.ndarray]:
    """Read an AMC motion: angles (n, dof) in degrees by bone; "root" is (n,6): position in file
    units, then angles.
    """
    path = Path(path)
    widths = {
        "root": 6,
        **{name: len(bone.dof) for name, bone in skeleton.bones.items() if bone.dof},
    }
    rows: dict[str, list[list[float]]] = {name: [] for name in widths}

    frame = 0
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0][0] in "#:":
            continue

        if len(words) == 1 and words[0].isdigit():
            frame += 1
            continue

        try:
            values = [float(word) for word in words[1:]]
            if len(values) != widths[words[0]] or not np.isfinite(values).all():
                raise ValueError
        except (ValueError, KeyError):
            expected = (
                f"{widths[words[0]]} numbers" if words[0] in widths else "a bone of the skeleton"
            )
            raise DataError(
                f"{path}: line {number} ({words[0]}, frame {frame}): expected {expected}"
            ) from None

        rows[words[0]].append(values)

    for name, given in rows.items():
        if len(given) != frame or frame == 0:
            raise DataError(
                f"{path}: {name} has {len(given)} of {frame} frames, expected all (truncated?)"
            )

    return {name: np.array(given) for name, given in rows.items()}


def bone_poses(
    skeleton: Skeleton, motion: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """End (n,3) mm and rotation (n,3,3) of every bone in the file's frame (y up); "root" is the
    pelvis root of the rig.
    """
    n = len(motion["root"])
    ends = {"root": motion["root"][:, :3] * skeleton.scale}
    turned = {"root": euler(motion["root"][:, 3:])}

    for name, bone in skeleton.bones.items():
        angles = np.zeros((n, 3))
        for column, axis in enumerate(bone.dof):
            angles[:, XYZ.index(axis)] = motion[name][:, column]
        turned[name] = turned[bone.parent] @ (bone.frame @ euler(angles) @ bone.frame.T)
        ends[name] = ends[bone.parent] + turned[name] @ bone.vector

    return ends, turned


def bone_ends(skeleton: Skeleton, motion: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """End of every bone (n,3) mm in the file's frame (y up)."""
    return bone_poses(skeleton, motion)[0]


def to_points(skeleton: Skeleton, motion: dict[str, np.ndarray]) -> np.ndarray:
    """The rig's points (n,R,3) mm in a world with z up."""
    vectors = {name: bone.vector for name, bone in skeleton.bones.items()}
    return rig_points(*bone_poses(skeleton, motion), vectors)


@dataclass(frozen=True)
class Segment:
    """A converted stretch: frames ``begin .. end`` of the file became ``clip``; floor height
    (mm) of the whole file; ``suspect`` (m,R) bool: points that cannot be trusted.
    """

    clip: Clip
    source_file: str
    source_frames: tuple[int, int]
    floor_z: float
    suspect: np.ndarray


def convert(
    asf: Path | str, amc: Path | str, *, action: str, action_class: str, fps: float = 50.0
) -> tuple[Segment, ...]:
    """One AMC file as clips ``CMU_<file>#0``, ``#1`` ...: forward kinematics, faults cut out,
    spline to ``fps``.
    """
    amc = Path(amc)
    skeleton = read_asf(asf)
    if missing := set(RIG_BONES) - skeleton.bones.keys():
        raise DataError(f"{asf}: has no bone {sorted(missing)[0]}, expected CMU's skeleton")

    points = to_points(skeleton, read_amc(amc, skeleton))
    feet = points[:, [RIG_JOINTS.index(name) for name in FOOT_POINTS], 2]
    floor = float(np.percentile(feet.min(1), 5))
    subject = f"CMU_{amc.stem.split('_')[0]}"

    found = []

    joints = points[:, list(RIG_H36M17)]
    for number, (begin, end) in enumerate(steady_segments(joints, SOURCE_FPS)):
        positions = resample(points[begin:end], SOURCE_FPS, fps).astype(np.float32)
        bad = suspect_points(points[begin:end], SOURCE_FPS, subject)
        suspect = resample_marks(bad, SOURCE_FPS, fps)
        clip = Clip(f"CMU_{amc.stem}#{number}", subject, action, action_class, positions)
        found.append(Segment(clip, amc.name, (begin, end), floor, suspect))

    return tuple(found)


def to_pack(segments: Sequence[Segment], fps: float = 50.0) -> Pack:
    """Segments as a pack of the rig, with where each came from."""
    extra = {
        "source_file": np.array([segment.source_file for segment in segments]),
        "source_frames": np.array([segment.source_frames for segment in segments], np.int32),
        "source_fps": np.float32(SOURCE_FPS),
        "floor_z": np.array([segment.floor_z for segment in segments], np.float32),
        "suspect": np.concatenate([segment.suspect for segment in segments]),
        "derived": np.array([name in RIG_DERIVED for name in RIG_JOINTS]),
    }
    return Pack(
        tuple(segment.clip for segment in segments),
        fps,
        {key: np.asarray(v) for key, v in extra.items()},
        RIG38,
    )
