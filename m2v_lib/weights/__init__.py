"""The model that comes with the package, which `m2v lift` uses unless it is given another:
weights and run record.

`m2v export RUN --weights` puts a finished run here; `README.md` beside the weights is written
then. No torch here.
"""

from __future__ import annotations

import shutil
import textwrap
from functools import partial
from pathlib import Path
from typing import Any, Final

from m2v_lib.config import ConfigError
from m2v_lib.data.checks import printable
from m2v_lib.data.limits import MAX_NAME_LENGTH
from m2v_lib.runs.records import (
    RECORD_FILES,
    WEIGHTS_FILE,
    Record,
    load_record,
    project_root,
    write_atomically,
    write_text,
)

FOLDER: Final = Path(__file__).resolve().parent
README: Final = "README.md"
#: errors of lifting at any rate and length, written by `m2v evaluate --lift`
ACCURACY: Final = "accuracy.json"
#: what the treatment of lifted motion is worth, written by `m2v evaluate --motion`
MOTION: Final = "motion.json"
#: errors by cameras that no training saw, written by `m2v evaluate --cameras grid`
GRID: Final = "grid.json"
#: what a repository and a wheel can carry
LARGEST: Final = 16 << 20  # bytes
#: frames a second of motion capture stores
MOTION_FPS: Final = 50.0

_README = """# The model that comes with the package

{intro}

{beside}

Errors on the subjects kept for testing ({protocol}), with a detector's errors in the input:

| | MPJPE (mm) | P-MPJPE (mm) |
|---|--:|--:|
| this model | {mpjpe:.1f} | {p_mpjpe:.1f} |
| ridge regression of each frame | {ridge:.1f} | {p_ridge:.1f} |
| the mean pose | {mean_pose:.1f} | {p_mean_pose:.1f} |

These are means over action groups on public motion capture and cannot be set against numbers on Human3.6M.

## For what it is not fit

- **Comparison with published networks.** It is small, was not trained on Human3.6M, and its keypoints are true joints
  with a detector's errors drawn by a model: no image was ever seen.
- **Decisions about people**: medicine, safety, identity, work. `spread_mm` is a spread, not a guarantee, and a
  wrist or an ankle is off by more than twice as much as the trunk.
- **People unlike the training's**: adults of ordinary build, in a studio, one at a time, on a level floor. Children,
  people in wheelchairs or with prostheses, swimming, climbing and lying down were not, or hardly, among them, nor
  people partly outside the image.
- **Fisheye lenses, and cameras that look straight down or from below the floor**: no training camera did.
- **Absolute size and place**: they follow from a body height and a focal length that are given or assumed.

## Licence

The weights are licensed as the package, under Apache-2.0. They were trained on motion capture of the CMU Graphics Lab
Motion Capture Database, which is free for all uses and may not be resold as such; no frame of it is in this folder. The
data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF
EIA-0196217.
"""

_INTRO = (
    "`weights.safetensors` is what `m2v lift` loads unless `--model` names another run: preset "
    "`{preset}`, recipe `{recipe}`, {n_parameters:,} parameters, trained by this suite for "
    "{steps:,} steps ({epochs:.1f} of {epochs_full} epochs) on windows of {n_frames} frames at "
    "{fps:g} frames a second. {stage_1} Cameras: {cameras} Joints: {joints}."
)
_BESIDE = (
    "The record of the run `{name}` stands beside it: settings (`config.yaml`), course "
    "(`metrics.jsonl`), result (`result.json`) and machine (`env.json`). `accuracy.json` has its "
    "errors from keypoints to camera space at other rates and lengths, with a fifth of the joints "
    "missing; `motion.json` what bones of constant length, smoothing, standing feet and a found "
    "floor are worth; `grid.json` its errors by cameras that no training saw."
)
_RANDOM = (
    "one drawn for every window (`data.cameras=random`): {camera_height_min:g} to "
    "{camera_height_max:g} m above the floor, {camera_distance_min:g} to {camera_distance_max:g} m "
    "away, {camera_view_min:g} to {camera_view_max:g} degrees wide, rolled by up to "
    "{camera_roll_max:g}; {own_cameras:.0%} of the windows by Human3.6M's four."
)


