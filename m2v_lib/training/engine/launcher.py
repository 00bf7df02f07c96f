"""torch's elastic launcher, which ends with the process that started it, and whose processes end
with it.
"""

from __future__ import annotations

import os

from torch.distributed.run import main as launch_with_torch

from m2v_lib.runs.parents import PARENT, die_with_parent


def main() -> None:
    """As `python -m torch.distributed.run`, with the same options."""
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())
    launch_with_torch()


if __name__ == "__main__":
    main()
