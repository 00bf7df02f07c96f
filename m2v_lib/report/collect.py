"""What a suite was to run and how each run ended, read from `reports/executed/<suite>/`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.experiments.run_notebook import status_path

OK, FAILED, NOT_RUN = "ok", "failed", "not run"
SETTINGS = ("data", "preset", "recipe", "seeds", "overrides")


@dataclass(frozen=True)
class Page:
    """One notebook run of the book."""

    name: str  # file name of the executed notebook without suffix
    notebook: str
    kind: str
    label: str
    state: str  # OK | FAILED | NOT_RUN
    error: str = ""
    seconds: float | None = None
    started: str = ""
    commit: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    executed: Path | None = None

    @property
    def tens(self) -> int:
        """The tens of the notebook's number: 0 start, 1 data, 2 model ..."""
        return int(self.notebook[0]) if self.notebook[:1].isdigit() else 9


@dataclass(frozen=True)
class SuiteRun:
    """A suite's settings and pages."""

    name: str
    settings: dict[str, Any]
    pages: tuple[Page, ...]

    def count(self, state: str) -> int:
        return sum(page.state == state for page in self.pages)


def newest_suite(executed: Path) -> str | None:
    """The suite that ran last; None when none has."""
    written = [(path.stat().st_mtime, path.parent.name) for path in executed.glob("*/*.json")]
    return max(written)[1] if written else None


def read_suite(folder: Path) -> SuiteRun:
    """Pages planned in `suite.json` and pages of any other run in the folder. Raises ConfigError
    for an empty one.
    """
    plan = _read_json(folder / "suite.json") or {}
    planned = {job["name"]: job for job in plan.get("jobs", [])}
    found = [
        path.name.removesuffix(".status.json") for path in sorted(folder.glob("*.status.json"))
    ]
    names = [*planned, *(name for name in found if name not in planned)]
    if not names:
        raise ConfigError(f"{folder} holds no notebook run; start a suite with `make reproduce`")

    pages = tuple(_page(folder, name, planned.get(name, {})) for name in names)
    settings: dict[str, Any] = {key: plan[key] for key in SETTINGS if key in plan}
    return SuiteRun(folder.name, settings, pages)


def _page(folder: Path, name: str, job: dict[str, Any]) -> Page:
    executed = folder / f"{name}.ipynb"
    status = _read_json(status_path(executed))
    notebook = job.get("notebook") or (status or {}).get("notebook") or f"{name}.ipynb"
    common = {
        "name": name,
        "notebook": notebook,
        "kind": job.get("kind", "chapter"),
        "label": job.get("label", ""),
    }

    if status is None:
        unreadable = status_path(executed).exists()
        state, error = (FAILED, "its status file is not readable") if unreadable else (NOT_RUN, "")
        return Page(**common, state=state, error=error)

    state, error = str(status.get("state")), str(status.get("error") or "")
    if state == "running":
        error = "it did not end: still running when this page was made, or killed"
    elif not executed.exists():
        error = error or "its executed notebook is missing"
    elif _read_json(executed) is None:
        error = error or "its executed notebook is not readable"

    return Page(
        **common,
        state=FAILED if error or state != OK else OK,
        error=error,
        seconds=status.get("seconds"),
        started=status.get("started", ""),
        commit=status.get("commit", ""),
        parameters=status.get("parameters", {}),
        executed=executed if executed.exists() else None,
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
