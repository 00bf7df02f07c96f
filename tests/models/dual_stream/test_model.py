"""The whole network against a forward pass written in numpy from the state dict, and the
authors' sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax
from torch import Tensor

from m2v_lib.config import PRESETS, RECIPES, DualStreamSettings, Experiment
from m2v_lib.models.base import count_parameters
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.registry import build_model
from m2v_lib.skeletons.h36m import bone_adjacency, released_adjacency

# B batch, T frames, J joints, D features
T, J, D, H = 5, 17, 8, 2
TINY = {
    "model.n_layers": 2,
    "model.dim": D,
    "model.n_frames": T,
    "model.n_heads": H,
    "model.mlp_ratio": 2,
    "model.dim_rep": 6,
    "pretrain.target_layers": 1,
}


def config(recipe: str = "paper", **model: Any) -> DualStreamSettings:
    return (
        Experiment.preset("smoke", recipe)
        .override({**TINY, **{f"model.{k}": v for k, v in model.items()}})
        .model
    )


def random_model(cfg: DualStreamSettings, seed: int = 0) -> DualStreamModel:
    """Every parameter and buffer away from its special start, in float64 and evaluation mode."""
    model = build_model(cfg, seed=seed).double().eval()
    generator = torch.Generator().manual_seed(seed + 1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.4 * noise)
    return model


def clip(seed: int = 2) -> Tensor:
    return torch.randn(
        2, T, J, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


class Reference:
    """The equations of spec section 2 in evaluation mode, with dense graphs and no shared code."""

    def __init__(self, model: DualStreamModel) -> None:
        self.p = {name: value.numpy() for name, value in model.state_dict().items()}
        self.cfg = model.cfg

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.p[f"{name}.weight"].T + self.p.get(f"{name}.bias", 0.0)

    def layer_norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return unit * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def mlp(self, x: np.ndarray, block: str) -> np.ndarray:
        hidden = self.linear(self.layer_norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        gelu = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
        return x + self.p.get(f"{block}.layer_scale_2", 1.0) * self.linear(gelu, f"{block}.mlp.fc2")

    def attention_block(self, x: np.ndarray, block: str, axis: str) -> np.ndarray:
        nodes = x if axis == "spatial" else x.swapaxes(1, 2)  # (B, groups, nodes, D)
        qkv = self.layer_norm(nodes, f"{block}.norm1") @ self.p[f"{block}.mixer.qkv.weight"].T
        q, k, v = (part.reshape(*part.shape[:-1], H, D // H) for part in np.split(qkv, 3, axis=-1))
        scale = (D // H if self.cfg.qk_scale == "head" else D) ** -0.5
        weights = softmax(np.einsum("bgihe,bgkhe->bghik", q, k) * scale, axis=-1)
        mixed = self.linear(
            np.einsum("bghik,bgkhe->bgihe", weights, v).reshape(nodes.shape), f"{block}.mixer.proj"
        )
        mixed = mixed if axis == "spatial" else mixed.swapaxes(1, 2)
        return self.mlp(x + self.p.get(f"{block}.layer_scale_1", 1.0) * mixed, block)

    def graph(self, u: np.ndarray, axis: str) -> np.ndarray:
        """Normalised adjacency (B, groups, nodes, nodes) for nodes u (B, groups, nodes, D)."""
        if axis == "spatial":
            dense = bone_adjacency() if self.cfg.spatial_graph == "bones" else released_adjacency()
        elif self.cfg.temporal_graph == "similarity":
            products = u @ u.swapaxes(-1, -2)
            dense = (
                products >= np.sort(products, axis=-1)[..., -self.cfg.n_neighbours, None]
            ).astype(float)
        else:
            dense = np.eye(T) + np.eye(T, k=-1 if self.cfg.temporal_graph == "chain" else 1)
        root = np.sqrt(dense.sum(-1))
        return np.broadcast_to(
            dense / root[..., :, None] / root[..., None, :], (*u.shape[:-1], u.shape[2])
        )

    def graph_block(self, x: np.ndarray, block: str, axis: str) -> np.ndarray:
        literal = self.cfg.gcn_block == "literal"
        u = x if literal else self.layer_norm(x, f"{block}.norm1")
        u = u if axis == "spatial" else u.swapaxes(1, 2)
        mixed = self.graph(u, axis) @ self.linear(u, f"{block}.mixer.V") + self.linear(
            u, f"{block}.mixer.U"
        )
        bn = [
            self.p[f"{block}.mixer.batch_norm.{key}"]
            for key in ("running_mean", "running_var", "weight", "bias")
        ]
        mean, var, gamma, beta = (v if self.cfg.bn_axis == "channels" else v[:, None] for v in bn)
        mixed = (mixed - mean) / np.sqrt(var + 1e-5) * gamma + beta
        g = np.maximum(u + mixed, 0)
        g = g if axis == "spatial" else g.swapaxes(1, 2)
        return self.mlp(g if literal else x + self.p.get(f"{block}.layer_scale_1", 1.0) * g, block)

    def block(self, x: np.ndarray, i: int) -> np.ndarray:
        outputs = []
        if self.cfg.streams != "gcn":
            spatial = self.attention_block(x, f"layers.{i}.att_spatial", "spatial")
            outputs.append(self.attention_block(spatial, f"layers.{i}.att_temporal", "temporal"))
        if self.cfg.streams != "transformer":
            spatial = self.graph_block(x, f"layers.{i}.graph_spatial", "spatial")
            outputs.append(self.graph_block(spatial, f"layers.{i}.graph_temporal", "temporal"))
        if len(outputs) == 1 or self.cfg.fusion == "mean":
            return sum(outputs) / len(outputs)  # type: ignore[return-value]
        alpha = softmax(
            self.linear(np.concatenate(outputs, axis=-1), f"layers.{i}.fusion"), axis=-1
        )
        return alpha[..., :1] * outputs[0] + alpha[..., 1:] * outputs[1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = (
            self.linear(x, "joints_embed")
            + self.p.get("pos_embed", 0.0)
            + self.p.get("temporal_pos_embed", 0.0)
        )
        for i in range(self.cfg.n_layers):
            x = self.block(x, i)
        self.representation = np.tanh(self.linear(self.layer_norm(x, "norm"), "rep_logit.fc"))
        return self.linear(self.representation, "head")


VARIANTS: list[dict[str, Any]] = [
    {},
    {"recipe": "released"},
    {"recipe": "released", "layer_scale": 0.5, "temporal_graph": "released-fixed"},
    {"recipe": "released", "layer_scale": 0.5, "n_neighbours": 3},
    {"streams": "transformer", "qk_scale": "dim"},
    {"streams": "gcn", "temporal_graph": "released-fixed"},
    {"streams": "gcn", "gcn_block": "prenorm", "bn_axis": "nodes"},
    {"fusion": "mean", "temporal_graph": "similarity"},
    {"spatial_pos": False},
    {"temporal_pos": True},
    {"spatial_pos": False, "temporal_pos": True, "spatial_graph": "released"},
]


@pytest.mark.parametrize(
    "variant", VARIANTS, ids=lambda v: " ".join(map(str, v.values())) or "paper"
)
def test_forward_pass_in_numpy(variant: dict[str, Any]) -> None:
    model = random_model(config(**variant))
    x = clip()
    reference = Reference(model)
    expected = reference(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            model.encode(x).numpy(), reference.representation, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("preset", "count"), [("base", 11_723_811), ("large", 46_505_891)])
def test_parameters_of_the_released_models(preset: str, count: int) -> None:
    with torch.device("meta"):
        model = build_model(Experiment.preset(preset, "released").model)
    assert count_parameters(model) == count


def test_released_base_has_the_keys_of_the_authors_file() -> None:
    with torch.device("meta"):
        names = set(build_model(Experiment.preset("base", "released").model).state_dict())
    assert len(names) == 1065
    block = [f"mlp.fc{i}.{p}" for i in (1, 2) for p in ("weight", "bias")]
    block += [f"norm{i}.{p}" for i in (1, 2) for p in ("weight", "bias")] + [
        "layer_scale_1",
        "layer_scale_2",
    ]
    attention = ["mixer.qkv.weight", "mixer.proj.weight", "mixer.proj.bias"]
    norm = [
        f"mixer.batch_norm.{p}"
        for p in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    graph = [f"mixer.{m}.{p}" for m in "UV" for p in ("weight", "bias")] + norm
    parts = {"att": attention, "graph": graph}
    expected = {
        f"layers.{i}.{kind}_{axis}.{name}"
        for i in range(16)
        for kind, own in parts.items()
        for axis in ("spatial", "temporal")
        for name in block + own
    }
    expected |= {f"layers.{i}.fusion.{p}" for i in range(16) for p in ("weight", "bias")}
    expected |= {
        f"{m}.{p}"
        for m in ("joints_embed", "norm", "rep_logit.fc", "head")
        for p in ("weight", "bias")
    }
    assert names == expected | {"pos_embed"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_preset_builds_under_every_recipe(preset: str, recipe: str) -> None:
    with torch.device("meta"):
        model = build_model(Experiment.preset(preset, recipe).model)
    assert count_parameters(model) > 0


def test_position_switches_make_and_add_their_embedding() -> None:
    names = {
        (s, t): [
            n
            for n, _ in build_model(config(spatial_pos=s, temporal_pos=t)).named_parameters()
            if "pos" in n
        ]
        for s in (True, False)
        for t in (True, False)
    }
    assert names == {
        (True, False): ["pos_embed"],
        (False, True): ["temporal_pos_embed"],
        (True, True): ["pos_embed", "temporal_pos_embed"],
        (False, False): [],
    }
    model = build_model(config(temporal_pos=True))
    assert model.pos_embed.shape == (1, J, D) and model.temporal_pos_embed.shape == (1, T, 1, D)
    assert not model.pos_embed.any() and not model.temporal_pos_embed.any()
    with torch.no_grad():
        model.pos_embed[0, 3] = 1.0
        model.temporal_pos_embed[0, 2] = 10.0
    added = model.add_positions(torch.zeros(2, T, J, D))
    assert added[:, 2, 3].unique().tolist() == [11.0] and added[:, 0, 3].unique().tolist() == [1.0]
    assert added[:, 2, 0].unique().tolist() == [10.0] and added[:, 0, 0].unique().tolist() == [0.0]


def test_without_spatial_positions_nor_graph_joints_are_a_set() -> None:
    """Attention alone is equivariant to the order of the joints, and of the frames."""
    model, x = random_model(config(streams="transformer", spatial_pos=False)), clip()
    joints = torch.randperm(J, generator=torch.Generator().manual_seed(0))
    frames = torch.randperm(T, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x[:, :, joints]), model(x)[:, :, joints])
    torch.testing.assert_close(model(x[:, frames]), model(x)[:, frames])
    with_positions = random_model(config(streams="transformer"))
    assert (with_positions(x[:, :, joints]) - with_positions(x)[:, :, joints]).abs().max() > 1e-3


def test_the_papers_graph_stream_sees_the_past_only() -> None:
    """Two blocks of self-and-previous reach two frames back and none ahead (audit B12)."""
    model, x = random_model(config(streams="gcn")), clip()
    changed = x.clone()
    changed[:, 1] += 1.0
    moved = (model(changed) - model(x)).abs().amax(dim=(0, 2, 3))
    assert moved[0] == 0 and (moved[1:4] > 1e-9).all() and moved[4] == 0


def test_clips_of_a_batch_do_not_see_each_other_in_evaluation() -> None:
    model, x = random_model(config("released")), clip()
    torch.testing.assert_close(model(x)[:1], model(x[:1]))


@pytest.mark.parametrize("recipe", ["paper", "released"])
@pytest.mark.parametrize("shape", [(T, J, 3), (2, T + 1, J, 3), (2, T, 16, 3), (2, T, J, 2)])
def test_wrong_input_says_what_is_expected(shape: tuple[int, ...], recipe: str) -> None:
    model = build_model(config(recipe))
    if recipe == "paper" and shape == (2, T + 1, J, 3):
        assert model(torch.zeros(shape)).shape == shape  # no weight is bound to T
        return
    with pytest.raises(ValueError) as caught:
        model(torch.zeros(shape))
    frames = "T" if recipe == "paper" else T
    assert str(caught.value) == (
        f"dual_stream: the input must be (B, {frames}, {J}, 3), got {shape}"
    )


def test_position_embeddings_may_start_as_noise_and_nothing_else_changes() -> None:
    changes = {"model.temporal_pos": True, "model.pos_init_std": 0.5}
    plain = build_model(
        Experiment.preset("smoke").override({"model.temporal_pos": True}).model, seed=0
    ).state_dict()
    noisy = build_model(Experiment.preset("smoke").override(changes).model, seed=0).state_dict()
    differing = {name for name in plain if not torch.equal(plain[name], noisy[name])}
    assert differing == {"pos_embed", "temporal_pos_embed"}
    assert float(noisy["pos_embed"].std()) == pytest.approx(0.5, rel=0.2)


def test_the_input_may_be_scaled_before_its_embedding() -> None:
    exp = Experiment.preset("smoke").override({"model.input_scale": 3.0})
    scaled, plain = (build_model(e.model, seed=0) for e in (exp, Experiment.preset("smoke")))
    x = torch.randn(2, 27, 17, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(scaled(x), plain(3 * x))


@pytest.mark.parametrize("path", ["reference", "fast"])
def test_coordinates_go_in_and_come_out_in_full_precision(path: str) -> None:
    """Under autocast the blocks compute in bfloat16, the embedding and both heads do not."""
    model = random_model(config()).float().use(path)
    normed: list[Tensor] = []
    model.norm.register_forward_hook(lambda module, given, out: normed.append(out))
    inside: list[torch.dtype] = []
    model.get_submodule("layers.0.att_spatial.mixer.qkv").register_forward_hook(
        lambda module, given, out: inside.append(out.dtype)
    )
    x = clip().float()
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            embedded, rep = model.embed(x), model.encode(x)
            pose = model.decode(rep)
        assert path == "fast" or inside == [torch.bfloat16]
        assert torch.equal(embedded, model.embed(x))
        assert torch.equal(rep, model.rep_logit(normed[0].float()))
        assert torch.equal(pose, model.decode(rep))
    assert {t.dtype for t in (embedded, rep, pose)} == {torch.float32}
