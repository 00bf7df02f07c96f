"""Checkpoints: whole or not at all, of the right model or refused by name; the authors' files,
read without trust.
"""

from __future__ import annotations

import errno
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.models import state_files as checkpoint
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.dual_stream.released import load_released
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import CheckpointError, load_weights, read_tensors, save_tensors
from m2v_lib.skeletons.h36m import H36M_FROM_MPI
from m2v_lib.training.checkpoint import load_checkpoint, transfer_encoder

T, DIM = 7, 16
SIZES = {
    "model.n_layers": 2,
    "model.dim": DIM,
    "model.n_heads": 8,
    "model.n_frames": T,
    "model.dim_rep": 12,
    "model.mlp_ratio": 3,
    "pretrain.target_layers": 1,
}


def released_model(seed: int = 0, changes: dict[str, Any] | None = None) -> DualStreamModel:
    """A released model with every value away from its start, so that nothing agrees by chance."""
    cfg = Experiment.preset("base", "released").override({**SIZES, **(changes or {})}).model
    model = build_model(cfg, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) * 0.4 + 0.1)
    return model.eval()


def authors_file(path: Path, state: dict[str, Tensor], **more: Any) -> Path:
    """The layout of the authors' training script, data-parallel names and a numpy number
    included.
    """
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))], lr=5e-4)
    content = {
        "epoch": 37,
        "lr": 3.4e-4,
        "optimizer": optimiser.state_dict(),
        "min_mpjpe": np.float64(38.4),
    }
    torch.save({**content, "model": {f"module.{k}": v for k, v in state.items()}, **more}, path)
    return path


def clip(model: DualStreamModel, seed: int = 5) -> Tensor:
    return torch.randn(2, model.cfg.n_frames, 17, 3, generator=torch.Generator().manual_seed(seed))


def sentence(act: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message


# Our own files


def test_tensors_and_state_come_back(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 4).T,
        "b": torch.tensor(7),
        "c": torch.ones(2, dtype=torch.float64),
    }
    save_tensors(
        tmp_path / "x.safetensors", tensors, {"step": 3, "best": float("inf"), "text": "é"}
    )
    back, state = read_tensors(tmp_path / "x.safetensors")
    assert back.keys() == tensors.keys() and all(torch.equal(back[k], tensors[k]) for k in tensors)
    assert back["c"].dtype == torch.float64
    assert state == {"step": 3, "best": float("inf"), "text": "é"}


