"""Which folder a store may take: a new one, or that of an older store of the same name.

Nothing else is ever moved or deleted. A store replaces its older self by renaming: the older one
stands aside until the new one is in place, and then only the files that a store consists of are
removed, one by one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from m2v_lib.data.checks import DataError
from m2v_lib.data.limits import MAX_NAME_LENGTH
from m2v_lib.runs.locks import folder_lock

S = TypeVar("S")
#: what says of a store what it holds -> all files of such a store
DESCRIPTIONS: Final = {
    "meta.json": ("meta.json", "train.safetensors", "test.safetensors", "world.safetensors"),
    "actions.json": ("actions.json", "actions.safetensors"),
}
#: one part of a path that means the same on every system: no separator, no hidden file
NAME: Final = re.compile(r"\w[\w.+=@ -]*")


def check_store_name(name: object) -> str:
    """The name, if it can be that of a folder below the stores' root; DataError otherwise."""
    if not isinstance(name, str):
        raise DataError(f"store name must be text, got {type(name).__name__}")
    if len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name) or name.endswith((" ", ".")):
        shown = name.encode("unicode_escape").decode("ascii")[:60]
        raise DataError(
            f"store name must be one folder name of letters, digits and . _ + = @ -, got '{shown}'"
        )
    return name


def open_each(
    open_one: Callable[[str, Path], S],
    root: Path,
    description: str,
    on_damaged: Callable[[DataError], object] | None,
) -> list[S]:
    """The stores below `root` that have such a description, by name; the error of a damaged one goes
    to `on_damaged`, and is raised where that is None.
    """
    opened = []
    for path in sorted(root.glob(f"[!.]*/{description}")):
        try:
            opened.append(open_one(path.parent.name, root))
        except DataError as error:
            if on_damaged is None:
                raise
            on_damaged(error)
    return opened


def store_folder(root: Path, name: str) -> Path:
    """``<root>/<name>``, if a store of that name may be written there; DataError otherwise.

    Allowed are a folder that does not exist, an empty one, and a store of the same name.
    """
    target = Path(root) / check_store_name(name)
    if target.is_symlink():
        raise DataError(f"{target}: is a symbolic link, a store must be a folder of its own")
    if not target.exists():
        return target
    if not target.is_dir():
        raise DataError(f"{target}: is a file, choose another name for the store (--name)")
    if reason := _no_store(target, name):
        raise DataError(
            f"{target}: {reason}; it is left as it is, choose another name (--name) or M2V_STORE"
        )

    return target


@contextlib.contextmanager
def building_folder(root: Path, name: str) -> Iterator[Path]:
    """A new folder beside the store's, to build it in; gone at the end unless renamed. Others that
    write below the root wait, so that what lies there half-made is of killed processes and goes.
    """
    root.mkdir(parents=True, exist_ok=True)
    with folder_lock(root):
        bring_back(root, name)
        _remove_remains(root, name)
        building = Path(tempfile.mkdtemp(prefix=f".{name}-new-", dir=root))
        try:
            yield building
        finally:
            shutil.rmtree(building, ignore_errors=True)


def _remove_remains(root: Path, name: str) -> None:
    """Remove what killed processes left of the store: half-built ones, and the older self of one
    that is in its place.
    """
    kinds = "new-[a-z0-9_]+" + (r"|old-\d+" if (root / name).is_dir() else "")
    pattern = re.compile(rf"\.{re.escape(name)}-(?:{kinds})")
    for left in [path for path in root.iterdir() if pattern.fullmatch(path.name)]:
        remove_store(left)


def swap_in(building: Path, target: Path) -> None:
    """Rename ``building`` to ``target``; an older store of the name is moved aside first, and
    back if that fails. Raises DataError before anything is touched that is no store.
    """
    store_folder(target.parent, target.name)
    aside = target.with_name(f".{target.name}-old-{os.getpid()}")
    remove_store(aside)
    if target.exists():
        os.replace(target, aside)

    try:
        os.replace(building, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise

    remove_store(aside)


def bring_back(root: Path, name: str) -> None:
    """Undo a replacement that was killed half-way: the older store, left aside, takes its name
    again.
    """
    target = Path(root) / check_store_name(name)
    if target.exists() or target.is_symlink():
        return
    for aside in sorted(Path(root).glob(f".{name}-old-*")):
        if aside.is_dir() and not aside.is_symlink() and not _no_store(aside, name):
            os.replace(aside, target)
            return


def remove_store(folder: Path) -> None:
    """Remove a store's own files and then its folder, which stays where anything else is in it."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for name in {name for names in DESCRIPTIONS.values() for name in names}:
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _no_store(folder: Path, name: str) -> str:
    """Why a folder is no store of that name; empty if it is one, or holds nothing."""
    held = sorted(path.name for path in folder.iterdir())
    if not held:
        return ""

    description = next((file for file in DESCRIPTIONS if file in held), None)
    if description is None:
        return "exists and is no store"
    if foreign := [file for file in held if file not in DESCRIPTIONS[description]]:
        return f"holds {foreign[0][:60]!r}, which is no part of a store"
    if any((folder / file).is_symlink() or not (folder / file).is_file() for file in held):
        return "holds something other than plain files"
    if (found := _name_in(folder / description)) != name:
        return (
            "is a store whose description cannot be read"
            if found is None
            else f"is the store {found[:60]!r}"
        )

    return ""


def _name_in(description: Path) -> str | None:
    try:
        found = json.loads(description.read_text(encoding="utf-8"))["meta"]["name"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if isinstance(found, str) else None
