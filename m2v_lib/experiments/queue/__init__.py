"""The real runs wanted on motion capture: what is done, what comes next, with which command and
about how long.

`wanted.yaml` says which rows of `experiments.yaml` and seeds are wanted in which order, and a
preset's step budget. Runs that several rows share are one item; a finished run's record is kept
under `reports/records/`.
"""

from m2v_lib.experiments.queue.wanted import budget as budget
from m2v_lib.experiments.queue.wanted import items as items
