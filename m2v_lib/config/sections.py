"""The sections of an experiment: every setting with its default (the paper's base model) and its
meaning. Where paper and released code differ, `recipes.py` has both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from m2v_lib.config.fields import ModelSettings, new_setting, setting


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how videos are cut into clips."""

    name: str = setting("synthetic", "prepared data set to train and test on (`m2v data list`)")
    input_2d: str = setting(
        "detected", "2D input: the detector's, or gt: the true projection with confidence 1", "gt"
    )
    train_stride: int = setting(27, "frames between the starts of training clips")
    test_stride: int = setting(27, "frames between the starts of test clips")
    frame_step: int = new_setting(
        1, "frames from one of a clip to the next: 3 reads every third frame, three times as long"
    )
    flip_train: bool = setting(True, "mirror half of the training clips")
    validation: bool = setting(True, "hold the store's validation subjects out of training")
    label_fraction: float = new_setting(
        1.0, "share of the training clips that fine-tuning may use; pre-training uses all"
    )
    label_subjects: int = new_setting(
        0, "number of training subjects whose labels fine-tuning may use; 0: all"
    )
    cameras: str = new_setting(
        "fixed", "training views: the store's cameras, or drawn anew for every batch", "random"
    )
    own_cameras: float = new_setting(
        0.25, "of random cameras, the share that are Human3.6M's four where they stood"
    )
    camera_height_min: float = new_setting(0.3, "lowest random camera, m above the floor")
    camera_height_max: float = new_setting(4.0, "highest random camera, m above the floor")
    camera_distance_min: float = new_setting(
        2.0, "nearest random camera, m along the floor; further back where a person would not fit"
    )
    camera_distance_max: float = new_setting(10.0, "furthest random camera, m along the floor")
    camera_view_min: float = new_setting(35.0, "narrowest horizontal angle of view, degrees")
    camera_view_max: float = new_setting(90.0, "widest horizontal angle of view, degrees")
    camera_roll_max: float = new_setting(30.0, "a random camera rolls by up to so many degrees")
    camera_aim_max: float = new_setting(
        10.0, "a random camera looks past the person by up to so many degrees"
    )
    person_size_min: float = new_setting(0.85, "smallest size that random cameras make a person")
    person_size_max: float = new_setting(1.15, "largest size that random cameras make a person")
    skeletons: str = new_setting(
        "",
        "which joints of the store each training step sees, one drawn from a list: known skeletons, "
        "YAML files, random (a random choice of joints); empty: those of model.skeleton",
    )
    hidden_joints: float = new_setting(
        0.0,
        "share of joints that fine-tuning hides from the network, anew in each clip, while it asks "
        "for their 3D: so that joints can be predicted that no detector gives",
    )
    short_videos: str = new_setting(
        "stretch",
        "stretch a video shorter than a clip to one and drop a tail that fills none (spec 5.3), or "
        "pad both, which needs a model of any length",
        "pad",
    )
    lengths: str = new_setting(
        "",
        "frames that each training step sees, one drawn from a list, none longer than "
        "model.n_frames; empty: model.n_frames",
    )


