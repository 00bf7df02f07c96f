"""A committed record trained again from its own settings: do its numbers come out?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.errors import InputError
from m2v_lib.runs.records import Record, load_record
from m2v_lib.training.action import ActionRecognition
from m2v_lib.training.pretrain import Pretrain
from m2v_lib.training.stage import Stage, run_stage
from m2v_lib.training.stages import STAGES

#: What must be the same for the same bits.
MACHINE: Final = ("processor", "device", "threads", "processes")
PACKAGES: Final = ("torch", "numpy")
#: On another machine rounding differs from the first step on, and training amplifies it until two
#: runs are as far apart as two seeds: the first log line may differ by this share ...
FIRST_LINE_TOLERANCE: Final = 0.01
#: (of a run that starts from a stage 1 trained again there, of which rounding has already made
#: another network, by this one: 8 % was seen)
FIRST_LINE_AFTER_STAGE_1: Final = 0.15
#: ... and the numbers of the result by this one: two to three times the spread of seeds of the
#: trained presets (0.7 of 53 mm).
RESULT_TOLERANCE: Final = 0.04
#: Data that every machine makes for itself, so that their last bits may differ too.
GENERATED: Final = "synthetic"
#: Parts of a result that are measured errors.
ERRORS: Final = ("test", "val", "last", "best_on_val", "best_on_test", "baselines", "final")


@dataclass(frozen=True)
class Agreement:
    """How a record and its second run compare: each number's name with its first and second value
    where they differ, and whether the differences are within what was promised.
    """

    record: Path
    rerun: Path
    other_machine: tuple[str, ...]
    n_numbers: int
    differences: dict[str, tuple[float, float]]
    first_line_tolerance: float
    agrees: bool
    commits: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """What to say of it."""
        bound = (
            f"another machine ({', '.join(self.other_machine)}): within "
            f"{100 * self.first_line_tolerance:g} % at the first log line and "
            f"{100 * RESULT_TOLERANCE:g} % in the end"
            if self.other_machine
            else "the same processor and versions: the same numbers to the last bit"
        )
        yield f"recorded at commit {self.commits[0]}, trained again at {self.commits[1]}"
        yield f"expected: {bound}"
        yield f"{len(self.differences)} of {self.n_numbers} numbers differ"

        largest = sorted(self.differences.items(), key=lambda item: -_apart(*item[1]))[:5]
        for name, (before, now) in largest:
            yield f"  {name}: {before:.6g}, now {now:.6g} ({100 * _apart(before, now):.2g} %)"
        yield "agrees" if self.agrees else "does not agree"


def rerun(folder: Path, root: Path, device: str = "") -> Agreement:
    """Train the record's run again under `root`, with the stage 1 that it starts from, and compare;
    on the device that its settings name, or another one.

    A run that is there already goes on or is only compared: `commits` says which code made it.
    Raises InputError where the folder is no whole record, ConfigError where its data are not the
    store's of today or the second run would be the record itself.
    """
    record = load_record(folder)
    _check_whole(record)
    exp = Experiment.from_dict(record.config).override({"run.device": device} if device else {})
    stage = STAGES[record.result["stage"]]
    if exp.digest(stage.name) != record.result["digest"]:
        raise ConfigError(
            f"{folder}: its settings no longer give its digest, so it cannot be rerun"
        )

    again = root / exp.run_name(stage.name)
    if again.resolve() == folder.resolve():
        raise ConfigError(
            f"{folder}: would be compared with itself; name another folder for the second run (--into)"
        )
    _check_data(record, stage, exp)

    if getattr(getattr(exp, stage.name), "init", "") == "pretrained":
        name = exp.action.pretrained_on if stage is ActionRecognition else ""
        run_stage(Pretrain, exp.override({"data.name": name}) if name else exp, root)

    return compare(record, load_record(run_stage(stage, exp, root)))


def _check_whole(record: Record) -> None:
    """Raise InputError for a record whose numbers are not all there: nothing could disagree."""
    result = record.result
    steps = _of(result, "schedule", "steps")
    fingerprint = _of(result, "data", "fingerprint")
    if _of(result, "stage") not in STAGES or not (_of(result, "digest") and fingerprint):
        raise InputError(f"{record.path}/result.json: is not the result of a training run")

    trained = [_of(line, "step") for line in record.metrics if _of(line, "kind") == "train"]
    if not trained or trained[-1] != steps:
        raise InputError(
            f"{record.path}/metrics.jsonl: must reach step {steps}, the last of its schedule, got "
            f"{trained[-1] if trained else 'no line of training'}"
        )


def _of(value: Any, *keys: str) -> Any:
    """What stands in nested tables under the keys; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _check_data(record: Record, stage: type[Stage], exp: Experiment) -> None:
    """Raise ConfigError where the store, or the motion that random cameras look at, is another."""
    data, now = stage.open_data(exp)
    if exp.data.name == GENERATED:
        return

    said = record.result["data"]
    fingerprints = {f"a store {exp.data.name}": (said["fingerprint"], now)}
    if said.get("world"):
        fingerprints["motion in world space"] = (said["world"], data.world().fingerprint)
    for what, (then, today) in fingerprints.items():
        if then != today:
            raise ConfigError(
                f"{record.path}: was trained on {what} of fingerprint {then[:12]}, today's has "
                f"{today[:12]}; prepare that one first{_how(exp.data.name, said.get('protocol', ''))}"
            )


