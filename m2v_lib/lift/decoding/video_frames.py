"""A video's pictures with their times, as they are meant to be seen: upright, of square pixels, without
the comb of interlacing, a part of it where asked for; and where the camera cuts.

Needs PyAV alone. What cannot be decoded is left out and said.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: of a cut: grey levels (of 255) by which the thumbnail's pixels change, and how many times more than
#: in the pictures around
CUT_LEVELS = 18.0
CUT_TIMES = 4.0
#: a thumbnail's rows and columns
THUMBNAIL = 18, 32
#: seconds that may lack at the end of what the header promises
MAY_LACK = 1.0
#: seconds before a wanted time from which is decoded: not every container finds a time exactly
SEEK_BEFORE = 2.0
#: damaged parts after which the rest is given up
MAX_DAMAGED = 1000


class VideoError(ValueError):
    """A file that is no video, or a detector that is not there; one sentence."""


@dataclass
class Video:
    """An open video: how many frames the header promises of the part (0: it does not; it is often
    wrong), and what has been found while it was read.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    expected: int = 0
    notes: list[str] = field(default_factory=list)
    #: seconds from the video's beginning to the first picture that was taken
    first: float = 0.0
    thumbnails: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open()
        self.expected = self._promised()

    def _open(self) -> None:
        import av

        if not self.path.is_file():
            raise VideoError(f"{self.path}: cannot be opened as a video (there is no such file)")
        try:
            self._container = av.open(str(self.path))
        except EOFError as error:
            raise VideoError(f"{self.path}: holds no frame, expected a video") from error
        except (OSError, ValueError) as error:
            hint = "; its index is missing, was the recording cut off?" if self._is_mp4() else ""
            raise VideoError(f"{self.path}: cannot be opened as a video ({error}){hint}") from error
        if not self._container.streams.video:
            raise VideoError(
                f"{self.path}: holds no picture, expected a video"
                + " (this is sound)" * bool(self._container.streams.audio)
            )
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"

    def _is_mp4(self) -> bool:
        with self.path.open("rb") as stream:
            return stream.read(12)[4:8] == b"ftyp"

    def _seconds(self) -> float:
        """How long the header says the video is, 0 where it does not."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return float(self._container.duration or 0) / 1e6

    def _promised(self) -> int:
        rate, seconds = float(self._stream.average_rate or 25), self._seconds()
        if self.start is None and self.end is None:
            return int(self._stream.frames or seconds * rate)
        end = min(self.end or seconds, seconds) if seconds else self.end or 0.0
        return max(0, int((end - (self.start or 0.0)) * rate))

    def pictures(self) -> Iterator[tuple[float, Any]]:
        """(time in s from the first that is taken, picture (height, width, 3) uint8 RGB) of each."""
        first, last, n = None, 0.0, 0
        for seconds, frame in self._frames():
            if self.start is not None and seconds < self.start - 1e-6:
                continue
            if self.end is not None and seconds >= self.end - 1e-6:
                break
            if first is None:
                first = self.first = seconds
            picture = self._picture(frame)
            self.thumbnails.append(thumbnail(picture))
            last, n = seconds, n + 1
            yield seconds - first, picture
        self._container.close()

        if n == 0:
            part = " in this part" if self.start is not None or self.end is not None else ""
            raise VideoError(f"{self.path}: holds no frame{part}, expected a video")
        if self._damaged:
            self.notes.append(f"damaged parts left out: {self._damaged}")
        lacking = min(self.end or self._length, self._length) - last
        if lacking > MAY_LACK + 2 / self._rate:
            self.notes.append(
                f"pictures end at {last:.1f} s of {self._length:.1f} s: the file is cut off"
            )

    def times(self) -> list[float]:
        """Seconds from the video's beginning of every picture in the file, which is not decoded."""
        import av

        stream = self._stream
        zero, base, times = stream.start_time or 0, stream.time_base or 0, []
        try:
            for packet in self._container.demux(stream):
                if packet.pts is not None:
                    times.append(float((packet.pts - zero) * base))
        except (av.FFmpegError, ValueError):
            pass  # what follows is damaged, which `pictures` says
        self._seek(0)
        return sorted(times)

    def _seek(self, microseconds: int) -> None:
        """Go back to a time, or to the beginning where the container cannot."""
        import av

        try:
            self._container.seek(microseconds)
        except av.FFmpegError:
            self._container.close()
            self._open()

    def _frames(self) -> Iterator[tuple[float, Any]]:
        """(seconds from the video's beginning, frame) of all that can be decoded, from before `start`
        on.
        """
        self._length, self._rate = self._seconds(), float(self._stream.average_rate or 25)
        zero = float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        wanted = self.start or 0.0
        if wanted > SEEK_BEFORE:
            self._seek(int((zero + wanted - SEEK_BEFORE) * 1e6))
            first = next(self._decoded(), None)
            exact = first is not None and first.time is not None and first.time - zero <= wanted
            self._seek(int((zero + wanted - SEEK_BEFORE) * 1e6) if exact else 0)

        for n, frame in enumerate(self._decoded()):
            yield (n / self._rate if frame.time is None else frame.time - zero), frame

    def _decoded(self) -> Iterator[Any]:
        """Frames packet by packet, so that a damaged one costs its own frames only."""
        import av

        self._damaged = 0
        packets = self._container.demux(self._stream)
        while self._damaged < MAX_DAMAGED:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except EOFError:
                return
            except (av.FFmpegError, ValueError):
                self._damaged += 1
                continue

            yield from frames
            if packet is None:
                return

    def _picture(self, frame: Any) -> Any:
        import numpy as np

        interlaced = bool(getattr(frame, "interlaced_frame", False))
        turns = round(getattr(frame, "rotation", 0) / 90) % 4  # telephones store it on its side
        picture = _square_pixels(frame, self._stream).to_ndarray(format="rgb24")
        if interlaced:
            picture = one_field(picture)
            if "interlaced" not in " ".join(self.notes):
                self.notes.append("interlaced: of each picture the first of its two halves is read")
        return np.ascontiguousarray(np.rot90(picture, turns))


