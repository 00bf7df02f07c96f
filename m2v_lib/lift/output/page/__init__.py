"""A lifted motion as one page to look at: no network, and no other file but the video, where that
lies beside the page; turn, play, scrub, change the speed, follow a joint's course.
"""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from m2v_lib.lift.output.files import header
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.runs.records import write_text
from m2v_lib.skeletons import Skeleton

#: as in `plots`, which needs matplotlib
COLOURS: Final = {"left": "#0072b2", "right": "#d55e00", "middle": "#7f7f7f"}
SPEEDS: Final = (0.1, 0.25, 0.5, 1, 2, 4)

#: in the order in which they run
SCRIPTS: Final = ("page.js", "curves.js", "play.js")

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>{style}</style></head>
<body>
<h1>{title}</h1>
<div class="views">
<figure><canvas id="plane" role="img" aria-label="keypoints in the image"></canvas>
<figcaption>In the image ({width} x {height} px).<span class="key" style="background:{left}"></span>left
<span class="key" style="background:{right}"></span>right; hollow and dotted: not seen, filled in{film}
</figcaption></figure>
<figure><canvas id="space" role="img" aria-label="the people in space; drag to turn"></canvas>
<figcaption>In space, on the floor ({world}). Drag to turn, wheel or two fingers to zoom.</figcaption></figure>
</div>
<div class="controls">
<button id="play">play</button>
<input id="frame" type="range" min="0" value="0" aria-label="frame"><span id="clock"></span>
<label>speed <select id="speed">{speeds}</select></label>
<label><input id="follow" type="checkbox" checked> stay with the person</label>
<label><input id="unsure" type="checkbox" checked> uncertainty</label>
<button id="reset">reset view</button><span id="people"></span>
</div>
<figure><canvas id="curves" role="img" aria-label="the course of a joint; drag to move in time"></canvas>
<figcaption><label>joint <select id="joint"></select></label>
<label><select id="quantity" aria-label="quantity"></select></label>
<span id="value"></span></figcaption></figure>
{doubts}<details><summary>What this is</summary><dl>{about}</dl>
<p>Keys: space plays, arrows go a frame (with shift ten), Home and End to the ends.</p></details>
<script>const MOTION = {motion};</script>
<script>{script}</script>
</body>
</html>
"""
#: nothing but what the page holds, and a video beside it
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "media-src 'self' file:"
)
_FILM = """. <span id="nofilm" hidden>Its video {name} is not beside this page.</span>
<video id="film" src="{source}" muted playsinline preload="auto" hidden></video>"""


def write_page(path: Path, motion: Motion) -> None:
    """Write the page, a few hundred bytes a frame."""
    said = {
        key: value
        for key, value in header(motion).items()
        if key not in ("joints", "notes", "report", "video") and value not in ("", [], None)
    }
    about = _definitions({**motion.report, **said})
    doubts = "".join(f"<li>{html.escape(text)}</li>" for text in (*motion.warnings, *motion.notes))
    speeds = "".join(
        f'<option value="{s}"{" selected" if s == 1 else ""}>{s} x</option>' for s in SPEEDS
    )
    page = _PAGE.format(
        title=html.escape(motion.source),
        policy=_POLICY,
        style=_asset("page.css"),
        script="\n".join(_asset(name).removeprefix('"use strict";\n') for name in SCRIPTS),
        film=_film(motion),
        world=html.escape(motion.world.how),
        about=about,
        doubts=f'<ul class="doubts">{doubts}</ul>' if doubts else "",
        speeds=speeds,
        width=motion.camera.width,
        height=motion.camera.height,
        left=COLOURS["left"],
        right=COLOURS["right"],
        motion=json.dumps(_data(motion)).replace("<", "\\u003c"),
    )
    write_text(path, page)


def _film(motion: Motion) -> str:
    """The video that was lifted, by its name alone: it is found where the page lies beside it."""
    if "video" not in motion.about:
        return ""
    name = str(motion.about["video"]["name"])
    return _FILM.format(name=html.escape(name), source=f"./{quote(name, safe='')}")


def _definitions(values: dict[str, Any]) -> str:
    return "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(str(value))}</dd>"
        for key, value in values.items()
    )


def _data(motion: Motion) -> dict[str, Any]:
    skeleton = motion.skeleton
    return {
        "fps": motion.fps,
        "frames": max(motion.n_frames, *(p.start + p.n_frames for p in motion.people)),
        "width": motion.camera.width,
        "height": motion.camera.height,
        "bones": skeleton.bones,
        "sides": [skeleton.side(joint) for joint in range(len(skeleton))],
        "joints": list(skeleton.joints),
        "video": motion.about.get("video"),
        "colours": COLOURS,
        "absent": list(motion.absent),
        "people": [_person(person, motion) for person in motion.people],
    }


def _person(person: Lifted, motion: Motion) -> dict[str, Any]:
    """Arrays in base64, in the world, rounded to mm and px; the joints that were filled in as bits,
    32 of a number.
    """
    n_joints = person.filled.shape[1]
    joint = np.arange(n_joints)
    bits = np.zeros((person.n_frames, -(-n_joints // 32)), np.uint32)
    for word in range(bits.shape[1]):
        inside = joint[joint // 32 == word]
        bits[:, word] = (
            person.filled[:, inside].astype(np.uint32) << (inside % 32).astype(np.uint32)
        ).sum(1)

    return {
        "name": person.name,
        "start": person.start,
        "n": person.n_frames,
        "pose": _base64(person.pose_mm @ motion.world.rotation.T, "<i2"),
        "root": _base64(motion.world.to_world(person.root_mm), "<i4"),
        "seen": _base64(person.seen_px, "<i2"),
        "filled": _base64(bits, "<u4"),
        "spread": None if person.spread_mm is None else _base64(person.spread_mm, "<i2"),
    }


def colour_of(skeleton: Skeleton, joint: int) -> str:
    """The colour of the joint's side."""
    return COLOURS[skeleton.side(joint)]


def _base64(values: np.ndarray, kind: str) -> str:
    limits = np.iinfo(kind)
    whole = np.clip(
        np.rint(np.nan_to_num(values.astype(np.float64))), limits.min, limits.max
    ).astype(kind)
    return base64.b64encode(whole.tobytes()).decode()


def _asset(name: str) -> str:
    return resources.files("m2v_lib.lift.output.page").joinpath(name).read_text(encoding="utf-8")
