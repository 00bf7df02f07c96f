"""Which layout a file's keypoints are: by the caller, by names, by the file's word, and only then
by where the points lie. A count alone decides nothing: two or four layouts have 14, 17 or 25.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import shown
from m2v_lib.data.keypoints.formats.files import Detections
from m2v_lib.data.keypoints.joint_names import layout_of_names
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout, begins_with, candidates
from m2v_lib.data.keypoints.proportions import spread_of_bones
from m2v_lib.data.keypoints.skeleton_map import known_layouts, mapped
from m2v_lib.skeletons import H36M17, Skeleton

#: spread of a layout that fits, and by how much the next one has to be worse
FITS: Final = 0.30
CLEARLY: Final = 0.10
#: spread of points that are those of another layout, where a person is seen often enough that
#: each bone was once seen at its length
FAR_OFF: Final = 0.5
MIN_SEEN: Final = 10


def choose_layout(
    found: Detections, requested: str | None, where: str, skeleton: Skeleton = H36M17
) -> tuple[Layout, str]:
    """The layout of a file's keypoints, with the sources of the skeleton's joints, and why.
    Raises DataError where that is not known, or the points are not those of the layout asked for.
    """
    layout, why = _chosen(found, requested, where, skeleton)
    return mapped(layout, skeleton, where), why


def _chosen(
    found: Detections, requested: str | None, where: str, skeleton: Skeleton
) -> tuple[Layout, str]:
    n, header = found.points.shape[1], found.header
    for name in filter(None, (requested, header.layout)):
        known_layout(name, f"{where}: ", skeleton)

    if requested and header.layout and requested != header.layout:
        raise DataError(f"{where}: says its layout is {header.layout}, not {requested}")

    if header.names:
        layout = layout_of_names(header.names, where, skeleton)
        if len(header.names) != n:
            raise DataError(
                f"{where}: has {n} keypoints a person and {len(header.names)} names of keypoints"
            )
        if requested and layout.name != requested:
            raise DataError(f"{where}: names its keypoints as {layout.name}, not as {requested}")
        return layout, "by the names of its keypoints"

    if stated := requested or header.layout:
        layout = known_layout(stated, "", skeleton)
        if not begins_with(layout, n):
            raise DataError(
                f"{where}: has {n} keypoints a person, expected {layout.n_keypoints} of "
                f"{layout.name}"
            )

        _check_fit(found, layout, where)
        return layout, "as asked for" if requested else "as the file says"

    return _by_points(found, where)


def known_layout(name: str, where: str = "", skeleton: Skeleton = H36M17) -> Layout:
    """The layout of a name, which may be that of the skeleton itself, or DataError."""
    known = known_layouts(skeleton)
    if name not in known:
        raise DataError(
            f"{where}layout {shown(name)} is not known, expected one of {', '.join(known)}"
        )
    return known[name]


def _check_fit(found: Detections, layout: Layout, where: str) -> None:
    """Refuse a layout asked for where the points clearly lie as those of another."""
    own = spread_of_bones(layout, found.points, found.confidence)
    if own is None or own <= FITS:
        return

    for other in candidates(found.points.shape[1]):
        spread = spread_of_bones(other, found.points, found.confidence)
        if other is not layout and spread is not None and spread <= min(FITS, own - CLEARLY):
            raise DataError(
                f"{where}: should be {layout.name}, but its points lie as those of {other.name}"
            )


def _by_points(found: Detections, where: str) -> tuple[Layout, str]:
    """The layout of so many keypoints whose proportions are a body's."""
    n = found.points.shape[1]
    usual, known = found.header.usual_layout, candidates(n)
    if not known:
        counts = (f"{layout.n_keypoints} ({layout.name})" for layout in LAYOUTS.values())
        raise DataError(
            f"{where}: {n} keypoints a person are no known layout; expected "
            f"{', '.join(sorted(counts))}"
        )

    if len(known) == 1:
        return _the_only_one(known[0], found, where)

    measured = _spreads(known, found)
    ranked = sorted(measured, key=lambda name: measured[name])
    best = ranked[0] if ranked and _is_clear(measured, ranked) else None

    if best and best not in ASK_FIRST:
        chosen = _of_the_best(best, usual, measured, where)
        if chosen:
            return chosen
        if usual in measured and usual != best:
            best = None

    if usual and (not measured or usual not in measured or measured[usual] <= 2 * FITS):
        return LAYOUTS[usual], "as the format usually has"
    raise DataError(_question(n, [layout.name for layout in known], best, where))


def _of_the_best(
    best: str, usual: str | None, measured: dict[str, float], where: str
) -> tuple[Layout, str] | None:
    """The layout that fits clearly best, unless the format's usual one fits well too (None).

    Raises DataError where the points contradict what the format usually has.
    """
    if usual in (None, best):
        return LAYOUTS[best], "its points have a body's proportions in no other"
    if usual in measured and measured[usual] < FITS + CLEARLY / 2:
        return None
    raise DataError(
        f"{where}: should be {usual}, but its points lie as those of {best}; name the "
        f"layout (--layout {best})"
    )


def _the_only_one(layout: Layout, found: Detections, where: str) -> tuple[Layout, str]:
    """The one layout of so many keypoints, unless they do not lie as its do."""
    n = layout.n_keypoints
    limit = FAR_OFF if len(found.frame) >= MIN_SEEN else 2 * FAR_OFF
    spread = spread_of_bones(layout, found.points, found.confidence)
    if spread is not None and spread > limit:
        raise DataError(
            f"{where}: has {n} keypoints a person that do not lie as those of {layout.name}, "
            "the only known layout of so many; name the layout (--layout)"
        )
    return layout, f"the only known layout of {n} keypoints"


def _spreads(known: Sequence[Layout], found: Detections) -> dict[str, float]:
    """Spread of the bones under each layout under which it can be told."""
    spreads = {
        layout.name: spread_of_bones(layout, found.points, found.confidence) for layout in known
    }
    return {name: spread for name, spread in spreads.items() if spread is not None}


#: layouts so rare that a file has to say it is one
ASK_FIRST: Final = ("mpi_inf_3dhp17", "posetrack18", "lsp14", "crowdpose14")


def _is_clear(measured: dict[str, float], ranked: list[str]) -> bool:
    best = measured[ranked[0]]
    return best <= FITS and all(measured[other] >= best + CLEARLY for other in ranked[1:2])


def _question(n: int, names: Iterable[str], best: str | None, where: str) -> str:
    names = list(names)
    guess = f", most likely {best}" if best else ""
    return (
        f"{where}: {n} keypoints a person may be {', '.join(names[:-1])} or {names[-1]}{guess}: "
        f"name the layout (--layout {best or names[0]})"
    )
