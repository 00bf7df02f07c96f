"""A video (or a picture) to 2D keypoints in a JSON file that `m2v lift` and `m2v data prepare`
read.

    make video                                                      # once: a virtual environment
    of its own .venv-video/bin/python data_scripts/video_to_keypoints.py VIDEO -o keypoints.json

It runs in an environment of its own because MediaPipe pins old versions of what the suite needs
new. MediaPipe 0.10.21 carries its model, so nothing is downloaded; it finds one person. The
other detectors find several and give COCO's 17 keypoints, but fetch their weights from the
network when first used, under licences of their own.

The file holds `width`, `height`, `fps`, `start` (s of the first picture in the video), `cuts` (frames
that begin another shot), `notes` and `frames`: `frame` (a number by its time, so that a dropped
frame is a gap), `time` (s), and `landmarks`: one row [x, y, z, visibility] a keypoint for each
person, x and y as shares of the image.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "m2v_lib" / "lift" / "decoding"))
from video_frames import Video, VideoError, cuts, rate_of

#: a picture farther from its moment than this share of a frame was taken at another time
UNEVEN = 0.05

Landmarks = list[list[list[float]]]  # people, keypoints, (x, y, z, visibility)
Detector = Callable[[Any], Landmarks]  # of a picture (height, width, 3) uint8 RGB


def mediapipe() -> Detector:
    """MediaPipe's pose model `full`, which comes inside its package."""
    # Its libraries write to the terminal past Python; our bar keeps a way of its own.
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from mediapipe.python.solutions.pose import Pose

    pose = Pose(model_complexity=1, smooth_landmarks=False)

    def detect(picture: Any) -> Landmarks:
        found = pose.process(picture).pose_landmarks
        return [[[m.x, m.y, m.z, m.visibility] for m in found.landmark]] if found else []

    return detect


def rtmlib() -> Detector:
    """RTMPose by rtmlib (Apache-2.0); downloads its weights when first used."""
    from rtmlib import Body

    body = Body(mode="balanced", backend="onnxruntime", device="cpu")

    def detect(picture: Any) -> Landmarks:
        points, scores = body(picture[..., ::-1])
        return _shares(points, scores, picture)

    return detect


def ultralytics() -> Detector:
    """YOLO by ultralytics (AGPL-3.0); downloads its weights when first used."""
    from ultralytics import YOLO

    model = YOLO("yolo11n-pose.pt")

    def detect(picture: Any) -> Landmarks:
        found = model(picture[..., ::-1], verbose=False)[0].keypoints
        return (
            _shares(found.xy.cpu().numpy(), found.conf.cpu().numpy(), picture)
            if found.conf is not None
            else []
        )

    return detect


def _shares(points: Any, scores: Any, picture: Any) -> Landmarks:
    """Pixels (people, 17, 2) and scores (people, 17) as rows of shares of the image."""
    height, width = picture.shape[:2]
    return [
        [
            [float(x) / width, float(y) / height, 0.0, min(max(float(c), 0.0), 1.0)]
            for (x, y), c in zip(p, s, strict=True)
        ]
        for p, s in zip(points, scores, strict=True)
    ]


#: name -> how it is made, the layout of its keypoints, what to install
DETECTORS: dict[str, tuple[Callable[[], Detector], str, str]] = {
    "mediapipe": (mediapipe, "mediapipe33", "make video"),
    "rtmlib": (rtmlib, "coco17", ".venv-video/bin/pip install rtmlib onnxruntime"),
    "ultralytics": (ultralytics, "coco17", ".venv-video/bin/pip install ultralytics"),
}


def make_detector(name: str) -> tuple[Detector, str]:
    """The detector and its layout. Raises VideoError with what to install."""
    make, layout, install = DETECTORS[name]
    try:
        return make(), layout
    except ImportError as error:
        raise VideoError(f"{name} is not installed here ({error}): {install}") from error