def own_weights(folder: Path = FOLDER) -> Path:
    """The weights of the package. Raises ConfigError where there are none."""
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ConfigError(
            f"{folder}: holds no weights; name a trained run (--model reports/runs/finetune-...)"
        )
    return weights


def name_of(model: Path | str | None = None) -> str:
    """What files call a network: its run's name, else its folder's; None is the package's."""
    folder = Path(model) if model else FOLDER
    folder = folder if folder.is_dir() else folder.parent
    try:
        name = str(load_record(folder).result["name"])
    except (OSError, ValueError, KeyError):
        name = folder.resolve().name
    return printable(name, MAX_NAME_LENGTH) + ("" if model else " (of the package)")


def put(run: Path, folder: Path = FOLDER) -> list[Path]:
    """Make a finished fine-tuning run on motion capture the model of the package, in place of
    the one before.

    Raises ConfigError for another run: what may be given away, and what the licence note says,
    hangs on the data. InputError where it was pre-trained and the record of that is neither
    beside it nor kept.
    """
    record, weights = load_record(run), Path(run) / WEIGHTS_FILE
    stage, data = record.result["stage"], record.result["data"]["name"]
    if stage != "finetune" or data != "mocap":
        raise ConfigError(
            f"{run}: is a {stage} run on {data}; the package carries one of finetune on mocap"
        )

    if not weights.is_file() or weights.stat().st_size > LARGEST:
        size = f"{weights.stat().st_size / 2**20:.1f} MiB" if weights.is_file() else "missing"
        raise ConfigError(f"{weights}: is {size}, expected at most {LARGEST >> 20} MiB")

    said = _readme(record)
    names = (WEIGHTS_FILE, *RECORD_FILES)
    for name in names:
        write_atomically(folder / name, partial(shutil.copyfile, record.path / name))

    write_text(folder / README, said)
    for measured in (ACCURACY, MOTION, GRID):  # of the model before
        (folder / measured).unlink(missing_ok=True)

    return [folder / name for name in (*names, README)]


def _readme(record: Record) -> str:
    said = {**_said(record), "stage_1": _stage_1(record), "name": record.name}
    intro, beside = (
        textwrap.fill(text.format(**said), 120, break_on_hyphens=False, break_long_words=False)
        for text in (_INTRO, _BESIDE)
    )
    return _README.format(**said, intro=intro, beside=beside)


def _stage_1(record: Record) -> str:
    """What the note says of where the training began."""
    init = record.result.get("init", "scratch")
    if init == "scratch":
        return "It was trained from scratch, without the method's stage 1."

    kept = (record.path.resolve().parent / init, project_root() / "reports" / "records" / init)
    folder = next((path for path in kept if (path / "result.json").is_file()), kept[0])
    steps = load_record(folder).result["schedule"]["steps"]
    return (
        f"It is the method itself: stage 1, the pre-training that predicts masked tokens of an EMA "
        f"teacher from 2D alone (`{init}`, {steps:,} steps), then stage 2, fine-tuning on "
        "3D poses."
    )


def _said(record: Record) -> dict[str, Any]:
    """What the note says of a run's settings and result."""
    result, data = record.result, record.config["data"]
    schedule, floors = result["schedule"], result["baselines"]
    protocol, _, joints = result["data"]["protocol"].partition("; joints ")
    random = data.get("cameras") == "random"
    return {
        **{key: result[key] for key in ("preset", "recipe", "n_parameters")},
        "steps": schedule["steps"],
        "epochs": schedule["epochs_done"],
        "epochs_full": schedule["epochs_full"],
        "n_frames": record.config["model"]["n_frames"],
        "fps": MOTION_FPS / data.get("frame_step", 1),
        "cameras": _RANDOM.format(**data) if random else "the four of Human3.6M.",
        "joints": f"`{joints or 'h36m17'}`",
        "protocol": protocol,
        "mpjpe": result["test"]["mpjpe"],
        "p_mpjpe": result["test"]["p_mpjpe"],
        **{key: floors[key]["mpjpe"] for key in ("ridge", "mean_pose")},
        **{f"p_{key}": floors[key]["p_mpjpe"] for key in ("ridge", "mean_pose")},
    }