def _square_pixels(frame: Any, stream: Any) -> Any:
    """The frame as it is meant to be seen: camcorders and DVDs store pixels that are not square."""
    shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not shape or shape == 1 or not 0.2 < float(shape) < 5:
        return frame
    return frame.reformat(width=round(frame.width * float(shape)), height=frame.height)


def one_field(picture: Any) -> Any:
    """A picture of the even rows alone, the odd ones between them: both halves of an interlaced one
    were taken at different times.
    """
    import numpy as np

    even = picture[::2].astype(np.uint16)
    out = np.repeat(even, 2, axis=0)[: len(picture)]
    between = out[1:-1:2]
    between[:] = (even[: len(between)] + even[1 : len(between) + 1]) // 2
    return out.astype(np.uint8)


def thumbnail(picture: Any) -> Any:
    """The picture in some 600 grey levels, means of nine places each."""
    import numpy as np

    (height, rows), (width, columns) = zip(picture.shape[:2], THUMBNAIL, strict=True)
    down, along = (np.linspace(0, n - 1, 3 * m).astype(int)
                   for n, m in ((height, rows), (width, columns)))  # fmt: skip
    places = picture[down][:, along].reshape(rows, 3, columns, 9)
    return places.mean((1, 3)).astype(np.uint8)


def cuts(thumbnails: list[Any]) -> list[int]:
    """Numbers of the pictures that begin another shot: nearly everything changes at once, far more
    than just before and after, and does not change back.
    """
    import numpy as np

    if len(thumbnails) < 3:
        return []
    grey = np.stack(thumbnails).astype(np.int16)
    change = np.abs(np.diff(grey, axis=0)).mean((1, 2))  # to picture t + 1
    found = []
    for t in map(int, np.flatnonzero(change > CUT_LEVELS)):
        around = np.delete(change[max(0, t - 4) : t + 5], min(t, 4))
        pairs = (t, min(t + 2, len(grey) - 1)), (max(0, t - 1), t + 1)
        flash = any(np.abs(grey[a] - grey[b]).mean() < CUT_LEVELS for a, b in pairs)
        if change[t] > CUT_TIMES * np.median(around) and change[t] >= around.max() and not flash:
            found.append(t + 1)
    return found


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
