"""Run one notebook with parameters, keep it whatever happens, and say in a small JSON file how
it went.

For an output `NAME.ipynb` the status is `NAME.status.json`; the report is built from the two,
without torch.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.quick_imports import without_address_grammar
from m2v_lib.runs.records import RESUME_EXIT_CODE, StoppedEarly, commit, write_json

STATUS_SCHEMA = 1


def declared_parameters(path: Path | str) -> dict[str, Any]:
    """Names and default values of the notebook's cell tagged `parameters`; empty if it has none."""
    path = Path(path)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise ConfigError(f"there is no notebook {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a notebook: {error}") from None

    for cell in cells:
        if cell["cell_type"] == "code" and "parameters" in cell.get("metadata", {}).get("tags", []):
            return _assignments("".join(cell["source"]), path)

    return {}


def _assignments(source: str, path: Path) -> dict[str, Any]:
    found = {}
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
        ):
            name, value = node.target.id, node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
        else:
            continue
        try:
            found[name] = ast.literal_eval(value)
        except ValueError:
            raise ConfigError(
                f"{path}: parameter {name!r} must be a literal, not {ast.unparse(value)}"
            ) from None

    return found


def check_parameters(path: Path | str, parameters: Mapping[str, Any]) -> None:
    """Raise ConfigError, before any kernel starts, for a parameter the notebook does not declare
    or cannot mean.
    """
    declared = declared_parameters(path)
    for name, value in parameters.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1, cutoff=0.0)
            hint = f"the nearest it has is {near[0]!r}" if near else "it has none"
            raise ConfigError(f"{Path(path).name} has no parameter {name!r}; {hint}")
        wanted = type(declared[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ConfigError(
                f"{Path(path).name}: parameter {name!r} must be {wanted.__name__}, got {value!r}"
            )

    chosen = {**declared, **parameters}
    if {"preset", "recipe", "overrides"} <= set(chosen):
        Experiment.preset(chosen["preset"], recipe=chosen["recipe"]).override(chosen["overrides"])


def run_notebook(path: Path | str, out: Path | str, parameters: Mapping[str, Any]) -> int:
    """Execute `path` into `out` with papermill; 0 when every cell ran, 1 when a cell or the
    kernel failed.

    RESUME_EXIT_CODE when training in it stopped at a checkpoint (time up, or SIGTERM or Ctrl-C,
    which reach the kernel as SIGTERM): run it again to go on. A second Ctrl-C does not wait.

    The executed notebook stays at `out` either way, with a status file beside it. A parameter
    the notebook does not know raises ConfigError and leaves nothing behind.
    """
    path, out = Path(path), Path(out)
    check_parameters(path, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    status: dict[str, Any] = {
        "schema": STATUS_SCHEMA,
        "notebook": path.name,
        "state": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": None,
        "parameters": dict(parameters),
        "error": None,
        "commit": commit(),
    }
    # Written first: if this process itself is killed, the report finds a run that never ended.
    write_json(status_path(out), status)
    begin = time.monotonic()
    with _passing_on_signals():
        error = _execute(path, out, dict(parameters))

    stopped = error is not None and f" {StoppedEarly.__name__}: " in error
    if not out.exists():
        shutil.copyfile(path, out)
    status |= {
        "state": "stopped" if stopped else "failed" if error else "ok",
        "seconds": round(time.monotonic() - begin, 1),
        "error": error,
    }
    write_json(status_path(out), status)
    if error:
        print(f"{path.name} {status['state']}: {error}", file=sys.stderr)

    return RESUME_EXIT_CODE if stopped else 1 if error else 0


@contextlib.contextmanager
def _passing_on_signals() -> Iterator[None]:
    """Kernels run in process groups of their own: SIGTERM reaches them through us, and so does the
    first Ctrl-C.
    """

    def pass_on(number: int, frame: object) -> None:
        import psutil

        for kernel in psutil.Process().children():
            kernel.send_signal(signal.SIGTERM)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = {n: signal.signal(n, pass_on) for n in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread
        yield
        return

    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _execute(path: Path, out: Path, parameters: dict[str, Any]) -> str | None:
    """None when the notebook ran through, else one line that says what went wrong."""
    with without_address_grammar():
        import papermill
        from nbclient.exceptions import DeadKernelError

    try:
        papermill.execute_notebook(
            path,
            out,
            parameters,
            kernel_name="python3",
            progress_bar=False,
            # Critical only: not a line of advice per kernel, and none when it is told to end in the
            # moment after its last cell, which it logs as the error "KeyboardInterrupt caught".
            extra_arguments=["--IPKernelApp.log_level=50"],
        )
    except papermill.PapermillExecutionError as error:
        return f"cell [{error.exec_count}]: {error.ename}: {_first_line(error.evalue)}"
    except DeadKernelError:
        return "the kernel died (killed, or out of memory)"
    except (
        Exception
    ) as error:  # whatever it was, the notebook must end up red in the book rather than missing
        return f"{type(error).__name__}: {_first_line(str(error))}"

    return _killed_quietly(out)


def _killed_quietly(out: Path) -> str | None:
    """A kernel that dies in a cell can leave it 'completed' yet unnumbered: read the cells, not
    the metadata.
    """
    cells = json.loads(out.read_text(encoding="utf-8"))["cells"]
    code = [
        cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    undone = sum(cell.get("execution_count") is None for cell in code)
    return f"{undone} of {len(code)} code cells did not run: the kernel died" if undone else None


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[0][:300]


def status_path(out: Path | str) -> Path:
    """Where the status of the executed notebook `out` is kept."""
    return Path(out).with_suffix(".status.json")
