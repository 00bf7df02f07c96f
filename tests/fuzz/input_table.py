"""The table of `docs/inputs.md`: kinds of input by format and fault, and what happens to each, made by
running them.

    python -m tests.fuzz.input_table > docs/inputs.md
"""

from __future__ import annotations

import gzip
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Tracks, read_keypoints
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.lift import SAMPLE

#: the walk of the sample video, resampled to each layout by name
N = 60
HEAD = """# What can be lifted

Made by running each row through the reader (`python -m tests.fuzz.input_table`), on 60 frames of the
sample video's keypoints. *Read* means: as the same people as from the plain file.

| format | what is special | what happens |
|---|---|---|
"""
Maker = Callable[[Path], tuple[Path, dict[str, Any]]]


def main() -> None:
    warnings.simplefilter("ignore")
    print(HEAD, end="")
    with tempfile.TemporaryDirectory() as name:
        for i, (form, special, make) in enumerate(rows()):
            folder = Path(name) / str(i)
            folder.mkdir()
            print(f"| {form} | {special} | {outcome(make, folder)} |")


def outcome(make: Maker, folder: Path) -> str:
    """What reading gives, in a few words."""
    path, options = make(folder)
    try:
        tracks = read_keypoints(path, **{"size": (1280, 720), "fps": 25, **options})
    except DataError as error:
        text = str(error).replace(f"{folder}/", "").replace(str(folder), "folder")
        return f"refused: {text}".replace("|", "\\|").replace("<", "&lt;")
    return described(tracks)


def described(tracks: Tracks) -> str:
    found = f"read: {tracks.format}, {tracks.layout}"
    found += f", {len(tracks.people)} people" if len(tracks.people) > 1 else ""
    missing = 1 - np.mean([(person.confidence > 0).mean() for person in tracks.people])
    found += f", {missing:.0%} of the joints missing" if missing > 0.005 else ""
    return found + "".join(f"; {note}" for note in tracks.notes)


def points(layout: str) -> np.ndarray:
    """The sample's keypoints (N,K,3) px in a layout; what MediaPipe lacks is made of its others."""
    with np.load(SAMPLE) as held:
        raw = held["keypoints"].reshape(len(held["keypoints"]), -1, 33, 3)[:N, 0].astype(float)
    names = list(LAYOUTS["mediapipe33"].keypoints)
    out = np.zeros((N, LAYOUTS[layout].n_keypoints, 3))
    for i, name in enumerate(LAYOUTS[layout].keypoints):
        used = [names.index(word) for word in MADE_OF.get(name, (name,)) if word in names]
        if used:
            out[:, i] = raw[:, used].mean(1)
    return out


_HIPS, _SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
MADE_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("root", "hip", "mid_hip", "pelvis"), _HIPS),
    **dict.fromkeys(("neck", "thorax", "head_bottom", "upper_neck"), _SHOULDERS),
    **dict.fromkeys(("belly", "spine"), (*_HIPS, *_SHOULDERS)),
    **dict.fromkeys(("head", "head_top"), ("left_eye", "right_eye")),
    **{f"{s}_big_toe": (f"{s}_foot_index",) for s in ("left", "right")},
    **{f"{s}_small_toe": (f"{s}_foot_index",) for s in ("left", "right")},
}


def rows() -> Iterator[tuple[str, str, Maker]]:
    """Format, what is special, and what makes it."""
    for layout in LAYOUTS:
        yield ".npz", f"{layout} without a word", npz(layout)
        yield ".npz", f"{layout}, `--layout {layout}`", npz(layout, {"layout": layout})
    yield from _missing()
    yield from _scores()
    yield from _arrays()
    yield from _json()
    yield from _folders()
    yield from _tables()
    yield from _faults()


