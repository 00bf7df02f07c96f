"""Files of the repository that lie outside the package and travel in its wheel (setup.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]
#: Where a wheel has them, below the package.
FOLDER: Final = "shipped"


def shipped(name: str) -> Path:
    """`notebooks` or `CITATION.cff`: of the wheel, else of the checkout that the package is in.
    Raises FileNotFoundError.
    """
    for root in (_PACKAGE / FOLDER, _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is neither in this installation of m2v_lib nor beside it")
