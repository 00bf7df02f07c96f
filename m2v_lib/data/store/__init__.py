"""The on-disk format that all data ends in: memory-mapped splits beside a ``meta.json``."""

from m2v_lib.data.checks import DataError, Video
from m2v_lib.data.store.folders import store_folder, swap_in
from m2v_lib.data.store.pose_store import (
    CAMERA_SPACE,
    GROUND_TRUTH,
    SPLITS,
    Meta,
    SplitName,
    Store,
    default_root,
    list_stores,
    open_store,
    skeleton_entries,
    write_store,
)
from m2v_lib.data.store.split import (
    ARRAYS,
    LABELS,
    MAX_CONFIDENCE,
    Split,
    check_split,
    no_labels,
)

__all__ = [
    "ARRAYS",
    "CAMERA_SPACE",
    "GROUND_TRUTH",
    "LABELS",
    "MAX_CONFIDENCE",
    "SPLITS",
    "DataError",
    "Meta",
    "Split",
    "SplitName",
    "Store",
    "Video",
    "check_split",
    "default_root",
    "list_stores",
    "no_labels",
    "open_store",
    "skeleton_entries",
    "store_folder",
    "swap_in",
    "write_store",
]
