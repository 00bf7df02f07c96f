"""Examples at the end of each command's `--help`."""

from __future__ import annotations

import argparse
from typing import Final

#: Command -> lines of a call and what it does, two blanks or more between.
EXAMPLES: Final = {
    "data prepare": """
m2v data prepare synthetic                       generated motion: seconds, no download
m2v data prepare mocap                           motion capture, from $M2V_DATA or data/
m2v data prepare h36m --source data_3d_h36m.npz data_2d_h36m_gt.npz""",
    "data export": "m2v data export synthetic --as h36m-sh -o exported",
    "data list": "m2v data list",
    "data verify": "m2v data verify synthetic",
    "pretrain": "m2v pretrain --preset smoke --data synthetic",
    "finetune": """
m2v finetune --preset smoke --data synthetic
m2v finetune --preset compact --data mocap --set model.name=mixste --set run.max_steps=500
m2v finetune --preset base --data mocap --device cuda --set run.tensorboard=true""",
    "action": "m2v action --preset smoke --data ntu60 --set action.split=xview",
    "train": """
m2v train table8/2 --preset smoke --data synthetic    a row of Table VIII, in a minute
m2v train table5/7 --preset compact --data mocap --seed 1 --max-minutes 50""",
    "range-test": """
m2v range-test --preset smoke --data synthetic
m2v range-test --preset compact --data mocap --set optim.algorithm=adamw""",
    "rows": """
m2v rows                                         all named experiments
m2v rows table8                                  those of a table""",
    "settings": """
m2v settings model.dim                           meaning, default, value by preset
m2v settings finetune""",
    "runs": """
m2v runs                                         every finished run, with its rows
m2v runs --row table8/2                          the runs behind a row""",
    "runs show": "m2v runs show e5e1fc58                           part of its name does",
    "runs tensorboard": "m2v runs tensorboard e5e1fc58 c30169ee -o events    then: tensorboard "
    "--logdir events",
    "compare": """
m2v compare e5e1fc58 c30169ee                    settings, numbers, actions, curves, a test
m2v compare 995f6de9-s0 995f6de9-s1 995f6de9-s2  the seeds of one row""",
    "table": """
m2v table table5                                 what is printed and what was measured
m2v table table8 --as latex                      for a paper; needs the package booktabs
m2v table leaderboard --as csv                   for a spreadsheet; the last column names runs
m2v table table8 --suite synthetic-smoke-paper   the runs of a suite instead""",
    "cite": """
m2v cite table8/2                                what stands behind the measured number
m2v cite 995f6de9-s0                             the same of one run
m2v cite                                         BibTeX of the paper and of this software""",
    "chapters": "m2v chapters course                              then: jupyter lab course",
    "evaluate": """
m2v evaluate reports/runs/finetune-synthetic-smoke-paper-XXXXXXXX-s0
m2v evaluate RUN --data mocap --cameras grid""",
    "rerun": "m2v rerun reports/records/finetune-mocap-small-paper-995f6de9-s0",
    "queue": """
m2v queue --preset compact                         what is done, what comes next, how long
m2v queue --preset compact --run --max-minutes 60""",
    "records import": "m2v records import records.zip",
    "notebook": "m2v notebook notebooks/40_finetune.ipynb out.ipynb -p preset=smoke -p seed=1",
    "report": """
m2v report                                       the suite that ran last
m2v report --suite synthetic-smoke-paper""",
    "lift": """
m2v lift keypoints.json -o out.html --size 1280x720 --fps 25
m2v lift keypoints.json -o out.bvh out.npz --size 1280x720 --fps 25 --stature 1.82
m2v lift video.mp4 -o out.html                   needs a detector: make video""",
    "export": "m2v export --onnx model.onnx",
    "bench": "m2v bench --preset smoke --quick",
}


def add_examples(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> None:
    """Put each command's examples at the end of its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                add_examples(command, (*words, name))

    if text := EXAMPLES.get(" ".join(words)):
        lines = [f"  {line}" for line in text.strip().splitlines()]
        parser.epilog = "\n".join(["examples:" if len(lines) > 1 else "example:", *lines])
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
