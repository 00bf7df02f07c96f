"""The example of CONTRIBUTING.md runs: a store of one's own skeleton, motion and cameras."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.data import verify_store
from m2v_lib.data.store import open_store

TEXT = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_example_writes_a_store_that_is_seen_by_its_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    (tmp_path / "mine3.yaml").write_text(
        re.findall(r"```yaml\n(name: mine3\n.*?)```", TEXT, re.S)[0]
    )
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "Camera(" in block
    )

    down = np.array(
        [[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]
    )  # the world's z is up, the camera's y down
    world = np.array([[[0.0, 0, 1000], [-100, 0, 950], [100, 0, 950]]]).repeat(8, axis=0)
    seen = np.full((8, 3, 2), 500.0)
    given = {"R": down, "T": np.array([0.0, -4000, 1000]), "f": np.array([1000.0, 1000.0])}
    given |= {"c": np.array([960.0, 540.0]), "k": np.zeros(3), "p": np.zeros(2)}
    exec(code, given | dict.fromkeys(("ann", "bob"), (world, seen, np.ones((8, 3)))))

    assert verify_store("mine").endswith("8 frames in train, 8 frames in test")
    split = open_store("mine").split("test")
    np.testing.assert_allclose(split.label_px[0, 1], [960 - 25, 540 + 12.5, 0], atol=1e-3)
    np.testing.assert_allclose(split.truth_mm[0, 2] - split.truth_mm[0, 0], [100, 50, 0], atol=1e-2)
