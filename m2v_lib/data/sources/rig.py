"""From a pack of CMU's rig (38 points) to a pack in a named layout of joints."""
# n frames of a clip, J joints of the layout, R = 38 points of the rig

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.sources.packs import Clip, Pack
from m2v_lib.data.sources.rig_layouts import H36M_ALIKE, Layout, layout_names, rig_layout
from m2v_lib.skeletons import H36M17
from m2v_lib.skeletons.known import RIG38

#: The shortest stretch that is kept of a clip with suspect points.
MIN_SECONDS: Final = 1.0


def form_pack(pack: Pack, joints: str | None = None) -> tuple[Pack, str]:
    """The pack in a layout, and one phrase that says which joints these are.

    `joints` is a layout of `rig_layouts.json`; None takes the best there is in Human3.6M's order:
    `h36m17_alike` of a rig, else the pack's own 17. Raises DataError where it cannot be formed.
    """
    wanted = joints or (H36M_ALIKE if pack.skeleton == RIG38 else H36M17.name)
    layout = rig_layout(wanted)

    if pack.skeleton != RIG38:
        if wanted != H36M17.name:
            raise DataError(
                f"joints={wanted} needs a pack of the rig with its {len(RIG38)} joints, this one "
                f"holds {len(pack.skeleton)}; expected joints={H36M17.name}"
            )
        return pack, describe_17(pack)

    clips = whole_stretches(pack, layout)
    formed = tuple(replace(clip, positions=layout.form(clip.positions)) for clip in clips)
    return Pack(formed, pack.fps, {}, layout.skeleton), f"joints {wanted}"


def describe_17(pack: Pack) -> str:
    """What to say of a pack that holds 17 joints and nothing to mend them with."""
    of_cmu = all(subject.startswith("CMU_") for subject in pack.subjects())
    return "joints h36m17 of a 17-joint pack" + (
        ", whose spine and neck lie below Human3.6M's" if of_cmu else ""
    )


def whole_stretches(pack: Pack, layout: Layout) -> Iterator[Clip]:
    """The clips, less the frames in which a point that the layout uses is marked suspect.

    A clip that loses frames becomes the stretches of a second or longer that are left of it,
    named after it and their first frame.
    """
    suspect = pack.extra.get("suspect")
    used = layout.uses()
    start = 0
    for clip in pack.clips:
        end = start + len(clip.positions)
        bad = np.zeros(end - start, bool) if suspect is None else suspect[start:end, used].any(1)
        start = end

        if not bad.any():
            yield clip
            continue

        edges = np.flatnonzero(np.diff(np.concatenate([[True], bad, [True]]).astype(np.int8)))
        for begin, stop in edges.reshape(-1, 2):
            if stop - begin >= MIN_SECONDS * pack.fps:
                name = f"{clip.name}@{begin}"
                yield replace(clip, name=name, positions=clip.positions[begin:stop])


def layouts_table() -> str:
    """The layouts as a Markdown table: joints, how many are approximated, which are absent."""
    lines = ["| layout | joints | approximated | absent | note |", "|---|--:|---|---|---|"]
    for name in layout_names():
        layout = rig_layout(name)
        pairs = zip(layout.skeleton.joints, layout.quality, strict=True)
        rough = [joint for joint, quality in pairs if quality == "approximated"]
        cells = (", ".join(rough) or "none", ", ".join(layout.absent) or "none", layout.note)
        lines.append(f"| `{name}` | {len(layout.skeleton)} | {' | '.join(cells)} |")
    return "\n".join(lines)
