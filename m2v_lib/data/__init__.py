"""From motion to batches: cameras, 2D detector, readers of data sets and the store all of them
end in.

``prepare(name)`` makes a store under ``default_root()``; ``store.open_store(name)`` opens it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m2v_lib.data.foreign_values import check_source
from m2v_lib.data.sources.readers import READERS, find_sources, kind_of, sha256_of
from m2v_lib.data.store import SPLITS, DataError, check_split, default_root, open_store
from m2v_lib.data.store.action_store import (
    check_actions,
    is_action_store,
    open_action_store,
)
from m2v_lib.data.store.folders import bring_back, check_store_name, store_folder
from m2v_lib.data.store.world import check_world


def prepare(
    name: str,
    *,
    root: Path | str | None = None,
    source: Path | str | Sequence[Path | str] | None = None,
    kind: str | None = None,
    **options: Any,
) -> Path:
    """Make the store ``<root>/<name>`` and return its folder; an existing one of the same recipe
    is kept as it is.

    ``name`` is a kind of data (``readers.READERS``) or any name with a ``source``, whose kind is
    found by content. ``source`` is a file, a folder or several; without it the kind's known
    files are looked for under ``$M2V_DATA`` (else ``data``). ``options`` are the reader's own,
    such as ``test_subjects`` of "mocap". Errors are ``DataError``.
    """
    root = Path(root) if root else default_root()
    bring_back(root, name)
    store_folder(root, name)  # said before the work, not after
    given = (
        [Path(source)] if isinstance(source, Path | str) else [Path(path) for path in source or ()]
    )
    for path in (path for path in given if path.exists()):
        check_source(path, "files or folders of a data set")

    kind = kind or kind_of(name, given)
    if kind not in READERS:
        raise DataError(f"{name}: kind {kind!r} is not known, expected one of {', '.join(READERS)}")

    reader = READERS[kind]
    options = {key: _listed(key, value) for key, value in options.items() if value is not None}
    reader.check_options(kind, options)
    sources = find_sources(kind, given)
    recipe = _recipe(kind, sources, options, reader.version)
    if _recipe_of(root, name) == recipe:
        return root / name

    return reader.call(reader.function)(root, name, sources, recipe=recipe, **options)


def verify_store(name: str, root: Path | str | None = None) -> str:
    """Read a store whole and check it as if it were written anew; a sentence on what it holds.

    Raises DataError where contents and fingerprint differ, or a promise of the format is broken.
    """
    root = Path(root) if root else default_root()
    if is_action_store(check_store_name(name), root):
        actions = open_action_store(name, root)
        actions.verify()
        check_actions(actions.data(), name)
        return f"{actions.path}: as written, {len(actions.data())} samples"

    store = open_store(name, root)
    store.verify()

    counts = []
    for part in SPLITS:
        split = store.split(part)
        if store.meta.labelled or part == "train" or split.n_frames:
            where = f"{store.path}: split {part}"
            check_split(split, where, store.meta.joints, labelled=store.meta.labelled)
        counts.append(f"{split.n_frames} frames in {part}")

    if store.has_world:
        check_world(store.world(), f"{store.path}: world", store.meta.joints)

    return f"{store.path}: as written, {', '.join(counts)}"


def _listed(key: str, value: Any) -> Any:
    """One subject typed without brackets is a list of one."""
    return [value] if key.endswith("_subjects") and isinstance(value, str) else value


def _recipe(kind: str, sources: Sequence[Path], options: dict[str, Any], version: int) -> str:
    """sha256 over everything that decides what is in a store: kind, contents of the files,
    options, reader's version.
    """
    inputs = {
        "kind": kind,
        "sources": [sha256_of(path) for path in sources],
        "options": options,
        "version": version,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _recipe_of(root: Path, name: str) -> str | None:
    """The recipe of a store that is there and whole, else None."""
    try:
        if is_action_store(name, root):
            actions = open_action_store(name, root)
            actions.data()
            return actions.meta.recipe

        store = open_store(name, root)
        store.split("train"), store.split("test")
        if store.has_world:
            store.world()
        return store.meta.recipe
    except DataError:
        return None
