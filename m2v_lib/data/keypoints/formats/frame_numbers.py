"""Which frame a file or image is, by all names together: the group of digits that moves.

`frame12_cam1.json` and `cam1_000012_keypoints.json` are both frame 12; which digits count shows
only over all names. Where two groups move, a folder holds several recordings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import listed, shown

_DIGITS: Final = re.compile(r"\d+")
#: names of images by their time: 1700000000.040000, walk_00s040ms
_TIME: Final = re.compile(r"((?<!\d)\d{9,11}[._]\d{1,9}|\d+s_?\d+ms)$")
#: digits of a number that is counted: longer ones are ids or time stamps
MAX_DIGITS: Final = 15


def number_in(name: str) -> int | None:
    """The last number in a single file's name: 12 of `walk_000000000012_keypoints.json`."""
    found = _DIGITS.findall(_stem(name))
    return int(found[-1]) if found and len(found[-1]) <= MAX_DIGITS else None


def frame_numbers(names: Sequence[str], where: str) -> list[int]:
    """A number for each different name; their order where they hold none.

    Raises DataError where they are those of several recordings.
    """
    if len(names) == 1:
        return [number_in(names[0]) or 0]

    stems = [_stem(name) for name in names]
    if all(_TIME.search(stem) for stem in stems):
        times = [tuple(int(digits) for digits in _DIGITS.findall(stem)) for stem in stems]
        if len(set(times)) == len(times) and len({_TIME.sub("", stem) for stem in stems}) == 1:
            return [sorted(times).index(time) for time in times]

    patterns = [_DIGITS.sub("#", stem) for stem in stems]
    if len(set(patterns)) > 1:
        return _of_several_patterns(names, patterns, where)

    columns = list(zip(*(_DIGITS.findall(stem) for stem in stems), strict=True))
    moving = [column for column in columns if len({int(text) for text in column}) > 1]
    if not moving:
        return list(range(len(names)))

    whole = [column for column in moving if len({int(text) for text in column}) == len(names)]
    if not whole:
        fewest = min(moving, key=lambda column: len({int(text) for text in column}))
        values = sorted({int(text) for text in fewest})
        raise DataError(
            f"{where}: holds {len(values)} recordings, their names differ in a second number "
            f"({listed(values)}); lift them one by one"
        )

    numbers = [[int(text) for text in column] for column in whole]
    best = min(numbers, key=lambda column: max(column) - min(column))
    if max(best) >= 10**MAX_DIGITS:
        return [sorted(best).index(number) for number in best]

    return best


def _of_several_patterns(names: Sequence[str], patterns: Sequence[str], where: str) -> list[int]:
    """Numbers where names differ in more than digits: a last number that is unique, else order."""
    counts = {pattern: patterns.count(pattern) for pattern in set(patterns)}
    if len(counts) <= 20 and min(counts.values()) > 1:
        first = [shown(names[patterns.index(pattern)]).strip("'") for pattern in sorted(counts)]
        raise DataError(
            f"{where}: holds {len(counts)} recordings ({listed(first, 3)}); lift them one by one"
        )

    numbers = [number_in(name) for name in names]
    known = [number for number in numbers if number is not None]
    return known if len(set(known)) == len(names) else list(range(len(names)))


def _stem(name: str) -> str:
    """A name without its folders, its ending and what detectors add to it."""
    return PurePosixPath(name.replace("\\", "/")).stem.removesuffix("_keypoints")
