"""The two paths prove each other: same outputs, gradients and batch-norm buffers in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from m2v_lib.config import DualStreamSettings, Experiment
from m2v_lib.models.dual_stream import fast
from m2v_lib.models.dual_stream.attention import Attention
from m2v_lib.models.dual_stream.fast import graph_convolution
from m2v_lib.models.dual_stream.graph import similar_frames
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.registry import build_model
from m2v_lib.skeletons import H36M17, KNOWN, Skeleton

# B batch, T frames, J joints
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def config(recipe: str = "paper", **model: Any) -> DualStreamSettings:
    sizes = {"n_layers": 2, "dim": 8, "n_heads": 2, "mlp_ratio": 2, "dim_rep": 6, "n_frames": 5}
    changes = {f"model.{key}": value for key, value in {**sizes, **model}.items()}
    changes["pretrain.target_layers"] = 1
    if changes["model.n_frames"] == 1:
        changes["model.n_neighbours"] = 1
    return Experiment.preset("smoke", recipe).override(changes).model


def both_paths(cfg: DualStreamSettings, seed: int = 0) -> tuple[DualStreamModel, DualStreamModel]:
    """Two copies with every parameter and buffer away from its special start, in float64."""
    reference, fast = (
        build_model(cfg, seed=seed, path=path).double() for path in ("reference", "fast")
    )
    generator = torch.Generator().manual_seed(seed + 1)
    for name, value in reference.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.3 * noise)
    fast.load_state_dict(reference.state_dict())
    return reference, fast


def assert_same(cfg: DualStreamSettings, n_clips: int, *, training: bool) -> None:
    """Outputs, input and parameter gradients, and buffers after one pass."""
    shape = (n_clips, cfg.n_frames, cfg.n_joints, 3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    seen = []
    for model in both_paths(cfg):
        model.train(training)
        clip = x.clone().requires_grad_()
        out = model(clip)
        (
            out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
        ).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        seen.append((out, clip.grad, gradients, dict(model.named_buffers())))
    (out_r, grad_r, params_r, buffers_r), (out_f, grad_f, params_f, buffers_f) = seen
    largest = max(float(g.abs().max()) for g in params_r.values() if g is not None)
    torch.testing.assert_close(out_f, out_r, **CLOSE)
    torch.testing.assert_close(grad_f, grad_r, rtol=1e-12, atol=1e-12 * max(1.0, largest))
    assert params_f.keys() == params_r.keys() and buffers_f.keys() == buffers_r.keys()
    for name, gradient in params_r.items():
        assert gradient is not None and params_f[name] is not None, name
        torch.testing.assert_close(
            params_f[name], gradient, rtol=1e-12, atol=1e-12 * max(1.0, largest), msg=name
        )
    for name, buffer in buffers_r.items():
        torch.testing.assert_close(buffers_f[name], buffer, msg=name, **CLOSE)
    assert any(name.endswith("running_mean") for name in buffers_r) or cfg.streams == "transformer"


GRAPHS = ["chain", "released-fixed", "similarity"]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_both_recipes_and_all_graphs(recipe: str, graph: str, training: bool) -> None:
    assert_same(config(recipe, temporal_graph=graph, temporal_pos=True), 3, training=training)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("n_clips", [1, 2])
@pytest.mark.parametrize("n_joints", [17, 16])
@pytest.mark.parametrize("n_frames", [1, 27, 81])
@pytest.mark.parametrize("graph", GRAPHS)
def test_odd_sizes(
    graph: str,
    n_frames: int,
    n_joints: int,
    n_clips: int,
    training: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the last one, a wrist, ends a limb
    plain_names = tuple(f"joint {j}" for j in range(n_joints))
    monkeypatch.setitem(KNOWN, "some", Skeleton("some", plain_names, H36M17.parents[:n_joints]))
    cfg = config(temporal_graph=graph, n_frames=n_frames, skeleton="some", n_layers=1)
    assert_same(cfg, n_clips, training=training)


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_the_papers_clip(recipe: str) -> None:
    assert_same(config(recipe, n_frames=243, n_layers=1), 1, training=True)


@pytest.mark.parametrize(
    "variant",
    [
        {"streams": "transformer", "qk_scale": "dim"},
        {"streams": "gcn"},
        {"fusion": "mean"},
        {"gcn_block": "prenorm", "layer_scale": 0.5},
        {"gcn_block": "literal", "layer_scale": 0.5},
        {"bn_axis": "nodes"},
        {"spatial_graph": "released"},
        {"n_heads": 1},
    ],
    ids=lambda v: " ".join(map(str, v.values())),
)
def test_every_switch(variant: dict[str, Any]) -> None:
    assert_same(config(**variant), 2, training=True)


@pytest.mark.parametrize(
    "variant", [{}, {"bn_axis": "nodes"}, {"gcn_block": "prenorm", "layer_scale": 0.5}], ids=str
)
def test_inference_folds_the_norms_and_writes_in_place(variant: dict[str, Any]) -> None:
    """Without gradients the fast path has code of its own; the input and the weights stay as
    they were.
    """
    x = torch.randn(2, 5, 17, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    reference, fast = (model.eval() for model in both_paths(config(**variant)))
    before = {name: value.clone() for name, value in fast.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(fast(x), reference(x), **CLOSE)
        single = [model.float()(x.float()) for model in (fast, reference)]
    torch.testing.assert_close(*single, rtol=1e-4, atol=1e-4)
    for name, value in before.items():
        assert torch.equal(value.float(), fast.state_dict()[name].float()), name


def test_ties_of_the_similarity_graph_are_kept_on_both_paths() -> None:
    """Frames that repeat are equally near (audit C2): one layer, so that both paths see the same
    input to the bit.
    """
    reference, _ = both_paths(config("released"))
    layer = reference.layers[0].graph_temporal.mixer.eval()  # type: ignore[union-attr]
    frames = torch.randn(
        1, 2, 17, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    u = frames[:, [0, 0, 1, 1, 1]]
    assert similar_frames(u.transpose(1, 2), 2).sum(-1).max() == 3
    torch.testing.assert_close(graph_convolution(layer, u), layer(u), **CLOSE)  # type: ignore[arg-type]


def test_both_paths_have_one_state_dict_and_a_path_can_be_changed() -> None:
    reference, fast = both_paths(config())
    assert reference.state_dict().keys() == fast.state_dict().keys()
    x = torch.randn(1, 5, 17, 3, dtype=torch.float64)
    entered: list[Tensor] = []
    fast.layers[0].att_spatial.mixer.register_forward_hook(lambda *call: entered.append(call[2]))  # type: ignore[union-attr]
    fast(x)
    assert not entered
    fast.use("reference")(x)
    assert len(entered) == 1
    with pytest.raises(ValueError, match="path must be reference or fast, got 'quick'"):
        fast.use("quick")


def test_a_chain_costs_the_fast_path_no_product() -> None:
    """What is left is linear in T but for attention: twice the frames, twice the graph stream."""

    def macs(path: str, n_frames: int) -> int:
        with torch.device("meta"):
            model = build_model(config(streams="gcn", n_frames=n_frames), path=path).eval()
            clip = torch.empty(1, n_frames, 17, 3)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(clip)
        return counter.get_total_flops() // 2

    assert macs("fast", 162) == 2 * macs("fast", 81)
    assert (
        macs("reference", 162) - macs("fast", 162) == 2 * 17 * 162 * 162 * 8
    )  # two blocks of (T, T) x (T, D)


@pytest.mark.parametrize("axis", ["spatial", "temporal"])
def test_attention_as_sums_of_products_is_attention(axis: str) -> None:
    """What a compiler is given on a GPU, where the axis is short."""
    torch.manual_seed(0)
    layer = Attention(8, 2, axis).double()
    x = torch.randn(2, 5, 17, 8, dtype=torch.float64, requires_grad=True)
    q, k, v = (x @ layer.qkv.weight.T).view(2, 5, 17, 3, 2, 4).unbind(3)

    out = fast.attend_short(q, k, v, layer.scale, axis=2 if axis == "spatial" else 1).flatten(3)
    expected = fast.attend(layer, x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)

    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (out, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