def test_views_of_one_storage_are_saved_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    save_tensors(tmp_path / "x.safetensors", {"whole": whole, "part": whole[2:4]}, {})
    assert read_tensors(tmp_path / "x.safetensors")[0]["part"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left (os error 28)"),
    ],
)
def test_full_disk_keeps_the_older_checkpoint(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "checkpoint.safetensors"
    save_tensors(file, {"a": torch.ones(2)}, {"step": 1})

    def full(tensors: dict[str, Tensor], beside: Path, metadata: dict[str, str]) -> None:
        Path(beside).write_bytes(b"\x10\x00half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError) as caught:
        save_tensors(file, {"a": torch.zeros(2)}, {"step": 2})
    message = str(caught.value)
    assert str(file) in message and "No space left" in message and "\n" not in message
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    tensors, state = read_tensors(file)
    assert state == {"step": 1} and tensors["a"].tolist() == [1, 1]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    sentence(lambda: read_tensors(file), str(file))
    save_tensors(file, {"a": torch.ones(1000)}, {})
    file.write_bytes(file.read_bytes()[:-100])
    sentence(lambda: read_tensors(file), str(file))
    file.write_bytes(b"")
    sentence(lambda: read_tensors(file), str(file))


def test_another_size_names_the_tensor_and_both_shapes(tmp_path: Path) -> None:
    small, large = released_model(), released_model(changes={"model.dim": 32})
    sentence(
        lambda: load_weights(large, small.state_dict(), tmp_path / "w"),
        str(tmp_path / "w"),
        "joints_embed.bias is (16,), the model's is (32,)",
    )
    other_head = {**small.state_dict(), "head.weight": torch.zeros(3, 99)}
    sentence(
        lambda: load_weights(small, other_head, tmp_path / "w"),
        "head.weight is (3, 99), the model's is (3, 12)",
        "140 of 141 tensors match",
    )


def test_missing_and_unknown_tensors_are_named_and_nothing_is_loaded() -> None:
    model, other = released_model(0), released_model(3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = other.state_dict()
    state["extra.weight"] = state.pop("norm.bias")
    sentence(
        lambda: load_weights(model, state, Path("w")), "missing norm.bias", "unknown extra.weight"
    )
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_load_checkpoint_gives_the_model_and_its_experiment(tmp_path: Path) -> None:
    exp = Experiment.preset("smoke").override({"run.seed": 3, "optim.lr": 0.01})
    model = build_model(exp.model, seed=1)
    model.train()(torch.randn(2, 27, 17, 3))  # batch norm has seen something
    save_tensors(
        tmp_path / "weights.safetensors", model.state_dict(), {"experiment": exp.to_dict()}
    )
    for path in (tmp_path, tmp_path / "weights.safetensors"):
        loaded, found = load_checkpoint(path)
        assert found == exp and not loaded.training
        torch.testing.assert_close(loaded(clip(model)), model.eval()(clip(model)), rtol=0, atol=0)
    save_tensors(tmp_path / "bare.safetensors", model.state_dict(), {})
    sentence(
        lambda: load_checkpoint(tmp_path / "bare.safetensors"), "bare.safetensors", "experiment"
    )


def test_transfer_takes_the_encoder_and_leaves_the_head_fresh(tmp_path: Path) -> None:
    """Audit D7: embedding, positions, norm and blocks, with batch-norm buffers; rep_logit and
    head start anew.
    """
    exp = Experiment.preset("smoke")
    source, target = build_model(exp.model, seed=1), build_model(exp.model, seed=2)
    source.train()(torch.randn(4, 27, 17, 3))
    torch.nn.init.normal_(source.pos_embed)
    save_tensors(tmp_path / "w.safetensors", source.state_dict(), {})
    fresh = {k: v.clone() for k, v in target.state_dict().items()}
    copied = transfer_encoder(target, tmp_path / "w.safetensors")
    heads = {"rep_logit.fc.weight", "rep_logit.fc.bias", "head.weight", "head.bias"}
    assert copied == len(fresh) - len(heads)
    for name, value in target.state_dict().items():
        assert torch.equal(value, (fresh if name in heads else source.state_dict())[name]), name
    assert any(
        "running_mean" in name and value.any() for name, value in target.state_dict().items()
    )


def test_transfer_refuses_another_encoder(tmp_path: Path) -> None:
    exp = Experiment.preset("smoke")
    save_tensors(tmp_path / "w.safetensors", build_model(exp.model).state_dict(), {})
    wider = build_model(exp.override({"model.dim": 32}).model)
    sentence(
        lambda: transfer_encoder(wider, tmp_path / "w.safetensors"), "w.safetensors", "(16", "(32"
    )
    deeper = build_model(exp.override({"model.n_layers": 3}).model)
    sentence(lambda: transfer_encoder(deeper, tmp_path / "w.safetensors"), "missing layers.2.")


# The authors' files


@pytest.mark.parametrize("temporal_graph", ["similarity", "released-fixed"])
def test_released_file_gives_the_output_of_the_model_that_made_it(
    temporal_graph: str, tmp_path: Path
) -> None:
    model = released_model(changes={"model.temporal_graph": temporal_graph})
    file = authors_file(tmp_path / "best_epoch.pth.tr", model.state_dict())
    loaded = load_released(file, temporal_graph=temporal_graph)
    torch.testing.assert_close(loaded(clip(model)), model(clip(model)), rtol=0, atol=0)
    assert loaded.n_matched == len(model.state_dict()) == 141 and not loaded.training
    assert loaded.cfg == model.cfg


def test_a_model_of_mpi_inf_3dhp_takes_poses_in_our_order(tmp_path: Path) -> None:
    """Theirs has Human3.6M's edges on the other order of joints, root at 14."""
    theirs = released_model()
    file = authors_file(tmp_path / "best_epoch.pth.tr", theirs.state_dict())
    ours, order = load_released(file, joints="3dhp"), list(H36M_FROM_MPI)
    x = clip(theirs)
    torch.testing.assert_close(ours(x[:, :, order]), theirs(x)[:, :, order], rtol=1e-5, atol=1e-6)
    assert (load_released(file)(x[:, :, order]) - theirs(x)[:, :, order]).abs().max() > 1e-3
    assert ours.cfg.spatial_graph == "released-3dhp" and ours.n_matched == 141
    with pytest.raises(ConfigError, match="joints must be h36m or 3dhp, got 'mpi'"):
        load_released(file, joints="mpi")


def test_the_temporal_graph_is_an_argument_because_the_file_does_not_say() -> None:
    with pytest.raises(ConfigError, match="similarity or released-fixed, got 'chain'"):
        load_released("any", temporal_graph="chain")


def test_names_without_module_load_too(tmp_path: Path) -> None:
    model = released_model()
    file = authors_file(tmp_path / "x", {}, model=model.state_dict())
    assert torch.equal(load_released(file).head.weight, model.head.weight)


@pytest.mark.parametrize("number", [np.float32(1.5), np.int64(3), np.float64(38.4)])
@pytest.mark.parametrize("core", ["core", "_core"])
def test_numpy_numbers_of_either_numpy(core: str, number: Any, tmp_path: Path) -> None:
    """numpy 2 renamed the module that rebuilds a pickled scalar; the authors' files are of numpy
    1.
    """
    file = authors_file(tmp_path / "x", released_model().state_dict(), min_mpjpe=number)
    swapped = tmp_path / "y"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(swapped, "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in raw or b"numpy.core.multiarray" in raw
                raw = raw.replace(b"numpy._core.", b"numpy.core.").replace(
                    b"numpy.core.", f"numpy.{core}.".encode()
                )
            new.writestr(name, raw)
    assert load_released(swapped).n_matched == 141


def test_a_pretraining_file_has_a_mask_vector_and_no_heads(tmp_path: Path) -> None:
    model = released_model(changes={"model.dim_rep": 512})
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(("head", "rep_logit"))}
    loaded = load_released(authors_file(tmp_path / "x", {**state, "mask_emb": torch.rand(DIM)}))
    assert loaded.n_matched == 137 and loaded.cfg == model.cfg
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())
    unmarked = authors_file(tmp_path / "y", state)
    sentence(lambda: load_released(unmarked), "137 of 141 tensors match", "missing head.bias")


def test_a_mask_vector_beside_heads_is_left_out(tmp_path: Path) -> None:
    model = released_model()
    loaded = load_released(
        authors_file(tmp_path / "x", {**model.state_dict(), "mask_emb": torch.rand(DIM)})
    )
    torch.testing.assert_close(loaded(clip(model)), model(clip(model)), rtol=0, atol=0)
    half = {k: v for k, v in model.state_dict().items() if k != "head.bias"}
    file = authors_file(tmp_path / "y", {**half, "mask_emb": torch.rand(DIM)})
    sentence(lambda: load_released(file), "missing head.bias")


PARTIAL: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "lacks a tensor": (lambda s: s.pop("layers.1.fusion.bias"), "missing layers.1.fusion.bias"),
    "has one too many": (
        lambda s: s.update({"decoder.weight": torch.ones(1)}),
        "unknown decoder.weight",
    ),
    "a shape differs": (
        lambda s: s.update({"norm.bias": torch.ones(9)}),
        "norm.bias is (9,), the model's is (16,)",
    ),
    "no embedding": (lambda s: s.pop("joints_embed.weight"), "joints_embed.weight"),
    "no graph": (
        lambda s: s.pop("layers.0.graph_temporal.mixer.batch_norm.weight"),
        "graph_temporal",
    ),
    "an empty model": (lambda s: s.clear(), "not in the authors' layout"),
    "16 joints": (
        lambda s: s.update({"layers.0.graph_spatial.mixer.batch_norm.weight": torch.ones(16)}),
        "must be a model of 17 joints, got 16",
    ),
    "a width that 8 heads do not divide": (
        lambda s: s.update({"joints_embed.weight": torch.ones(20, 3)}),
        "model.dim=20 is not divisible",
    ),
    "a scalar where a size is read": (
        lambda s: s.update({"norm.weight": torch.tensor(1.0)}),
        "authors' layout",
    ),
    "a layer without a number": (
        lambda s: s.update({"layers.x.bias": torch.ones(1)}),
        "authors' layout",
    ),
}


@pytest.mark.parametrize("fault", PARTIAL)
def test_a_partial_match_is_an_error(fault: str, tmp_path: Path) -> None:
    spoil, part = PARTIAL[fault]
    state = released_model().state_dict()
    spoil(state)
    file = authors_file(tmp_path / "x.pth.tr", state)
    sentence(lambda: load_released(file), str(file), part)


class RunsCode:
    """What a hostile pickle holds: loading it would call os.mkdir."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("place", ["model", "min_mpjpe", "whole", "bare pickle"])
def test_a_foreign_pickle_is_refused_and_nothing_runs(place: str, tmp_path: Path) -> None:
    ran, file = tmp_path / "ran", tmp_path / "x.pth.tr"
    if place == "whole":
        torch.save(RunsCode(ran), file)
    elif place == "bare pickle":
        file.write_bytes(pickle.dumps({"model": RunsCode(ran)}, protocol=2))
    else:
        authors_file(file, released_model().state_dict(), **{place: RunsCode(ran)})
    sentence(
        lambda: load_released(file),
        str(file),
        "refused, expected tensors and numbers alone",
    )
    assert not ran.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if place != "bare pickle":
            torch.load(file, weights_only=False)  # the trap itself works
            assert ran.exists()


@pytest.mark.parametrize("keep", [0, 10, 1000, 0.5, 0.999])
def test_a_truncated_file_is_one_sentence(keep: float, tmp_path: Path) -> None:
    file = authors_file(tmp_path / "x.pth.tr", released_model().state_dict())
    raw = file.read_bytes()
    file.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    sentence(lambda: load_released(file), str(file))


@pytest.mark.parametrize(
    "content", [[1, 2], {"state": {}}, {"model": 3}, {"model": {"a": 1}}, {"model": None}]
)
def test_another_layout_is_one_sentence(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x")
    sentence(
        lambda: load_released(tmp_path / "x"),
        "must be a dict with a state dict under the key 'model'",
    )


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    sentence(lambda: load_released(tmp_path / "absent.pth.tr"), "absent.pth.tr: no such file")
    sentence(lambda: load_released(tmp_path), str(tmp_path))


def checkpoint_of(path: Path, change: Callable[[Tensor], Tensor], **settings: Any) -> Path:
    """A small network's weights, one of them changed, that says to be of these settings."""
    exp = Experiment.preset("smoke")
    tensors = build_model(exp.model, seed=0).state_dict()
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = change(tensors[name].clone())
    state = {"experiment": exp.override(settings).to_dict()}
    save_tensors(path, tensors, state)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.index_fill(0, torch.tensor([0]), float("nan")), "must be finite"),
        (lambda w: w.mul(float("inf")), "must be finite"),
        (lambda w: w.to(torch.int8), "must be of the kind torch.float32, got torch.int8"),
    ],
)
def test_weights_that_are_none_are_refused_by_name(
    change: Callable[[Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint_of(tmp_path / "w.safetensors", change))


def test_a_small_file_that_claims_a_huge_network_is_refused_before_it_is_built(
    tmp_path: Path,
) -> None:
    claim = {"model.dim": 8192, "model.n_layers": 4, "model.mlp_ratio": 64}
    path = checkpoint_of(tmp_path / "w.safetensors", lambda w: w, **claim)
    with pytest.raises(CheckpointError, match="holds another model"):
        load_checkpoint(path)


@pytest.mark.parametrize("state", ["{", "3", "[" * 100_000, '{"experiment": []}'])
def test_a_state_that_is_none_is_refused(state: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(3)}, file, {"state": state})
    with pytest.raises(
        CheckpointError, match=r"w.safetensors: (its state|says nothing of its exp)"
    ):
        load_checkpoint(file)
