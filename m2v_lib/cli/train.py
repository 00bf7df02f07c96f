"""`m2v pretrain`, `finetune`, `action`: one stage of one experiment; `train`: a named row;
`range-test`: learning rates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from m2v_lib.cli.options import add_experiment, experiment_of, pair
from m2v_lib.config import Experiment


def add(commands: Any) -> None:
    for name, text, command in (
        ("pretrain", "stage 1: predict a teacher's representations, or a system's own", _pretrain),
        ("finetune", "stage 2: lift 2D to 3D, then evaluate", _finetune),
        ("action", "action recognition: train the classifier, then evaluate", _action),
    ):
        stage = commands.add_parser(name, help=text)
        add_experiment(stage)
        stage.add_argument(
            "--keep-record", action="store_true", help="copy the run's record to reports/records"
        )
        stage.set_defaults(command=command)

    named = commands.add_parser("train", help="train a named row of a table, with what it needs")
    named.add_argument("row", metavar="TABLE/ROW", help="such as table5/2; `m2v rows` lists them")
    add_experiment(named)
    named.add_argument(
        "--keep-record", action="store_true", help="copy the run's record to reports/records"
    )
    named.set_defaults(command=_train)

    test = commands.add_parser(
        "range-test", help="a short run at a rising learning rate: from where to where it learns"
    )
    add_experiment(test)
    test.add_argument("--stage", choices=("pretrain", "finetune"), default="finetune")
    test.add_argument("--first", type=float, default=1e-5, metavar="RATE")
    test.add_argument("--last", type=float, default=0.3, metavar="RATE")
    test.add_argument("--steps", type=int, default=200, metavar="N")
    test.add_argument(
        "--keep-record", action="store_true", help="file it under reports/records/range-test"
    )
    test.set_defaults(command=_range_test)


def _train(args: argparse.Namespace) -> int:
    """Pre-train what the row starts from, if anything, then train the row's last stage."""
    from m2v_lib.experiments.rows import row_of

    row = row_of(args.row)
    asked = experiment_of(args)
    common = {key: value for key, value in asked.flat().items() if key.startswith("run.")}
    given = dict(pair(text) for text in args.settings)
    exp = row.experiment(
        data=asked.data.name,
        preset=asked.preset_name,
        recipe=asked.recipe,
        overrides={**common, **given},
    )
    stage = STAGES[row.stage]
    print(f"{args.row}: {row.label_at(asked.preset_name)}", flush=True)

    starts_pretrained = getattr(exp, row.stage).init if row.stage != "pretrain" else ""
    if starts_pretrained == "pretrained":
        from m2v_lib.training.pretrain import pretrain

        name = exp.action.pretrained_on if row.stage == "action" else ""
        pretrain(exp.override({"data.name": name}) if name else exp)

    return stage(args, exp)


def _range_test(args: argparse.Namespace) -> int:
    from m2v_lib.training.range_test import keep_range_test, range_test

    exp = experiment_of(args)
    found = range_test(exp, args.stage, first=args.first, last=args.last, steps=args.steps)
    print(*found.lines(), sep="\n")
    if args.keep_record:
        print(keep_range_test(found, exp, args.stage, Path("reports/records")))

    return 0


def _pretrain(args: argparse.Namespace, exp: Experiment | None = None) -> int:
    from m2v_lib.training.pretrain import pretrain

    exp = exp or experiment_of(args)
    note = _finished_before(exp, "pretrain")
    return _trained(args, pretrain(exp), *note)


def _finetune(args: argparse.Namespace, exp: Experiment | None = None) -> int:
    from m2v_lib.training.finetune import finetune

    exp = exp or experiment_of(args)
    note = _finished_before(exp, "finetune")
    folder = finetune(exp)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    test = result["test"]

    percent = f", PCK {test['pck']:.1f} %, AUC {test['auc']:.1f} %" if "pck" in test else ""
    return _trained(
        args,
        folder,
        *note,
        f"test MPJPE {test['mpjpe']:.1f} mm, P-MPJPE {test['p_mpjpe']:.1f} mm{percent}",
    )


def _action(args: argparse.Namespace, exp: Experiment | None = None) -> int:
    from m2v_lib.training.action import train_action

    exp = exp or experiment_of(args)
    note = _finished_before(exp, "action")
    folder = train_action(exp)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    test, floor = result["test"], result["baselines"]["majority"]
    protocol = {"xsub": "X-Sub", "xview": "X-View"}[result["data"]["split"]]
    said = f"{protocol} top-1 {test['top1']:.1f} %, top-5 {test['top5']:.1f} %"
    said += f"; always {floor['class']} would be {floor['top1']:.1f} %"
    return _trained(args, folder, *note, said)


def _finished_before(exp: Experiment, stage: str) -> list[str]:
    """Of a run that is there: that it will not be trained again, though code may have changed."""
    from m2v_lib.runs.records import runs_root

    folder = runs_root() / exp.run_name(stage)
    if not (folder / "result.json").exists():
        return []

    commit = json.loads((folder / "env.json").read_text(encoding="utf-8"))["commit"]
    return [f"trained before, at commit {commit[:12]}: delete the folder to train it again"]


def _trained(args: argparse.Namespace, folder: Path, *said: str) -> int:
    from m2v_lib.runs.records import keep_record
    from m2v_lib.training.engine.distributed import should_report

    if not should_report():
        return 0

    print(*said, folder, sep="\n")
    if args.keep_record:
        print(keep_record(folder, Path("reports/records")))

    return 0


STAGES = {"pretrain": _pretrain, "finetune": _finetune, "action": _action}
