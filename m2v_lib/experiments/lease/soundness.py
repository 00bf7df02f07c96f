"""Whether files that came in an archive are those of one run of this package."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import safetensors

from m2v_lib.config import Experiment
from m2v_lib.errors import InputError
from m2v_lib.experiments.lease.archive import CHECKPOINT_FILE, RESUMED_FILES
from m2v_lib.runs.records import RECORD_FILES, WEIGHTS_FILE
from m2v_lib.yaml_text import parse_yaml

Files = Mapping[str, bytes]


class ArchiveError(InputError):
    """An archive that is damaged, or holds what is no record of this package."""


def verify(name: str, files: Files) -> None:
    """Raises ArchiveError unless the files are those of a run with the settings that the folder's
    name says: a whole record where there is a result, else a run that has begun.
    """
    finished = "result.json" in files
    expected = RECORD_FILES if finished else RESUMED_FILES[:4]
    if missing := [file for file in expected if file not in files]:
        raise ArchiveError(f"{name} has no {missing[0]}")

    try:
        exp, lines = _told(files, whole=finished)
        result = json.loads(files["result.json"]) if finished else {}
        stage = result["stage"] if finished else name.partition("-")[0]
        own = exp.run_name(stage)
        last = max((line["step"] for line in lines if line.get("kind") == "train"), default=0)
        said = (
            [result["name"], result["digest"], result["seed"], result["schedule"]["steps"]]
            if finished
            else []
        )
        if finished:
            _check_figures(stage, result)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(
            f"{name} is no record of a run ({type(error).__name__}: {error})"
        ) from error

    if name != own:
        raise ArchiveError(f"{name} has the settings of {own}")
    if finished and said != [own, exp.digest(stage), exp.run.seed, last]:
        raise ArchiveError(f"{name} has the result of another run")
    _verify_tensors(name, stage, files)


def _check_figures(stage: str, result: Mapping[str, Any]) -> None:
    """Raises where a result lacks what every reader of records takes from it."""
    if not isinstance(result["data"]["fingerprint"], str):
        raise TypeError("its data's fingerprint must be a text")
    if stage == "finetune" and not math.isfinite(result["test"]["mpjpe"]):
        raise ValueError("its error must be finite")


def _verify_tensors(name: str, stage: str, files: Files) -> None:
    """Raises ArchiveError unless weights and checkpoints can be read and are this run's."""
    for file in (f for f in files if f.endswith(".safetensors")):
        try:
            safetensors.deserialize(files[file])
            state = _state_of(files[file])
            if file == CHECKPOINT_FILE:
                step_reached(files[file])
            whose = name
            if file == WEIGHTS_FILE:
                whose = Experiment.from_dict(state["experiment"]).run_name(stage)
        except Exception as error:  # safetensors' own, or a header that says other things
            raise ArchiveError(f"{name}/{file} cannot be read ({error})") from error
        if whose != name:
            raise ArchiveError(f"{name}/{file} has the weights of another run, {whose}")


def step_reached(checkpoint: bytes) -> int:
    """The step at which a checkpoint was written. Raises ArchiveError."""
    try:
        return int(_state_of(checkpoint)["step"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(f"a checkpoint says no step ({error})") from error


def _state_of(tensors: bytes) -> dict[str, Any]:
    """What `save_tensors` wrote beside the tensors: a length of 8 bytes, a JSON header."""
    size = int.from_bytes(tensors[:8], "little")
    return dict(json.loads(json.loads(tensors[8 : 8 + size])["__metadata__"]["state"]))


def _told(files: Files, *, whole: bool) -> tuple[Experiment, list[dict[str, Any]]]:
    """A run's settings and its log; its machine must be readable too. The last line of a log that
    is not `whole` may be torn: resuming cuts it.
    """
    exp = Experiment.from_dict(parse_yaml(files["config.yaml"].decode()))
    json.loads(files["env.json"])
    lines = files["metrics.jsonl"].splitlines(keepends=True)
    if not whole and lines and not lines[-1].endswith(b"\n"):
        del lines[-1]
    return exp, [json.loads(line) for line in lines]
