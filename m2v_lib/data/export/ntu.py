"""A lifting store's videos as NTU RGB+D 60's file: ``ntu60_hrnet.pkl`` in the layout it is
passed around in.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from m2v_lib.data.actions import ntu_layout
from m2v_lib.data.sources.ntu import FILE_NAME, LABEL_MAP
from m2v_lib.data.store import Store
from m2v_lib.runs.records import write_stream, write_text


def export(store: Store, out: Path) -> list[Path]:
    """Write the pickle, and ``label_map.txt`` with the names of its labels; returns both paths.

    Keys, shapes and types are the published ones: keypoints and scores are float16, so a
    keypoint is rounded to half a pixel in an image of 1000. Root, spine and neck are not in the
    file; eyes and ears are placed (``h36m_to_coco``).
    """
    content, classes = ntu_layout(store)
    annotations = [_published(sample) for sample in content["annotations"]]
    pickled, names = Path(out) / FILE_NAME, Path(out) / LABEL_MAP
    table = {"split": content["split"], "annotations": annotations}
    write_stream(pickled, lambda stream: pickle.dump(table, stream, protocol=4))
    write_text(names, "".join(f"{name}\n" for name in classes))

    return [pickled, names]


def _published(sample: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.astype(np.float16) if isinstance(value, np.ndarray) else value
        for key, value in sample.items()
    }