def npz(
    layout: str,
    options: dict[str, Any] | None = None,
    change: Callable[[np.ndarray], np.ndarray] = lambda p: p,
    **more: Any,
) -> Maker:
    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        np.savez(folder / "k.npz", keypoints=change(points(layout)), **more)
        return folder / "k.npz", options or {}

    return make


def text(content: Any, name: str = "k.json", **options: Any) -> Maker:
    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        raw = content if isinstance(content, str) else json.dumps(content)
        data = raw.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return folder / name, options

    return make


def many(files: dict[str, Any], **options: Any) -> Maker:
    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        for name, content in files.items():
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return folder, options

    return make


def _set(rows: slice, joints: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(p: np.ndarray) -> np.ndarray:
        p[rows, joints, : np.size(value)] = value
        return p

    return change


def _missing() -> Iterator[tuple[str, str, Maker]]:
    declared = {"layout": "coco17"}
    for name, mark in (("0, 0", (0, 0)), ("-1, -1", (-1, -1)), ("NaN", (np.nan, np.nan))):
        change = _set(slice(5, 30), [9, 10], mark)
        yield ".npz", f"wrists at {name} with a score", npz("coco17", declared, change)
    change = _set(slice(5, 30), [9, 10], (-64.0, -36.0))
    yield ".npz", "wrists at a place far off, with a score", npz("coco17", declared, change)
    change = _set(slice(0, N), [13, 14, 15, 16], (0, 0, 0))
    yield ".npz", "legs never seen", npz("coco17", declared, change)
    yield ".npz", "nobody", npz("coco17", declared, lambda p: p * 0)


def _scores() -> Iterator[tuple[str, str, Maker]]:
    def scaled(factor: float, shift: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
        return lambda p: np.concatenate([p[..., :2], p[..., 2:] * factor + shift], -1)

    for name, change in (
        ("up to 1.2", scaled(1.2)),
        ("up to 9 (SimCC)", scaled(9)),
        ("in per cent", scaled(100)),
        ("logits", scaled(8, -5)),
        ("infinite", scaled(np.inf)),
    ):
        yield ".npz", f"scores {name}", npz("coco17", {"layout": "coco17"}, change)


def _arrays() -> Iterator[tuple[str, str, Maker]]:
    declared = {"layout": "coco17"}
    yield ".npz", "people first (1, n, K, 3)", npz("coco17", declared, lambda p: p[None])
    yield (
        ".npz",
        "two people whose places in the array change",
        npz("coco17", declared, lambda p: _swapped(np.stack([p, p + (250, 0, 0)], 1))),
    )
    yield ".npz", "key `reconstruction` (MHFormer)", _renamed("h36m17", "reconstruction")
    yield ".npz", "no key `keypoints`", _renamed("h36m17", "poses")
    yield ".npz", "complex numbers", npz("coco17", declared, lambda p: p.astype(complex))
    yield ".npz", "int8", npz("coco17", declared, lambda p: p.astype(np.int8))
    yield ".npz", "1e308", npz("coco17", declared, lambda p: p * 0 + 1e308)
    yield ".npz", "frames that run backwards", npz("coco17", declared, frames=np.arange(N)[::-1])
    yield ".npz", "frame 2,000,000,000", npz("coco17", declared, frames=np.arange(N) + 2 * 10**9)
    yield ".npz", "fps NaN", npz("coco17", declared, fps=np.nan)
    yield ".npz", "width 10^15", npz("coco17", declared, width=10**15, height=720)
    yield ".npz", "shares of the image", npz("coco17", declared, lambda p: p / (1280, 720, 1))
    yield ".npz", "of another size", npz("coco17", {**declared, "size": (320, 180)})


def _swapped(p: np.ndarray) -> np.ndarray:
    p[::2] = p[::2, ::-1]
    return p


def _renamed(layout: str, key: str) -> Maker:
    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        arrays: dict[str, Any] = {key: points(layout)[None, ..., :2]}
        np.savez(folder / "k.npz", **arrays)
        return folder / "k.npz", {}

    return make


def _flat(frame: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in frame.ravel()]


def _json() -> Iterator[tuple[str, str, Maker]]:
    coco, names = points("coco17"), list(LAYOUTS["coco17"].keypoints)
    listed = [{"image_id": i, "keypoints": _flat(p)} for i, p in enumerate(coco)]
    yield "COCO results", "plain", text(listed)
    yield "COCO results", "each person twice", text([item for item in listed for _ in (0, 1)])
    h36m = [{"image_id": i, "keypoints": _flat(p)} for i, p in enumerate(points("h36m17"))]
    yield "COCO results", "Human3.6M's 17 joints", text(h36m)
    yield "COCO results", "the same, `--layout h36m17`", text(h36m, layout="h36m17")
    named = [{**item, "image_id": f"walk_{item['image_id']:04d}_cam2.jpg"} for item in listed]
    yield "AlphaPose", "names whose last number is the camera", text(named)
    images = [{"id": i + 1, "file_name": f"f_{5 * i:06d}.png"} for i in range(N)][::-1]
    people = [{"image_id": i + 1, "keypoints": _flat(p)} for i, p in enumerate(coco)]
    category = [{"id": 1, "keypoints": names}]
    content = {"images": images, "annotations": people, "categories": category}
    yield "COCO annotations", "every fifth frame, images in another order", text(content)
    frames = [
        {
            "frame_id": i + 1,
            "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}],
        }
        for i, p in enumerate(coco)
    ]
    for special, known in (("names", names), ("names in reverse", names[::-1])):
        meta = {"keypoint_id2name": {str(i): name for i, name in enumerate(known)}}
        yield "MMPose", special, text({"meta_info": meta, "instance_info": frames})
    meta = {"keypoint_id2name": {str(i): f"paw {i}" for i in range(17)}}
    yield "MMPose", "names of an animal", text({"meta_info": meta, "instance_info": frames})
    yolo = [
        [{"name": "person", "keypoints": {"x": p[:, 0].tolist(), "y": p[:, 1].tolist()}}]
        for p in coco
    ]
    yield "Ultralytics", "`to_json`, a list a frame", text(yolo)
    comfy = [
        {
            "people": [{"pose_keypoints_2d": _flat(p)}],
            "canvas_width": 1280,
            "canvas_height": 720,
        }
        for p in points("coco18")
    ]
    yield "ComfyUI", "list of frames", text(comfy)
    marks = [
        {"landmark": [{"x": x / 1280, "y": y / 720, "visibility": c} for x, y, c in p.tolist()]}
        for p in points("mediapipe33")
    ]
    yield "MediaPipe", "`MessageToDict`", text(marks)
    yield "COCO results", "packed by gzip", text(listed, "k.json.gz")


def _folders() -> Iterator[tuple[str, str, Maker]]:
    def files(pattern: str, layout: str) -> dict[str, Any]:
        return {
            pattern.format(i): {"people": [{"pose_keypoints_2d": _flat(p)}]}
            for i, p in enumerate(points(layout))
        }

    yield "OpenPose folder", "BODY_25", many(files("w_{:012d}_keypoints.json", "body25"))
    yield "OpenPose folder", "COCO, 18", many(files("w_{:012d}_keypoints.json", "coco18"))
    yield "OpenPose folder", "BODY_25B", many(files("w_{:012d}_keypoints.json", "body25b"))
    yield "OpenPose folder", "frame number not last", many(files("frame{}_cam1.json", "body25"))
    two = {**files("cam1_{:06d}.json", "body25"), **files("cam2_{:06d}.json", "body25")}
    yield "OpenPose folder", "two cameras", many(two)
    sapiens = {
        f"{i:06d}.json": {
            "instance_info": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}]
        }
        for i, p in enumerate(points("coco17"))
    }
    yield "Sapiens folder", "a file a frame", many(sapiens)
    listed = [
        {"image_id": f"{i}.jpg", "keypoints": _flat(p)} for i, p in enumerate(points("halpe26"))
    ]
    yield (
        "AlphaPose folder",
        "`--outdir` with its one file",
        many({"alphapose-results.json": listed}),
    )
    labels = {
        f"w_{i}.txt": "0 .5 .5 .2 .8 " + " ".join(map(str, _flat(p / (1280, 720, 1)))) + "\n"
        for i, p in enumerate(points("coco17"), 1)
    }
    yield "Ultralytics folder", "`labels`, a file a frame", many(labels)
    yield "folder", "empty", many({})