def convert(
    source: Path,
    out: Path,
    detector: str = "mediapipe",
    start: float | None = None,
    end: float | None = None,
) -> dict[str, Any]:
    """Detect in every frame, or in those from `start` to `end` (s), and write the file; returns its
    content.
    """
    video = Video(source, start, end)  # before the detector, which takes seconds to load
    detect, layout = make_detector(detector)
    frames: list[dict[str, Any]] = []
    began, height, width = time.monotonic(), 0, 0
    for seconds, picture in video.pictures():
        height, width = picture.shape[:2]
        frames.append({"frame": 0, "time": round(seconds, 6), "landmarks": detect(picture)})
        _progress(len(frames), video.expected, began)
    _progress(len(frames), len(frames), began, last=True)

    shots = [frames[t]["time"] for t in cuts(video.thumbnails)]
    fps = rate_of([frame["time"] for frame in frames])
    frames = on_grid(frames, fps, shots)
    content = {
        "source": source.name,
        "detector": detector,
        "layout": layout,
        "units": "normalised",
        "width": width,
        "height": height,
        "fps": round(fps, 6),
        "start": round(video.first, 6),
        "cuts": [round(shot * fps) for shot in shots],
        "notes": video.notes,
        "found": sum(bool(frame["landmarks"]) for frame in frames),
        "frames": frames,
    }
    beside = out.with_name(out.name + ".tmp")
    beside.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    os.replace(beside, out)
    return content


def on_grid(
    frames: list[dict[str, Any]], fps: float, shots: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Frames at equal steps of 1 / fps, numbered by their time: a gap where none was near, one for
    each moment. Where a picture was taken beside its moment, and a single person is seen there and
    on the moment's other side, with no cut between, the landmarks are those in proportion.
    """
    nearest: dict[int, int] = {}
    for i, frame in enumerate(frames):
        number = round(frame["time"] * fps)
        last = nearest.setdefault(number, i)
        if abs(frame["time"] - number / fps) < abs(frames[last]["time"] - number / fps):
            nearest[number] = i

    out = []
    for number, i in nearest.items():
        off = number / fps - frames[i]["time"]
        people, j = frames[i]["landmarks"], i + 1 if off > 0 else i - 1
        if abs(off) > UNEVEN / fps and 0 <= j < len(frames):
            people = _between(frames[i], frames[j], off, fps, shots)
        rounded = [[[round(v, 5) for v in mark] for mark in person] for person in people]
        out.append({"frame": number, "time": frames[i]["time"], "landmarks": rounded})
    return out


def _between(
    one: dict[str, Any], other: dict[str, Any], off: float, fps: float, shots: Sequence[float]
) -> Landmarks:
    """The landmarks `off` seconds from one frame, on the way to the other; those of the one where
    there is no such way.
    """
    first, last = sorted((one["time"], other["time"]))
    cut = any(first < shot <= last for shot in shots)
    alone = len(one["landmarks"]) == len(other["landmarks"]) == 1
    if cut or not alone or not 0 < last - first < 2 / fps:
        return list(one["landmarks"])

    share = off / (other["time"] - one["time"])
    marks = zip(one["landmarks"][0], other["landmarks"][0], strict=True)
    return [[[a + share * (b - a) for a, b in zip(*pair, strict=True)] for pair in marks]]


def _progress(done: int, expected: int, began: float, *, last: bool = False) -> None:
    """One line that is written over; nothing where nobody watches."""
    if sys.stderr.isatty() and (last or done % 10 == 0):
        rate = done / max(time.monotonic() - began, 1e-6)
        of = f" of about {expected}" if expected else ""
        print(
            f"\rframe {done}{of}, {rate:.0f} a second",
            end="\n" if last else "",
            file=sys.stderr,
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="2D keypoints of a video")
    parser.add_argument("video", type=Path)
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--detector", choices=DETECTORS, default="mediapipe")
    parser.add_argument("--start", type=float, metavar="SECONDS")
    parser.add_argument("--end", type=float, metavar="SECONDS")
    args = parser.parse_args(argv)
    try:
        content = convert(args.video, args.out, args.detector, args.start, args.end)
    except (VideoError, OSError) as error:
        print(error)  # to stdout, which `m2v lift` reads; the bar goes to the terminal
        return 2
    frames = content["frames"]
    print(
        f"{args.out}: {len(frames)} frames at {content['fps']:g} a second, somebody in "
        f"{content['found']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
