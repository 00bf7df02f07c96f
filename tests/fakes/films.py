"""Small films made with PyAV, of any container and codec, with times and turns as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

#: container -> a codec that it holds and the pixel format of that
CODECS = {
    "mp4": ("h264", "yuv420p"),
    "mov": ("mjpeg", "yuvj420p"),
    "mpegts": ("mpeg2video", "yuv420p"),
    "mpeg": ("mpeg2video", "yuv420p"),
    "asf": ("wmv2", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "mjpeg": ("mjpeg", "yuvj420p"),
    "avi": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}


def picture(shade: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A picture of a shade whose upper left corner is white."""
    out = np.full((size[1], size[0], 3), shade, np.uint8)
    out[: size[1] // 4, : size[0] // 4] = 250
    return out


def film(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    rate: int = 25,
    container: str = "mp4",
    shape: Fraction | None = None,
    options: dict[str, str] | None = None,
    clock: int | None = None,
    turn: int = 0,
) -> Path:
    """Write pictures at times counted in 1/clock seconds (default: one a frame of `rate`); `shape`: of
    its pixels, `turn`: degrees by which a player turns it, anticlockwise.
    """
    import av

    codec, pixels = CODECS[container]
    clock = clock or rate
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        if shape:
            stream.codec_context.sample_aspect_ratio = shape
        for n, one in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            frame.pts, frame.time_base = n if times is None else times[n], Fraction(1, clock)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))

    if turn:
        turn_track(path, turn)
    return path


def turn_track(path: Path, degrees: int) -> None:
    """Write a turn into the matrix of an .mp4's only track, as telephones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # past version, times, layer and volume
    cosine, sine = (round(v) for v in (np.cos(np.radians(degrees)), np.sin(np.radians(degrees))))
    matrix = [cosine << 16, -sine << 16, 0, sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in matrix)
    path.write_bytes(bytes(data))