@dataclass(frozen=True)
class DualStreamSettings(ModelSettings):
    """The dual-stream Transformer-GCN (paper section III-A)."""

    n_layers: int = setting(16, "dual-stream blocks N")
    dim: int = setting(128, "width d of the features")
    n_heads: int = setting(8, "attention heads")
    mlp_ratio: int = setting(4, "hidden width of a block's MLP over d")
    dim_rep: int = setting(512, "width of the representation that heads read")
    streams: str = setting("both", "streams of a block", "transformer", "gcn")
    fusion: str = setting("adaptive", "how the streams are joined (eq. 1-2)", "mean")
    spatial_pos: bool = setting(True, "add an embedding for each joint")
    temporal_pos: bool = setting(False, "add an embedding for each frame")
    temporal_graph: str = setting(
        "chain", "graph over time (audit B12, C2)", "released-fixed", "similarity"
    )
    n_neighbours: int = setting(2, "neighbours of a frame in the similarity graph")
    spatial_graph: str = setting(
        "bones", "graph over joints (audit B10, C6)", "released", "released-3dhp"
    )
    gcn_block: str = setting(
        "literal", "eq. (7) as printed, or LayerNorm and an outer residual (audit B7)", "prenorm"
    )
    bn_axis: str = setting("channels", "what batch norm normalises (audit B9)", "nodes")
    layer_scale: float = setting(0.0, "initial LayerScale; 0 leaves it out (audit B6)")
    qk_scale: str = setting("head", "width under the root of attention (audit B4)", "dim")
    pos_init_std: float = new_setting(
        0.0, "position embeddings start as normal noise of this spread; 0: as zeros"
    )
    input_scale: float = new_setting(
        1.0, "the input is multiplied by this before the joints embedding"
    )
    joint_embedding: str = new_setting(
        "order",
        "rows of the joints' position embedding: the skeleton's joints in their order, or every "
        "name of the vocabulary of joints, so that any skeleton shares the weights",
        "name",
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {}


@dataclass(frozen=True)
class PretrainConfig:
    """Stage 1: masked prediction of a teacher's representations (paper section III-B).

    `lr`, `splits`, `extra_2d`, `epochs` and `batch_size` count for the pre-training of other models
    too, the rest for the dual stream alone.
    """

    mask: str = setting("tokens", "what is hidden at once (audit E5)", "joint-spans")
    mask_prob: float = setting(0.7, "share P of tokens that is hidden")
    n_masks: int = setting(3, "masked views M of each clip")
    fill: str = setting("noise", "what stands in place of a hidden token (audit E4)", "learned")
    mask_noise_std: float = setting(0.01, "spread of the noise in hidden tokens")
    keep_spatial_pos: bool = setting(True, "add position embeddings after masking, not before")
    teacher: str = setting("ema", "moving average of the student, or frozen (audit E1)", "frozen")
    tau_start: float = setting(0.999, "the teacher's decay at the first step")
    tau_end: float = setting(0.9999, "the teacher's decay at the last step")
    target_layers: int = setting(8, "last teacher blocks K whose mean is the target")
    norm_targets: bool = setting(True, "both layer norms of eq. (14), or neither (audit E3)")
    loss_scale: str = setting("none", "divide the loss by the root of d (audit E6)", "sqrt-dim")
    splits: str = setting("train", "whose 2D is learnt from (audit E8)", "train+test")
    extra_2d: str = new_setting("", "another store whose 2D is learnt from too")
    lr: float = new_setting(0.0, "learning rate of this stage; 0: optim.lr")
    epochs: int = setting(15, "epochs of the full schedule")
    batch_size: int = setting(4, "clips a step, each seen M times")


@dataclass(frozen=True)
class FinetuneConfig:
    """Stage 2: lifting 2D to 3D (paper section III-A.3)."""

    init: str = setting(
        "scratch",
        "fresh weights, the pre-trained encoder, or all weights of another run (its folder or name), "
        "which may have other joints",
        "pretrained",
        "weights:RUN",
    )
    freeze: str = new_setting("nothing", "what fine-tuning leaves as it started", "encoder")
    loss: str = new_setting(
        "pose", "eq. (13), or the loss that the model was published with", "own"
    )
    w_scale: float = setting(0.5, "weight lambda 1 of N-MPJPE in the loss")
    w_velocity: float = setting(20.0, "weight lambda 2 of the velocity in the loss")
    flip_test: bool = setting(True, "average the prediction with that of the mirror image")
    epochs: int = setting(60, "epochs of the full schedule")
    batch_size: int = setting(8, "clips a step")
    select: str = setting(
        "last",
        "which weights are tested; best-on-test is not honest",
        "best-on-val",
        "best-on-test",
    )


@dataclass(frozen=True)
class ActionConfig:
    """Action recognition (spec section 7); `optim` counts here too, but for its `lr`."""

    split: str = setting("xsub", "test on other people, or from another camera", "xview")
    init: str = setting("scratch", "fresh weights, or the pre-trained encoder", "pretrained")
    pretrained_on: str = setting("", "data set of the pre-training run; empty: data.name")
    confidence: str = setting(
        "remapped", "third channel: the joint's own score, or another's (audit F3)", "coco-order"
    )
    head: str = setting("flatten", "what is pooled before the classifier (audit F1)", "gap")
    hidden: int = setting(2048, "width of the classifier's hidden layer")
    dropout: float = setting(0.5, "share of the representation dropped in training")
    n_persons: int = setting(2, "people of a sample; one that is not there is all zeros")
    lr: float = setting(1e-4, "learning rate of this stage")
    epochs: int = setting(60, "epochs of the full schedule")
    max_steps: int = setting(0, "as run.max_steps, which counts where this is 0")
    batch_size: int = setting(6, "samples a step")
    select: str = setting("last", "which weights are tested", "best-on-test")


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning rate of every stage."""

    algorithm: str = new_setting(
        "adamw",
        "optimiser; muon moves the blocks' matrices, muon-kernels their convolutions too, and AdamW "
        "the rest (audit D8: adam-amsgrad)",
        "adam-amsgrad",
        "muon",
        "muon-kernels",
    )
    lr: float = setting(5e-4, "learning rate")
    matrix_lr: float = new_setting(0.0, "learning rate of the matrices under muon; 0: as lr")
    weight_decay: float = setting(0.01, "weight decay, decoupled from the gradient")
    schedule: str = setting("decay", "lr * lr_decay ** epoch, or a cosine to zero", "cosine")
    lr_decay: float = setting(0.99, "factor of the rate at each epoch")
    warmup_steps: int = setting(0, "steps in which the rate rises from zero")
    ema: float = new_setting(
        0.0, "decay of an average of the weights, which is tested and saved; 0: the last weights"
    )
    max_grad_norm: float = new_setting(0.0, "gradients are scaled down to this norm; 0: never")


@dataclass(frozen=True)
class RunConfig:
    """Where and how long; nothing here but `max_steps` and `precision` decides a result."""

    seed: int = setting(0, "fixes weights, masks and the order of clips")
    device: str = setting("cpu", "cpu, cuda, cuda:1 ...")
    devices: int = setting(1, "processes, one a device; several train one run together")
    threads: int = setting(0, "CPU threads; 0 leaves torch's own choice")
    path: str = setting(
        "fast", "how blocks are computed; the numbers agree to rounding", "reference"
    )
    precision: str = setting(
        "fp32",
        "bf16: products in bfloat16, weights and optimiser in float32; tf32: products of a GPU "
        "in its 19-bit format",
        "bf16",
        "tf32",
    )
    compile: bool = setting(False, "compile the blocks with torch.compile")
    cuda_graph: str = setting(
        "auto", "on a GPU, replay the training step as one CUDA graph", "on", "off"
    )
    max_minutes: float = setting(0.0, "stop at a checkpoint after so long; 0: no limit")
    max_steps: int = setting(0, "length of the schedule in steps; 0 runs all epochs")
    eval_every: int = setting(0, "steps between validations; 0: once an epoch")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    log_every: int = setting(50, "steps between log lines")
    tensorboard: bool = new_setting(False, "write TensorBoard event files beside metrics.jsonl")
