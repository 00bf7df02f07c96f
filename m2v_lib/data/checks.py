"""What every reader of data checks, and the one error it raises: a sentence with file, place and
expectation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from m2v_lib.data.limits import MAX_MESSAGE
from m2v_lib.errors import InputError
from m2v_lib.skeletons import H36M17, Skeleton

#: a median bone outside this range (mm) is not a person measured in millimetres
BONE_RANGE_MM: Final = (30.0, 1000.0)


#: no pixel and no millimetre of a person is larger: sums and squares of such numbers stay finite
LARGEST: Final = 1e8


class DataError(InputError):
    """A data file or store is not what it should be; one sentence with file, place and
    expectation.

    Its text is one line of printable characters, whatever foreign names it quotes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, MAX_MESSAGE))


def printable(text: str, limit: int) -> str:
    """Text in which control characters are escaped, cut in the middle to `limit` characters."""
    if not text.isprintable():
        marks = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        text = "".join(marks)
    if len(text) <= limit:
        return text
    head = max(1, limit * 2 // 3 - 3)
    return f"{text[:head]} ... {text[len(text) - (limit - head - 5) :]}"


def counted(n: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "frame"), counted(2, "frame")
    ('1 frame', '2 frames')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@dataclass(frozen=True)
class Video:
    """Frames ``start .. start + n_frames`` of a split: one take seen by one camera, ``width x
    height`` pixels.
    """

    source: str
    subject: str
    action: str
    camera: str
    start: int
    n_frames: int
    width: int
    height: int

    @property
    def recording(self) -> str:
        """The take whichever camera saw it: the source less ``_ca_01``, ``_cam_01`` (Human3.6M)
        or ``.<camera>``.
        """
        return re.sub(rf"(_cam?_\d+|\.{re.escape(self.camera)})$", "", self.source)


def check_finite(array: np.ndarray, where: str, videos: Iterable[Video] = ()) -> None:
    """Raise with the first frame (axis 0) that holds a NaN or infinity, and the video it lies
    in.
    """
    for start in range(0, len(array), 65536):
        block = array[start : start + 65536]
        good = np.isfinite(block) if block.dtype == np.float16 else np.abs(block) <= LARGEST

        bad = ~good.reshape(len(block), -1).all(1)
        if bad.any():
            frame = start + int(bad.argmax())
            inside = [v for v in videos if 0 <= frame - v.start < v.n_frames]
            place = f" ({inside[0].source}, its frame {frame - inside[0].start})" if inside else ""
            raise DataError(
                f"{where} at frame {frame}{place} is not a finite number up to {LARGEST:g}"
            )


def check_millimetres(joints: np.ndarray, where: str, skeleton: Skeleton = H36M17) -> None:
    """Raise unless the median bone of (n,J,3) joints is 30 to 1000 long, as it is in
    millimetres.
    """
    sample = np.asarray(joints[:: max(1, len(joints) // 20000)], np.float64)
    parents, children = np.array(skeleton.bones).T
    bone = float(np.median(np.linalg.norm(sample[:, children] - sample[:, parents], axis=-1)))
    if not BONE_RANGE_MM[0] <= bone <= BONE_RANGE_MM[1]:
        guess = " and looks like metres" if 0.03 <= bone <= 1.0 else ""
        raise DataError(
            f"{where}: the median bone is {bone:.3g} long{guess}, expected 30 to 1000 (millimetres)"
        )