def _tables() -> Iterator[tuple[str, str, Maker]]:
    coco, names = points("coco17"), list(LAYOUTS["coco17"].keypoints)

    def long(separator: str, words: str, joints: list[Any], comma: bool = False) -> str:
        lines = [words.replace(",", separator)]
        for i, frame in enumerate(coco):
            for joint, row in zip(joints, frame.tolist(), strict=False):
                cells = [str(i), str(joint), *(f"{value:.3f}" for value in row)]
                line = separator.join(cells)
                lines.append(line.replace(".", ",") if comma else line)
        return "\n".join(lines)

    head = "frame,joint,x,y,confidence"
    yield "CSV", "joints by name", text(long(",", head, names), "k.csv")
    yield "CSV", "semicolons, decimal commas", text(long(";", head, names, True), "k.csv")
    yield "CSV", "tabs", text(long("\t", head, names), "k.csv")
    likelihood = "frame,joint,x,y,likelihood"
    yield "CSV", "score called likelihood", text(long(",", likelihood, names), "k.csv")
    yield "CSV", "joints by number from 1", text(long(",", head, list(range(1, 18))), "k.csv")
    yield "CSV", "unknown names", text(long(",", head, [f"j{i}" for i in range(17)]), "k.csv")
    rows = [",".join(map(str, _flat(frame))) for frame in coco]
    dlc = [
        "scorer," + ",".join(["net"] * 51),
        "bodyparts," + ",".join(name for name in names for _ in range(3)),
        "coords," + ",".join(["x,y,likelihood"] * 17),
        *(f"{i},{row}" for i, row in enumerate(rows)),
    ]
    yield "DeepLabCut", "CSV", text("\n".join(dlc), "k.csv")
    sleap = ["track,frame_idx," + ",".join(f"{n}.x,{n}.y,{n}.score" for n in names)]
    sleap += [f"track_0,{i},{row}" for i, row in enumerate(rows)]
    yield "SLEAP", "analysis CSV", text("\n".join(sleap), "k.csv")


def _faults() -> Iterator[tuple[str, str, Maker]]:
    yield "JSON", "truncated", text('[{"image_id": 1, "keypoints": [1, 2')
    yield "JSON", "of something else", text({"camera": "left"})
    yield "JSON", "nested 100,000 deep", text("[" * 100_000)
    yield (
        "JSON",
        "frame 10^12",
        text({"frames": [{"frame": 10**12, "landmarks": [[1, 1, 1]] * 33}]}),
    )
    yield (
        "JSON",
        "a name of 10 MB",
        text([{"image_id": 1, "idx": "x" * 10**7, "keypoints": [1, 2, 1] * 17}]),
    )
    yield "CSV", "a cell of 1 MB", text(f"frame,joint,x,y\n0,{'x' * 10**6},1,1", "k.csv")
    yield "CSV", "no such columns", text("a,b,c\n1,2,3", "k.csv")
    yield ".trc", "markers in space", text("PathFileType\t4\t(X/Y/Z)", "k.trc")
    yield "file", "empty", text("", "k.json")
    yield "video", "as keypoints", text("\0\0\0\x18ftypmp42", "k.mp4")
    yield "/dev/zero", "a device", lambda folder: (Path("/dev/zero"), {})


if __name__ == "__main__":
    main()
