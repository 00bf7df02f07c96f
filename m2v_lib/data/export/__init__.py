"""Stores written in the files and layouts their data sets are passed around in, to check code
against ours.
"""

from __future__ import annotations

import importlib
import inspect
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.store import open_store

#: layout -> module of this package and its function ``export(store, out, **options) -> files
#: written``
FORMS: Final = {
    "h36m-sh": ("h36m", "export_pickle"),
    "h36m-clips": ("h36m", "export_clips"),
    "h36m-npz": ("h36m", "export_npz"),
    "3dhp": ("mpi_inf_3dhp", "export"),
    "ntu60": ("ntu", "export"),
}


def export_store(
    name: str, form: str, out: Path | str, *, root: Path | None = None, **options: Any
) -> list[Path]:
    """Write the store of a name into the folder ``out`` in the layout ``form``; returns the
    files. Raises DataError.
    """
    if form not in FORMS:
        raise DataError(f"there is no layout {form!r}, expected one of {', '.join(FORMS)}")

    module, function = FORMS[form]
    export = getattr(importlib.import_module(f"{__name__}.{module}"), function)

    known = list(inspect.signature(export).parameters)[2:]
    if unknown := [key for key in options if key not in known]:
        takes = f"takes {', '.join(known)}" if known else "takes none"
        raise DataError(f"{form}: there is no option {unknown[0]!r}, this layout {takes}")

    return export(open_store(name, root), Path(out), **options)


def export_to_new_folder(name: str, form: str, out: Path, **options: Any) -> list[Path]:
    """`export_store` into a folder that is new or empty, which is there whole or not at all: it is
    written beside, under a hidden name, and renamed.
    """
    check_new_folder(out)
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=parent) as work:
            new = Path(work) / "new"
            files = export_store(name, form, new, **options)
            _move(new, out)
    except OSError as error:
        raise DataError(f"{out}: could not be written ({error.strerror or error})") from error

    return [out / file.relative_to(new) for file in files]


def _move(new: Path, out: Path) -> None:
    """Rename a folder; into an empty one, in which somebody may stand, what it holds."""
    if not out.exists():
        os.replace(new, out)
        return
    for path in new.iterdir():
        os.replace(path, out / path.name)


def check_new_folder(out: Path) -> None:
    """Raise DataError where something is already: an export must not overwrite the data set it
    imitates.
    """
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise DataError(f"{out}: must be a new or an empty folder, nothing there is overwritten")
