"""`python -m m2v_lib.notebook.drawings`: draw everything anew into `notebooks/images`."""

from __future__ import annotations

from m2v_lib.notebook.drawings import write
from m2v_lib.runs.records import project_root

if __name__ == "__main__":
    for path in write(project_root() / "notebooks" / "images"):
        print(path)
