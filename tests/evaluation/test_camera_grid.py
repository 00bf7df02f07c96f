"""The grid of cameras: which cells there are, that they stand where they say, and that a model
that knows the answer makes no error in any of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from m2v_lib import cli
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data import prepare
from m2v_lib.data.projection import seen_by, to_image_and_depth
from m2v_lib.data.sources.packs import write_pack
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import Store, open_store
from m2v_lib.data.views import Views
from m2v_lib.evaluation import camera_grid
from m2v_lib.evaluation.camera_grid import Cell, cell_cameras, evaluate_grid, grid, grid_views

DATA = Experiment.preset("smoke").data


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("home")
    plan = Plan(n_train=2, n_test=1, n_frames=80, styles=("walk", "wave", "jump"))
    file = write_pack(root / "pack.npz", make_pack(plan))
    options: dict[str, Any] = {"test_subjects": ["SYN_3"], "val_subjects": ["SYN_2"]}
    prepare("people", root=root / "stores", source=file, **options)
    return open_store("people", root / "stores")


class Replay(nn.Module):
    """Gives the labels it was shown beforehand, off by so much along x; the root stays."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))
        self.labels: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.labels.pop(0) + self.off * torch.tensor([1.0, 0, 0])


def test_the_cells_are_those_in_which_a_person_fits() -> None:
    cells = grid()
    assert len(cells) == 48 == len(set(cells))
    assert Cell(1.5, 2.0, 35.0, 0.0) not in cells and Cell(1.5, 2.0, 60.0, 30.0) in cells
    assert all(2 * c.distance * math.tan(math.radians(c.view) / 2) >= 1.8 for c in cells)


def test_cameras_stand_where_their_cell_says(store: Store) -> None:
    views = grid_views(store, DATA, 9)
    world = views.world_nJ3[views.index_WT]
    for cell in grid():
        cameras = cell_cameras(world, views.floor_W, cell)
        above = cameras.T[:, 2] - views.floor_W
        torch.testing.assert_close(above, torch.full_like(above, 1000 * cell.height))
        tangent = cameras.size[:, 0] / 2 / cameras.f[:, 0]
        assert math.degrees(2 * math.atan(tangent[0])) == pytest.approx(cell.view, abs=1e-3)
        label, _ = to_image_and_depth(world, cameras)
        assert (label[..., :2] > 0).all() and (label[..., :2] < 1000).all()
        assert seen_by(world, cameras)[..., 2].min() > 300
    distant = cell_cameras(world, views.floor_W, Cell(1.5, 10.0, 90.0, 0.0))
    assert camera_grid._stood(world, distant) == pytest.approx(10.0, abs=0.01)
    directions = distant.R[:, :2, 2]
    assert (directions @ directions.T).min() < -0.5  # from all around


def test_a_known_error_comes_out_in_millimetres(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off by a hundredth of half the image at every joint but the root."""
    views = grid_views(store, DATA, 9, n_windows=8)
    model = Replay(0.01)
    factors = []
    seen = Views.seen

    def remembered(self: Views, world: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
        x, y = seen(self, world, *args)
        model.labels += [y]
        factors.append(float(to_image_and_depth(world, args[0])[1].mean()) * 500)
        return x, y

    monkeypatch.setattr(Views, "seen", remembered)
    monkeypatch.setattr(camera_grid, "Lifter", _NotFramed)
    found = evaluate_grid(model, views, flip_test=False)
    for cell, factor in zip(found["cells"], factors[1:], strict=True):
        assert cell["as_seen"] == pytest.approx(0.01 * factor * 16 / 17, rel=1e-3)
    summary = found["as_seen"]
    assert summary["worst"]["distance"] == 10.0 and summary["worst"]["view"] == 90.0
    assert summary["worst_over_best"] == pytest.approx(
        summary["worst"]["as_seen"] / summary["best"]["as_seen"]
    )
    assert "on_others" not in summary
    near, far = summary["along"]["distance"]["2"], summary["along"]["distance"]["10"]
    assert near < far and found["n_frames"] == 8 * 9


def test_the_extremes_are_measured_again_on_windows_that_did_not_choose_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that is right, the best and the worst cell are chance alone."""
    every = grid_views(store, DATA, 9, n_windows=10**6).index_WT
    chosen = grid_views(store, DATA, 9, n_windows=4)
    monkeypatch.setattr(camera_grid, "N_WINDOWS", 4)
    others = grid_views(store, DATA, 9, others=True)
    rows = [tuple(row) for views in (chosen, others) for row in views.index_WT.tolist()]
    assert sorted(rows) == sorted(tuple(row) for row in every.tolist())
    assert not len(grid_views(store, DATA, 9, n_windows=10**6, others=True).index_WT)

    measured = []

    def remembered(
        ways: Any, views: Views, world: Tensor, cameras: Any, *args: Any, **kw: Any
    ) -> Any:
        measured.append((views is others, float(cameras.T[0, 2] - views.floor_W[0]) / 1000))
        return {way: 1.0 + len(measured) for way in ways}

    monkeypatch.setattr(camera_grid, "_errors", remembered)
    found = evaluate_grid(Replay(0.0), chosen, others, flip_test=False)
    assert [again for again, _ in measured[-5:]] == [False, True, True, True, True]
    heights = [found["as_seen"][name]["height"] for name in ("best", "worst")]
    assert [height for _, height in measured[-4:]] == pytest.approx(heights * 2, abs=1e-3)
    assert heights == [0.3, 4.0]  # the first cell and the last, as the errors here grow


class _NotFramed:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def windows(self, seen: Any, image: Any) -> Any:
        return seen


def test_the_command_repeats_itself_and_frames_hide_the_distance(
    store: Store,
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from m2v_lib.training.finetune import finetune

    monkeypatch.setenv("M2V_STORE", str(store.path.parent))
    monkeypatch.setattr(camera_grid, "N_WINDOWS", 3)
    run = finetune(tiny_experiment("paper", {"data.name": "people"}), tmp_path)
    capsys.readouterr()
    said = []
    for split in ("test", "test", "val"):
        arguments = ["evaluate", str(run), "--cameras", "grid", "--split", split]
        assert cli.main(arguments) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1] != said[2]
    assert len(said[0]["cells"]) == 48 and said[0]["data"]["name"] == "people"
    others = said[0]["as_seen"]["on_others"]
    assert others["best"] != said[0]["as_seen"]["best"]["as_seen"]
    assert others["worst_over_best"] == pytest.approx(others["worst"] / others["best"])
    assert {"as_seen", "framed"} <= said[0].keys() and said[0]["framed"]["own_cameras"] > 0


def test_a_store_without_validation_subjects_is_refused(store: Store, tmp_path: Path) -> None:
    pack = make_pack(Plan(n_train=1, n_test=1, n_frames=20, styles=("walk",)))
    file = write_pack(tmp_path / "pack.npz", pack)
    prepare("bare", root=tmp_path, source=file, test_subjects=["SYN_2"])
    with pytest.raises(ConfigError, match="bare: the store names no validation subjects"):
        grid_views(open_store("bare", tmp_path), DATA, 9, split="val")