def _how(store: str, protocol: str) -> str:
    """How to prepare a store: of motion capture with the joints that its protocol says, at first
    only Human3.6M's.
    """
    if not store.startswith("mocap"):
        return f" ({protocol})"
    joints = protocol.partition("; joints ")[2] or "h36m17"
    return f": M2V_STORE=FOLDER m2v data prepare mocap --set joints={joints} --name {store}"


def compare(record: Record, again: Record) -> Agreement:
    """Every number that the first of two runs of the same settings has."""
    first, second = dict(_numbers(record)), dict(_numbers(again))
    other = tuple(_other_machine(record.env, again.env))
    if record.result["data"]["fingerprint"] != again.result["data"]["fingerprint"]:
        other += ("data generated with other last bits",)
    missing = first.keys() - second.keys()
    differences = {
        name: (first[name], second[name])
        for name in first.keys() & second.keys()
        if not _same(first[name], second[name])
    }

    from_stage_1 = record.result.get("init", "scratch") != "scratch"
    first_line = FIRST_LINE_AFTER_STAGE_1 if from_stage_1 else FIRST_LINE_TOLERANCE

    agrees = bool(first) and not missing
    for name, values in differences.items():
        share = first_line if name.startswith("first line") else RESULT_TOLERANCE
        agrees &= bool(other) and (_apart(*values) <= share or not _is_promised(name))

    commits = tuple(run.result.get("commit", "unknown") for run in (record, again))
    return Agreement(
        record.path, again.path, other, len(first), differences, first_line, agrees, commits
    )


def _is_promised(name: str) -> bool:
    """On another machine: the first log line, and the mean errors of the result."""
    if ".per_recording." in name:  # few frames each
        return False
    return name.startswith("first line") or name.split(".")[-1] in ("mpjpe", "p_mpjpe", "top1")


def _numbers(record: Record) -> Iterator[tuple[str, float]]:
    """Every number that training made, by a name that says where it stands."""
    for number, line in enumerate(record.metrics):
        head = "first line" if number == 0 else f"{line['kind']} {line['step']}"
        for key, value in line.items():
            if key not in ("kind", "step", "epoch", "seconds"):
                yield f"{head}.{key}", float(value)

    for part in ERRORS:
        yield from _flat(part, record.result.get(part))


def _flat(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "seconds":
                yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(f"{name}.{number}", inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _other_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What of the machine is another, or unknown of the record."""
    for key in MACHINE:
        if key not in before or before[key] != now.get(key):
            yield f"{key} {before.get(key, 'not recorded')}, now {now.get(key)}"
    for package in PACKAGES:
        versions = [env.get("packages", {}).get(package) for env in (before, now)]
        if versions[0] != versions[1]:
            yield f"{package} {versions[0]}, now {versions[1]}"


def _same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


def _apart(first: float, second: float) -> float:
    """Distance as a share of the larger."""
    size = max(abs(first), abs(second))
    return abs(first - second) / size if size else 0.0
