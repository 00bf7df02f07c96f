"""A video (or a picture) to 2D keypoints in a JSON file that `m2v lift` and `m2v data prepare`
read.

    make video                                                      # once: a virtual environment
    of its own .venv-video/bin/python data_scripts/video_to_keypoints.py VIDEO -o keypoints.json

It runs in an environment of its own because MediaPipe pins old versions of what the suite needs
new. MediaPipe 0.10.21 carries its model, so nothing is downloaded; it finds one person. The
other detectors find several and give COCO's 17 keypoints, but fetch their weights from the
network when first used, under licences of their own.

The file holds `width`, `height`, `fps` and `frames`: `frame` (a number by its time, so that a
dropped frame is a gap), `time` (s), and `landmarks`: one row [x, y, z, visibility] a keypoint
for each person, x and y as shares of the image.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Landmarks = list[list[list[float]]]  # people, keypoints, (x, y, z, visibility)
Detector = Callable[[Any], Landmarks]  # of a picture (height, width, 3) uint8 RGB


class VideoError(ValueError):
    """A file that is no video, or a detector that is not there; one sentence."""


def read_video(path: Path) -> tuple[int, Iterator[tuple[float, Any]]]:
    """How many frames the header promises (0: it does not; it is often wrong), and (time in s,
    picture) of each.
    """
    import av

    try:
        container = av.open(str(path))
    except EOFError as error:
        raise VideoError(f"{path}: holds no frame, expected a video") from error
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be opened as a video ({error})") from error
    if not container.streams.video:
        raise VideoError(
            f"{path}: holds no picture, expected a video"
            + " (this is sound)" * bool(container.streams.audio)
        )
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream.frames, _pictures(path, container, stream)


def _pictures(path: Path, container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    import av
    import numpy as np

    first, n = None, 0
    with container:
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames, None)
            except av.FFmpegError as error:
                raise VideoError(f"{path}: cannot be decoded after {n} frames ({error})") from error
            if frame is None:
                break
            now = frame.time if frame.time is not None else n / float(stream.average_rate or 25)
            first = now if first is None else first
            turns = (
                round(getattr(frame, "rotation", 0) / 90) % 4
            )  # telephones store pictures on their side
            picture = _square_pixels(frame, stream).to_ndarray(format="rgb24")
            yield now - first, np.ascontiguousarray(np.rot90(picture, turns))
            n += 1
    if n == 0:
        raise VideoError(f"{path}: holds no frame, expected a video")


def _square_pixels(frame: Any, stream: Any) -> Any:
    """The frame as it is meant to be seen: camcorders and DVDs store pixels that are not square."""
    shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not shape or shape == 1 or not 0.2 < float(shape) < 5:
        return frame
    return frame.reformat(width=round(frame.width * float(shape)), height=frame.height)


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


def convert(video: Path, out: Path, detector: str = "mediapipe") -> dict[str, Any]:
    """Detect in every frame and write the file; returns its content."""
    expected, pictures = read_video(video)  # before the detector, which takes seconds to load
    detect, layout = make_detector(detector)
    frames: list[dict[str, Any]] = []
    began, height, width = time.monotonic(), 0, 0
    for seconds, picture in pictures:
        height, width = picture.shape[:2]
        people = [[[round(v, 5) for v in mark] for mark in person] for person in detect(picture)]
        frames.append({"frame": 0, "time": round(seconds, 6), "landmarks": people})
        _progress(len(frames), expected, began)
    _progress(len(frames), len(frames), began, last=True)
    fps = rate_of([frame["time"] for frame in frames])
    for frame in frames:
        frame["frame"] = round(frame["time"] * fps)
    frames = list({frame["frame"]: frame for frame in reversed(frames)}.values())[
        ::-1
    ]  # one for each moment
    found = sum(bool(frame["landmarks"]) for frame in frames)
    content = {
        "source": video.name,
        "detector": detector,
        "layout": layout,
        "units": "normalised",
        "width": width,
        "height": height,
        "fps": round(fps, 6),
        "found": found,
        "frames": frames,
    }
    beside = out.with_name(out.name + ".tmp")
    beside.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    os.replace(beside, out)
    return content


def rate_of(times: list[float]) -> float:
    """Frames a second by the usual step from one to the next, which dropped frames do not
    change.
    """
    steps = [
        after - before
        for before, after in zip(times[:-1], times[1:], strict=True)
        if after > before
    ]
    usual = statistics.median(steps) if steps else 0.04
    return 1 / statistics.fmean(
        [step for step in steps if abs(step - usual) < 0.2 * usual] or [usual]
    )


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
    args = parser.parse_args(argv)
    try:
        content = convert(args.video, args.out, args.detector)
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
