"""`load_baseline`: whose file it is, which settings it takes, in which unit outputs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from m2v_lib.config import ConfigError
from m2v_lib.evaluation.protocols import predict
from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.depth_refinement import PoseRefinement
from m2v_lib.models.registry import model_class, model_names
from m2v_lib.models.systems.convolution.simplebaseline import SimpleBaseline
from m2v_lib.models.systems.convolution.srnet import SRNet
from m2v_lib.models.systems.convolution.videopose3d import VideoPose3D
from m2v_lib.models.systems.transformer.paa import PAA
from m2v_lib.models.systems.transformer.poseformer import PoseFormer, Settings
from m2v_lib.models.systems.transformer.pstmo import PStmo
from m2v_lib.models.systems.transformer.strided_transformer import StridedTransformer

TINY = Settings(n_frames=3, dim_per_joint=4, n_layers=1, n_heads=2)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def fresh(made_by: type[Lifter], **settings: Any) -> Lifter:
    torch.manual_seed(0)
    return made_by(made_by.Settings(**settings)).eval()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    weights = PoseFormer(TINY).state_dict()
    weights["head.1.bias"][4] = float("nan")
    path = saved(tmp_path / "a.bin", {"model_pos": weights})
    with pytest.raises(ValueError, match="weights must be finite, got 1 not, first head.1.bias"):
        load_baseline("poseformer", path, n_heads=2)


def test_settings_that_do_not_fit_are_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.bin", {"model_pos": PoseFormer(TINY).state_dict()})
    with pytest.raises(ValueError, match="of another shape, first"):
        load_baseline("poseformer", path, dim_per_joint=10**6, n_heads=2)
    with pytest.raises(ValueError, match="cannot be cut into 3 equal heads"):
        load_baseline("poseformer", path, n_heads=3)
    with pytest.raises(ValueError, match="n_hats"):
        load_baseline("poseformer", path, n_hats=2)


def test_files_without_the_layout_are_refused(tmp_path: Path) -> None:
    without_the_rest = {"model_pos": {"Spatial_pos_embed": torch.ones(2)}}
    contents: list[Any] = [{"model": {}}, [1, 2], 7, without_the_rest]
    for content in contents:
        path = saved(tmp_path / "a.bin", content)
        with pytest.raises(ValueError, match="a.bin: is no file of poseformer's authors"):
            load_baseline("poseformer", path)


def test_the_papers_own_network_has_another_door(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.bin", {"model": {}})
    with pytest.raises(ConfigError, match="^dual_stream has no authors' files that are read here"):
        load_baseline("dual_stream", path)


@pytest.mark.parametrize("name", ["no_such", "base", "../mixste", "layers.transformer"])
def test_unknown_models_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="unknown model"):
        load_baseline(name, tmp_path / "a.bin")


# --- settings ---------------------------------------------------------------------------------


def test_settings_that_a_system_has_not_name_those_it_has(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.bin", {"model_pos": fresh(SRNet, n_frames=9, dim=32).state_dict()})
    with pytest.raises(ValueError, match="^srnet has no setting 'groups'; it has .*parts, recomb"):
        load_baseline("srnet", path, groups=5)
    with pytest.raises(ValueError, match="^form must be one of .*; got 'strid'"):
        load_baseline("srnet", path, form="strid")
    with pytest.raises(ValueError, match=r"^causal must be bool, got 1 \(int\)"):
        load_baseline("srnet", path, causal=1)
    with pytest.raises(ValueError, match="^srnet has no setting 'dictionary'"):
        load_baseline("srnet", path, dictionary=torch.ones(1))
    with pytest.raises(ValueError, match="^srnet has no refinement"):
        load_baseline("srnet", path, refine=path)


def test_lists_are_taken_as_lists(tmp_path: Path) -> None:
    model = fresh(VideoPose3D, n_frames=15, filter_widths="3,5", dim=4)
    path = saved(tmp_path / "a.bin", {"model_pos": model.state_dict()})
    assert load_baseline("videopose3d", path, filter_widths=(3, 5)).settings == model.settings
    with pytest.raises(ValueError, match="a.bin: .* under filter_widths=5,5 .*product n_frames=15"):
        load_baseline("videopose3d", path, filter_widths=[5, 5])


def test_kernels_of_two_nets_need_a_form(tmp_path: Path) -> None:
    dense = fresh(VideoPose3D, n_frames=27, dim=4, form="dense")
    wide = fresh(VideoPose3D, n_frames=3 * 7 * 19, filter_widths="3,7,19", dim=4)
    for model in (dense, wide):
        path = saved(tmp_path / "a.bin", {"model_pos": model.state_dict()})
        with pytest.raises(ValueError, match=r"\[3, 7, 19\] are a dense net's of .*form must be"):
            load_baseline("videopose3d", path)
        form: Any = model.settings
        assert load_baseline("videopose3d", path, form=form.form).settings == model.settings

    path = saved(tmp_path / "b.bin", {"model_pos": fresh(VideoPose3D, n_frames=9).state_dict()})
    with pytest.raises(ValueError, match=r"\[3, 3\] are no dense net's"):
        load_baseline("videopose3d", path, form="dense")


# --- what a file lacks ------------------------------------------------------------------------


def test_batch_norms_counters_may_be_missing(tmp_path: Path) -> None:
    model = fresh(VideoPose3D, n_frames=9, dim=4)
    weights = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    path = saved(tmp_path / "a.bin", {"model_pos": weights})

    loaded = load_baseline("videopose3d", path)

    assert loaded.n_matched == len(weights) < len(model.state_dict())
    x_BTJ2 = torch.randn(2, 9, 17, 2)
    assert torch.equal(loaded(x_BTJ2), model(x_BTJ2))

    del weights["expand_bn.running_mean"]
    path = saved(tmp_path / "a.bin", {"model_pos": weights})
    with pytest.raises(ValueError, match="1 missing, first expand_bn.running_mean"):
        load_baseline("videopose3d", path)


def test_statistics_of_another_file_count_for_nothing(tmp_path: Path) -> None:
    model = fresh(SimpleBaseline, dim=8)
    weights = {k: v for k, v in model.state_dict().items() if "put_" not in k}
    loaded = load_baseline("simplebaseline", saved(tmp_path / "a.tar", {"state_dict": weights}))
    assert loaded.n_matched == len(weights) == len(model.state_dict()) - 4
    assert (loaded.get_buffer("output_std") == 1).all()


def test_a_dictionary_is_for_a_file_without_one(tmp_path: Path) -> None:
    model = fresh(PAA, n_frames=9, dim=8, n_poses=20, dictionary="poses")
    weights = model.state_dict()
    without = {k: v for k, v in weights.items() if k != "seed"}
    poses_SJ3 = torch.randn(20, 17, 3)
    path = saved(tmp_path / "a.bin", {"model_pos": without})

    loaded = load_baseline("paa", path, n_frames=9, dictionary=poses_SJ3)

    assert torch.equal(loaded.state_dict()["seed"], poses_SJ3)
    assert loaded.n_matched == len(without)
    with pytest.raises(ValueError, match="^dictionary must be a tensor, got str"):
        load_baseline("paa", path, n_frames=9, dictionary="poses")
    with pytest.raises(ValueError, match=r"dictionary must be \(S, 17, 3\), got \(20, 51\)"):
        load_baseline("paa", path, n_frames=9, dictionary=poses_SJ3.flatten(1))
    with pytest.raises(ValueError, match="give one, dictionary="):
        load_baseline("paa", path, n_frames=9)
    with pytest.raises(ValueError, match="a dictionary of its own, so none can be given"):
        path = saved(tmp_path / "b.bin", {"model_pos": weights})
        load_baseline("paa", path, n_frames=9, dictionary=poses_SJ3)


@pytest.mark.parametrize(
    ("name", "made_by"), [("strided_transformer", StridedTransformer), ("pstmo", PStmo)]
)
def test_refinement_file(tmp_path: Path, name: str, made_by: type[Lifter]) -> None:
    model = fresh(made_by, n_frames=27, dim=16, dim_ff=16)
    path = saved(tmp_path / "no_refine_1_4500.pth", model.state_dict())
    torch.manual_seed(1)
    second = PoseRefinement().eval()
    named = {f"module.{k}": v for k, v in second.state_dict().items()}
    refine = saved(tmp_path / "refine_1_4400.pth", named)

    loaded: Any = load_baseline(name, path, refine=refine)
    pose_B1J3, other_B1J3 = torch.randn(2, 1, 17, 3), torch.randn(2, 1, 17, 3)
    expected = second(pose_B1J3, other_B1J3)
    assert torch.equal(loaded.refined(pose_B1J3, other_B1J3), expected)

    bare: Any = load_baseline(name, path)
    with pytest.raises(ValueError, match="refined needs load_baseline"):
        bare.refined(pose_B1J3, other_B1J3)
    with pytest.raises(ValueError, match="no_refine_1_4500.pth: is no refinement file"):
        load_baseline(name, path, refine=path)


# --- units ------------------------------------------------------------------------------------


UNITS = {"simplebaseline": "z-scores", "motionbert": "image units"}


@pytest.mark.parametrize("name", [n for n in model_names() if n != "dual_stream"])
def test_units_of_authors_weights(name: str) -> None:
    made_by = model_class(name)
    assert made_by.authors_unit(made_by.Settings()) == UNITS.get(name, "metres")
    assert made_by.output_unit == "image units"


def test_the_page_says_unit_and_root_of_every_system() -> None:
    page = Path(__file__).parents[2] / "docs" / "authors_weights.md"
    lines = [line.split(" | ") for line in page.read_text("utf-8").splitlines() if line[:2] == "| "]
    said = {
        cells[0].strip("|` "): [cells[i].split(",")[0].split(";")[0] for i in (2, 3)]
        for cells in lines
    }
    roots = {"zero": "0", "as predicted": "as predicted"}
    others = [name for name in model_names() if name != "dual_stream"]
    assert {name: said.get(name) for name in others} == {
        name: [UNITS.get(name, "metres"), roots[model_class(name).root_in_figure]]
        for name in others
    }


def test_files_of_3dhp_are_in_millimetres() -> None:
    assert PStmo.authors_unit(PStmo.Settings(n_frames=81)) == "millimetres"


def test_outputs_in_another_unit_are_not_evaluated(tmp_path: Path) -> None:
    """Metres would pass for image units, and the errors in millimetres be wrong."""
    model = PoseFormer(TINY).eval()
    x_BTJ3 = torch.randn(2, 3, 17, 3)
    assert predict(model, x_BTJ3).shape == (2, 1, 17, 3)

    path = saved(tmp_path / "a.bin", {"model_pos": model.state_dict()})
    loaded = load_baseline("poseformer", path, n_heads=2)
    assert loaded.output_unit == "metres"
    with pytest.raises(ValueError, match="weights give metres, .* must be in image units"):
        predict(loaded, x_BTJ3)
