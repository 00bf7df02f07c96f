"""Which notebook runs make up the suite: the training rows of the tables and seeds, and every
chapter once.

The Snakefile turns these jobs into rules and runs them; the report shows each of them, also
those that never ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.config.fields import require_known
from m2v_lib.experiments.rows import Row, rows
from m2v_lib.experiments.run_notebook import declared_parameters
from m2v_lib.experiments.tables import suite_groups
from m2v_lib.results.cell_states import measure_of

PRETRAIN, FINETUNE = "32_pretrain", "40_finetune"
#: Chapters that train on a data set of their own: in a suite of another they run as they stand,
#: on a small file.
OWN_DATA = {"41_finetune_3dhp": "mpi_inf_3dhp", "42_finetune_action": "ntu60"}
#: Chapters from this number on show results: they run when all training is done.
FIRST_RESULT = 50


@dataclass(frozen=True)
class Job:
    """One notebook run. `name` is the executed notebook's file name without suffix, `needs` the
    names it waits for.
    """

    name: str
    notebook: str
    kind: str  # pretrain | finetune | chapter | result
    label: str  # tells two runs of one notebook apart; empty for a chapter
    parameters: dict[str, Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """What was asked for: the values of the Snakemake config."""

    data: str = "synthetic"
    preset: str = "smoke"
    recipe: str = "paper"
    seeds: tuple[int, ...] = (0,)
    overrides: Mapping[str, Any] | None = None
    tables: tuple[str, ...] = field(default_factory=suite_groups)
    chapters: tuple[str, ...] = ()  # besides the training chapters; none named is all

    @property
    def name(self) -> str:
        return f"{self.data}-{self.preset}-{self.recipe}"

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Suite:
        """From Snakemake's `config`; `seeds` may be a number, a list or text such as "0 1 2",
        `tables` names of groups, `chapters` file names of chapters without suffix.

        Raises ConfigError.
        """
        known = {"data", "preset", "recipe", "seeds", "overrides", "tables", "chapters"}
        if unknown := sorted(set(config) - known):
            raise ConfigError(
                f"unknown config key {unknown[0]!r}; the suite takes {', '.join(sorted(known))}"
            )

        try:
            numbers = tuple(int(seed) for seed in _words(config.get("seeds", 0)))
        except ValueError:
            raise ConfigError(f"seeds must be whole numbers, got {config['seeds']!r}") from None

        texts = {key: str(config[key]) for key in ("data", "preset", "recipe") if key in config}

        tables = tuple(_words(config.get("tables", suite_groups())))
        for table in tables:
            if measure_of(table).stage != "finetune":
                raise ConfigError(
                    f"the suite trains no rows of {table}: each is a call of m2v "
                    f"{measure_of(table).stage}"
                )

        return Suite(
            **texts,
            seeds=numbers or (0,),
            overrides=dict(config.get("overrides") or {}),
            tables=tables,
            chapters=tuple(_words(config.get("chapters", ()))),
        )

    def experiment(self, row: Row, seed: int) -> Experiment:
        changes = {**(self.overrides or {}), "run.seed": seed}
        return row.experiment(
            data=self.data, preset=self.preset, recipe=self.recipe, overrides=changes
        )

    def parameters(self, seed: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
        merged = {**(self.overrides or {}), **overrides}
        return {
            "preset": self.preset,
            "recipe": self.recipe,
            "data": self.data,
            "seed": seed,
            "overrides": merged,
        }


def _words(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else str(given).replace(",", " ").split()


def jobs(suite: Suite, folder: Path) -> list[Job]:
    """All jobs of the suite over the notebooks in `folder`, in an order in which they could run."""
    trained = [row for table in suite.tables for row in rows(table)]
    pretraining, finetuning = _training_jobs(suite, trained)
    begun = {name for job in finetuning for name in job.needs}
    last = [job.name for job in (*pretraining, *finetuning) if job.name not in begun]
    return [*pretraining, *finetuning, *_chapter_jobs(suite, folder, tuple(last))]


def _training_jobs(suite: Suite, trained: Iterable[Row]) -> tuple[list[Job], list[Job]]:
    """Rows that would train the same thing share one job: it is named after the first and
    labelled with all.
    """
    pretraining: dict[str, Job] = {}
    finetuning: dict[str, Job] = {}
    for seed in suite.seeds:
        for row in trained:
            exp = suite.experiment(row, seed)
            parameters = suite.parameters(seed, row.overrides_at(suite.preset)) | {
                "recipe": exp.recipe
            }

            needs: tuple[str, ...] = ()
            if exp.finetune.init == "pretrained":
                needs = (
                    _share(
                        pretraining, exp.run_name("pretrain"), PRETRAIN, row, seed, parameters
                    ).name,
                )

            if row.stage == "finetune":
                _share(finetuning, exp.run_name("finetune"), FINETUNE, row, seed, parameters, needs)

    return list(pretraining.values()), list(finetuning.values())


def _share(
    known: dict[str, Job],
    run_name: str,
    notebook: str,
    row: Row,
    seed: int,
    parameters: dict[str, Any],
    needs: tuple[str, ...] = (),
) -> Job:
    label = short_label(row, parameters["preset"])
    if run_name in known:
        job = known[run_name]
        label = f"{job.label.removesuffix(f', seed {seed}')}; {label}, seed {seed}"
        known[run_name] = Job(job.name, job.notebook, job.kind, label, job.parameters, job.needs)
    else:
        kind = notebook.partition("_")[2]
        name, label = f"{notebook}-{row.name}-s{seed}", f"{label}, seed {seed}"
        known[run_name] = Job(name, f"{notebook}.ipynb", kind, label, parameters, needs)

    return known[run_name]


def short_label(row: Row, preset: str) -> str:
    """The row's label without what it explains in brackets: short enough for a side bar."""
    return row.label_at(preset).partition(" (")[0]


def _chapter_jobs(suite: Suite, folder: Path, trained: tuple[str, ...]) -> list[Job]:
    chapters = []
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    for name in suite.chapters:
        require_known("chapter", name, {path.stem: path for path in paths})

    for path in paths:
        if path.stem in (PRETRAIN, FINETUNE):
            continue
        if suite.chapters and path.stem not in suite.chapters:
            continue

        declared = declared_parameters(path)
        offered: dict[str, Any] = {}
        if OWN_DATA.get(path.stem, suite.data) == suite.data:
            offered = {**suite.parameters(suite.seeds[0], {}), "seeds": list(suite.seeds)}
        parameters = {key: value for key, value in offered.items() if key in declared}
        is_result = int(path.name[:2]) >= FIRST_RESULT
        kind = "result" if is_result else "chapter"
        chapters.append(
            Job(path.stem, path.name, kind, "", parameters, trained if is_result else ())
        )

    return chapters


def plan(suite: Suite, folder: Path) -> dict[str, Any]:
    """The suite and its jobs as plain data, as written to `suite.json` beside the executed
    notebooks.
    """
    asked = {**asdict(suite), "seeds": list(suite.seeds), "overrides": dict(suite.overrides or {})}
    asked |= {"tables": list(suite.tables), "chapters": list(suite.chapters)}
    return {
        "schema": 1,
        "name": suite.name,
        **asked,
        "jobs": [asdict(job) for job in jobs(suite, folder)],
    }
