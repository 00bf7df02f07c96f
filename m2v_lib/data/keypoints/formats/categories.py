"""Which detections are people, where a file says what each is of: detectors of several classes give
animals 17 keypoints too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from m2v_lib.data.checks import counted
from m2v_lib.data.foreign_values import listed

#: COCO's number of its category person
PERSON_ID: Final = "1"
PEOPLE: Final = ("person", "people", "human", PERSON_ID)
#: COCO's animals
ANIMALS: Final = (
    *("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "animal",
)


def are_people(categories: Sequence[str | None]) -> tuple[list[bool], list[str]]:
    """Which detections of these categories are people, and what was left out: where some are called
    people those alone, else all that are not called animals.

    >>> are_people(["person", "dog", None])
    ([True, False, True], ['left out 1 detection: dog'])
    """
    words = [None if name is None else name.strip().lower() for name in categories]
    named = any(word in PEOPLE for word in words)
    kept = [word is None or (word in PEOPLE if named else word not in ANIMALS) for word in words]
    gone = Counter(name for name, keep in zip(categories, kept, strict=True) if not keep)
    if not gone:
        return kept, []
    names = listed(sorted(map(str, gone)))
    return kept, [f"left out {counted(gone.total(), 'detection')}: {names}"]
