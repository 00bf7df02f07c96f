"""The model that comes with the package, which `m2v lift` uses unless it is given another:
weights and run record.

`m2v export RUN --weights` puts a finished run here; `README.md` beside the weights is written
then. No torch here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from m2v_lib.config import ConfigError
from m2v_lib.data.checks import printable
from m2v_lib.data.limits import MAX_NAME_LENGTH
from m2v_lib.runs.records import RECORD_FILES, load_record, write_atomically, write_text

FOLDER: Final = Path(__file__).resolve().parent
WEIGHTS: Final = "weights.safetensors"
README: Final = "README.md"
#: errors of lifting at any rate and length, written by `m2v evaluate --lift`
ACCURACY: Final = "accuracy.json"
#: what the treatment of lifted motion is worth, written by `m2v evaluate --motion`
MOTION: Final = "motion.json"
#: what a repository and a wheel can carry
LARGEST: Final = 16 << 20  # bytes

_README = """# The model that comes with the package

`weights.safetensors` is what `m2v lift` loads unless `--model` names another run: preset `{preset}`, recipe `{recipe}`,
{n_parameters:,} parameters, trained by this suite for {steps:,} steps ({epochs:.1f} of {epochs_full} epochs).
The record of the run `{name}` stands beside it: settings (`config.yaml`), course
(`metrics.jsonl`), result (`result.json`) and machine (`env.json`). `accuracy.json` has its errors from keypoints to
camera space at other rates and lengths, with a fifth of the joints missing; `motion.json` what bones of constant
length, smoothing, standing feet and a found floor are worth.

Errors on the subjects kept for testing ({protocol}), with a detector's errors in the input:

| | MPJPE (mm) | P-MPJPE (mm) |
|---|--:|--:|
| this model | {mpjpe:.1f} | {p_mpjpe:.1f} |
| ridge regression of each frame | {ridge:.1f} | {p_ridge:.1f} |
| the mean pose | {mean_pose:.1f} | {p_mean_pose:.1f} |

These are means over action groups on public motion capture and cannot be set against numbers on Human3.6M.

## Licence

The weights are licensed as the package, under Apache-2.0. They were trained on motion capture of the CMU Graphics Lab
Motion Capture Database, which is free for all uses and may not be resold as such; no frame of it is in this folder. The
data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF
EIA-0196217.
"""


def own_weights(folder: Path = FOLDER) -> Path:
    """The weights of the package. Raises ConfigError where there are none."""
    weights = folder / WEIGHTS
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
    hangs on the data.
    """
    record, weights = load_record(run), Path(run) / WEIGHTS
    stage, data = record.result["stage"], record.result["data"]["name"]
    if stage != "finetune" or data != "mocap":
        raise ConfigError(
            f"{run}: is a {stage} run on {data}; the package carries one of finetune on mocap"
        )

    if not weights.is_file() or weights.stat().st_size > LARGEST:
        size = f"{weights.stat().st_size / 2**20:.1f} MiB" if weights.is_file() else "missing"
        raise ConfigError(f"{weights}: is {size}, expected at most {LARGEST >> 20} MiB")

    names = (WEIGHTS, *RECORD_FILES)
    for name in names:
        write_atomically(folder / name, partial(shutil.copyfile, record.path / name))

    write_text(folder / README, _README.format(**_said(record.result), name=record.name))
    for measured in (ACCURACY, MOTION):  # of the model before
        (folder / measured).unlink(missing_ok=True)

    return [folder / name for name in (*names, README)]


def _said(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the note says of a run's result."""
    schedule, floors = result["schedule"], result["baselines"]
    return {
        **{key: result[key] for key in ("preset", "recipe", "n_parameters")},
        "steps": schedule["steps"],
        "epochs": schedule["epochs_done"],
        "epochs_full": schedule["epochs_full"],
        "protocol": result["data"]["protocol"],
        "mpjpe": result["test"]["mpjpe"],
        "p_mpjpe": result["test"]["p_mpjpe"],
        **{key: floors[key]["mpjpe"] for key in ("ridge", "mean_pose")},
        **{f"p_{key}": floors[key]["p_mpjpe"] for key in ("ridge", "mean_pose")},
    }
