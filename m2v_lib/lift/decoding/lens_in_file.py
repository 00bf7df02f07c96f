"""What a video or picture says of the lens that took it."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Final

#: as some phones write it into MP4 and MOV, in mm on 35 mm film
VIDEO_KEY: Final = "focal_length.35mm_equivalent"
#: of EXIF: the table with the exposure's data, and in it the focal length on 35 mm film
EXIF_TABLE: Final = 0x8769
EXIF_FOCAL: Final = 0xA405
#: diagonal of 35 mm film, by which such lengths are said
FILM_DIAGONAL_MM: Final = math.hypot(36.0, 24.0)
#: mm between which a lens is one: a fisheye and a long telephoto lens
SENSIBLE_MM: Final = (5.0, 2000.0)


def focal_on_film(path: Path) -> float | None:
    """The focal length (mm) on 35 mm film that a file states; None where it states none that makes
    sense, or where neither Pillow nor PyAV is installed to look.
    """
    value = _of_picture(path) or _of_video(path)
    return value if value and SENSIBLE_MM[0] <= value <= SENSIBLE_MM[1] else None


def focal_px(on_film_mm: float, width: int, height: int) -> float:
    """The focal length in pixels of an image of this size."""
    return on_film_mm * math.hypot(width, height) / FILM_DIAGONAL_MM


def _of_picture(path: Path) -> float | None:
    with contextlib.suppress(ImportError, OSError, ValueError, TypeError, KeyError, SyntaxError):
        from PIL import Image

        with Image.open(path) as picture:
            return float(picture.getexif().get_ifd(EXIF_TABLE)[EXIF_FOCAL])
    return None


def _of_video(path: Path) -> float | None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import av

        with av.open(str(path)) as container:
            for said in (container.metadata, *(s.metadata for s in container.streams.video)):
                for key, value in said.items():
                    if key.lower().endswith(VIDEO_KEY):
                        return float(value)
    return None
