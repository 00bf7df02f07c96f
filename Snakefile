"""The suite as a workflow: one rule a kind of notebook run, one job a table row and seed.

    snakemake --cores 2 --keep-going --config data=synthetic preset=smoke recipe=paper "seeds=0 1 2"

The config keys are the notebooks' papermill parameters. A job is done when its `.ok` file stands beside its executed
notebook; a failed job leaves the notebook and its status without one, so the book shows it in red and the next call
runs it again. On a cluster: `--workflow-profile profiles/slurm` (docs/cluster.md); each job is one `m2v notebook`
command.
"""

import json
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from m2v_lib.config import ConfigError
from m2v_lib.data.sources.mocap import PACK_FILE
from m2v_lib.data.store import default_root
from m2v_lib.runs.records import RESUME_EXIT_CODE, write_json
from m2v_lib.experiments.suite import Suite, plan

try:
    SUITE = Suite.from_config(config)
    PLAN = plan(SUITE, Path("notebooks"))
except ConfigError as error:
    raise WorkflowError(str(error)) from None  # one sentence, no traceback
JOBS = {job["name"]: job for job in PLAN["jobs"]}
EXECUTED = f"reports/executed/{SUITE.name}"
STORE = f"{default_root()}/{SUITE.data}/meta.json"
HELD = Path(os.environ.get("M2V_DATA") or "data", "cmu_mocap", PACK_FILE)
PACK = str(HELD if HELD.is_file() else Path("data/cmu_mocap", PACK_FILE))
if SUITE.data == "mocap" and not HELD.is_file():
    os.environ["M2V_DATA"] = str(Path("data").resolve())  # so the chapters find what is fetched
# Two single-threaded jobs side by side are faster than two that share the cores.
# Training that stopped at a checkpoint (its minutes are over, or SIGTERM) is run again, and goes on there; not where the
# whole job was interrupted. That waits for the checkpoint, so that `to be resumed` is said before the job is over.
RUN = (
    "stop=; trap stop=1 INT TERM; "
    f'code={RESUME_EXIT_CODE}; while [ "$code$stop" = {RESUME_EXIT_CODE} ]; do code=0; '
    "OMP_NUM_THREADS={threads} m2v notebook {input.notebook} {params.out} {params.arguments:q} || code=$?; "
    "done; [ $code -eq 0 ] && touch {output}"
)


def kind(*kinds):
    """A regular expression for the names of the jobs of these kinds."""
    return "|".join(name for name, job in JOBS.items() if job["kind"] in kinds) or "none"


def notebook(wildcards):
    return f"notebooks/{JOBS[wildcards.name]['notebook']}"


def needs(wildcards):
    return [f"{EXECUTED}/{name}.ok" for name in JOBS[wildcards.name]["needs"]]


def arguments(wildcards):
    given = JOBS[wildcards.name]["parameters"].items()
    return [word for key, value in given for word in ("-p", f"{key}={json.dumps(value)}")]


def out(wildcards):
    return f"{EXECUTED}/{wildcards.name}.ipynb"


rule all:
    input:
        "reports/html/index.html",
        expand(EXECUTED + "/{name}.ok", name=JOBS),  # a book of one table is no reason to stop
    localrule: True


rule plan:
    """What the suite is to run, so that the book can also show what never ran."""
    output:
        f"{EXECUTED}/suite.json",
    params:
        plan=json.dumps(PLAN, sort_keys=True),
    localrule: True
    run:
        write_json(Path(output[0]), json.loads(params.plan))


rule fetch:
    """Real motion capture from its publishers, where M2V_DATA does not hold it."""
    output:
        f"data/cmu_mocap/{PACK_FILE}",
    shell:
        "python data_scripts/fetch_cmu.py --data data"


rule prepare:
    input:
        ancient(PACK) if SUITE.data == "mocap" else [],
    output:
        STORE,
    params:
        source=f"--source {PACK}" if SUITE.data == "mocap" else "",
    shell:
        "m2v data prepare {SUITE.data} {params.source}"


rule pretrain:
    input:
        STORE,
        notebook=notebook,
    output:
        EXECUTED + "/{name}.ok",
    wildcard_constraints:
        name=kind("pretrain"),
    params:
        out=out,
        arguments=arguments,
    shell:
        RUN


use rule pretrain as finetune with:
    input:
        STORE,
        needs,
        notebook=notebook,
    wildcard_constraints:
        name=kind("finetune"),


use rule finetune as results with:
    wildcard_constraints:
        name=kind("result"),


use rule pretrain as chapter with:
    wildcard_constraints:
        name=kind("chapter"),


rule book:
    input:
        rules.plan.output,
        expand(EXECUTED + "/{name}.ok", name=JOBS),
    output:
        "reports/html/index.html",
    params:
        suite=SUITE.name,
    shell:
        "m2v report --suite {params.suite}"


onerror:
    # Something failed, so the rule above did not run: build the book all the same, with the failure in red.
    shell(f"m2v report --suite {SUITE.name}")
