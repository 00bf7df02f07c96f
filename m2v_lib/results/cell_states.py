"""What a table measures, what a run must have been to stand against the paper's number, and the
states of a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from m2v_lib.experiments.tables import measure_name

#: What a cell of a table can be; `paper` is a published value, the others are measured here.
STATES = (
    "paper",
    "reproduced",
    "partial schedule",
    "mocap",
    "mocap, partial schedule",
    "synthetic",
    "not run",
)
#: What a run must have been for its number to be set against the paper's. The Human3.6M store
#: writes this protocol.
PUBLISHED_DATA = "h36m"
PUBLISHED_PROTOCOL = "Human3.6M: S1 S5 S6 S7 S8 train, S9 S11 test, action-averaged, 2.5D frames"
PUBLISHED_PRESET = "base"
PUBLISHED_3DHP = (
    "MPI-INF-3DHP: S1-S8 train, TS1-TS6 test, ground-truth 2D, universal skeleton; valid frames"
)
#: Classes and at least so many training samples make NTU RGB+D 60 more than a file in its
#: layout.
NTU_CLASSES, NTU_TRAIN = 60, 30_000


@dataclass(frozen=True)
class Measure:
    """A stage's metrics and the run that the paper reports: its data set, and what else
    separates a run from it.
    """

    stage: str
    data: str
    metrics: Mapping[
        str, tuple[str, str]
    ]  # key in result["test"]: metric in the paper's table, column title here
    protocol_deviations: Callable[[Mapping[str, Any]], list[str]]

    def deviations(self, result: Mapping[str, Any]) -> list[str]:
        """What separates a run on the paper's data from the run that the paper reports."""
        found = ["schedule not full"] if result["schedule"]["partial"] else []
        if result["preset"] != PUBLISHED_PRESET:
            found.append(f"preset {result['preset']}")
        return found + self.protocol_deviations(result)


def _pose_deviations(input_2d: str, otherwise: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def deviations(result: Mapping[str, Any]) -> list[str]:
        wrong = ["another protocol"] if result["data"]["protocol"] != PUBLISHED_PROTOCOL else []
        return [*wrong, otherwise] if result["data"]["input_2d"] != input_2d else wrong

    return deviations


def _mpi_deviations(result: Mapping[str, Any]) -> list[str]:
    return [] if result["data"]["protocol"].startswith(PUBLISHED_3DHP) else ["another protocol"]


def _action_deviations(result: Mapping[str, Any]) -> list[str]:
    whole = len(result["data"]["classes"]) == NTU_CLASSES and result["data"]["n_train"] >= NTU_TRAIN
    return [] if whole else ["part of the data"]


_MPJPE = {"mpjpe": ("MPJPE", "MPJPE (mm)")}
_BOTH = {**_MPJPE, "p_mpjpe": ("P-MPJPE", "P-MPJPE (mm)")}
POSE = Measure(
    "finetune", PUBLISHED_DATA, _BOTH, _pose_deviations("detected", "ground-truth 2D input")
)
#: Of the third block of Table I only MPJPE is printed. Which ground-truth protocol made it is
#: not known (audit D2).
POSE_GT = Measure("finetune", PUBLISHED_DATA, _MPJPE, _pose_deviations("gt", "detected 2D input"))
MPI = Measure(
    "finetune",
    "mpi_inf_3dhp",
    {**_MPJPE, "pck": ("PCK", "PCK (%)"), "auc": ("AUC", "AUC (%)")},
    _mpi_deviations,
)
ACTION = Measure("action", "ntu60", {"top1": ("", "top-1 (%)")}, _action_deviations)

#: By the name that `experiments/tables.yaml` gives what a group of rows measures.
MEASURES = {"pose": POSE, "pose-gt": POSE_GT, "mpi_inf_3dhp": MPI, "action": ACTION}


def measure_of(table: str) -> Measure:
    return MEASURES[measure_name(table)]


def cell_state(result: Mapping[str, Any], measure: Measure = POSE) -> str:
    """The state of one measured number from its run's `result.json`."""
    data = result["data"]["name"]
    if data == "synthetic":
        return "synthetic"
    if data != measure.data:
        return "mocap, partial schedule" if result["schedule"]["partial"] else "mocap"
    return "partial schedule" if measure.deviations(result) else "reproduced"


def state_class(state: str) -> str:
    """The state as part of a CSS class."""
    return state.replace(", ", "-").replace(" ", "-")
