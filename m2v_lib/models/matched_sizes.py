"""Sizes of equal cost: the rule behind the `small` and `compact` sizes of every system, and its
result as a page.

The dual stream's own form under a preset sets the price: multiply-accumulates for each frame that
comes out, counted by `models.complexity`. Every other system takes the width that comes nearest.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from m2v_lib.config import Experiment
from m2v_lib.config.fields import ModelSettings
from m2v_lib.config.models import DUAL_STREAM, entries, model_settings
from m2v_lib.models.complexity import Part, count

#: Presets under which all systems cost the same.
PRESETS: Final = ("small", "compact")
#: How far from the price a system's cost may be, as a share.
TOLERANCE: Final = 0.1
PAGE: Final = "docs/leaderboard_sizes.md"


@dataclass(frozen=True)
class Width:
    """What is turned until the cost fits: a setting in steps, and what stays in proportion to it.

    A step is what the attention heads can be cut from.
    """

    setting: str = "dim"
    step: int = 4
    tied: Mapping[str, int] = field(default_factory=dict)
    #: Passes of the network over a window in one `forward`: two where the mirror image, which
    #: others are tested with as well, is seen inside.
    passes: int = 1


WIDTHS: Final = {
    "simplebaseline": Width(step=8),
    "videopose3d": Width(step=8),
    "srnet": Width(step=8),
    "strided_transformer": Width(tied={"dim_ff": 2}),
    "pstmo": Width(tied={"dim_ff": 2}),
    "poseformer": Width("dim_per_joint"),
    "poseformerv2": Width("dim_per_joint", step=2),
    "paa": Width("n_poses", step=8),
    "stcformer": Width(step=8),
    "motionbert": Width(tied={"dim_rep": 2}),
    "gla_gcn": Width("channels", step=1),
    "d3dp": Width(passes=2),
}


def compared() -> tuple[str, ...]:
    """The models of the leaderboard: the dual stream, and every one whose file says its sizes."""
    names = entries()
    return tuple(n for n in names if n == DUAL_STREAM or model_settings(n).preset_sizes)


def width_of(name: str) -> Width:
    """How the system is fitted; for one that is not listed, by `dim` in steps of four."""
    return WIDTHS.get(name, Width())


def price(preset: str) -> float:
    """Multiply-accumulates of the dual stream for a frame that comes out."""
    return count(Experiment.preset(preset).model).macs_per_frame


def settings_under(preset: str, name: str) -> ModelSettings:
    """The system's settings under the preset."""
    exp = Experiment.preset(preset)
    return exp.model if name == DUAL_STREAM else exp.override({"model.name": name}).model


def with_width(settings: ModelSettings, value: int) -> ModelSettings:
    """The settings with another width, and with what is tied to it."""
    width = width_of(settings.name)
    changes: dict[str, Any] = {name: factor * value for name, factor in width.tied.items()}
    changes[width.setting] = value
    return dataclasses.replace(settings, **changes)


def cost(settings: ModelSettings) -> float:
    """Multiply-accumulates of one pass for a frame that comes out."""
    return count(settings).macs_per_frame / width_of(settings.name).passes


def matched_width(settings: ModelSettings, target: float) -> int:
    """The width whose cost is nearest to the target: what to write down for a new system."""
    step, low, high = width_of(settings.name).step, 1, 2

    def cost_of(steps: int) -> float:
        return cost(with_width(settings, steps * step))

    while cost_of(high) < target:
        low, high = high, 2 * high

    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost_of(middle) < target else (low, middle)

    return step * min(low, high, key=lambda steps: abs(cost_of(steps) - target))


RULE: Final = """\
# Sizes of equal cost

<!-- Made by `python -m m2v_lib.models.matched_sizes`; a test compares it with the settings. -->

A comparison of architectures needs one price. Here it is **multiply-accumulates for each frame
that comes out**, of matrix products and convolutions, all counted by one counter
(`m2v_lib.models.complexity`) for one pass over one window. The dual stream's own form under the
preset (two blocks of width 64) sets it, and every other system is brought to it:

1. Frames read at once, and the time between them, are the preset's: 27 at every frame (`small`),
   9 at every third (`compact`).
2. Depth. Networks with a token for each joint of each frame (MixSTE, D3DP, MotionBERT, STCFormer)
   take two layers, as the dual stream does (published: 8, 8, 5, 6; the dual stream 16).
   The others keep their published depth, or the greatest at which some width comes within 10 %
   (PoseFormer 1 and 3 of 4, PoseFormerV2 3 of 4).
3. Four attention heads where they divide the features, else two; hidden layers in the published
   proportion.
4. Then the width is the one of those the heads allow whose cost is nearest. PAA, whose features
   of a joint come in twos of great effect, is fitted by the poses of its dictionary.
5. D3DP sees each clip's mirror image inside its network, others are shown it at test: one of its
   two passes is counted, and in the leaderboard it is not mirrored once more.

A system that gives the centre frame alone pays for its whole window with every frame, so its
network is smaller than that of a system which gives all frames. STCFormer's poses of all frames
are taken (`frames_out: all`), as its training does; by its published evaluation, which scores
the centre, it would cost 27 or 9 times as much a frame. The dictionary of PAA is embedded once a
call, which a large batch shares and this count does not.
"""


def as_markdown() -> str:
    """The rule and what it gave."""
    lines = [RULE]
    for preset in PRESETS:
        target = price(preset)
        lines += [
            f"## Preset `{preset}`: {target / 1e6:.2f} M multiply-accumulates a frame",
            "",
            "| system | frames in, out | what differs from the published size | parameters | "
            "M MACs a frame | of the price |",
            "|---|---|---|---|---|---|",
            *(_line(settings_under(preset, name), target) for name in compared()),
            "",
        ]

    return "\n".join(lines)


def _line(settings: ModelSettings, target: float) -> str:
    counted: Part = count(settings)
    spent = cost(settings)
    default = type(settings)()
    differing = [
        f"{f.name} {getattr(settings, f.name)}"
        for f in dataclasses.fields(settings)
        if getattr(settings, f.name) != getattr(default, f.name)
        and f.name not in ("name", "n_frames", "skeleton")
    ]

    cells = (
        f"`{settings.name}`",
        f"{settings.n_frames}, {counted.n_frames}",
        ", ".join(differing),
        f"{counted.parameters:,}",
        f"{spent / 1e6:.2f}",
        f"{spent / target:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def preset_sizes(name: str) -> dict[str, dict[str, int]]:
    """What to write into a model's `Settings` for it to cost what the others do."""
    found = {}
    for preset in PRESETS:
        width, settings = width_of(name), settings_under(preset, name)
        fitted = with_width(settings, matched_width(settings, price(preset)))
        found[preset] = {key: getattr(fitted, key) for key in (width.setting, *width.tied)}
    return found


if __name__ == "__main__":
    print(preset_sizes(sys.argv[1]) if sys.argv[1:] else as_markdown().rstrip())
