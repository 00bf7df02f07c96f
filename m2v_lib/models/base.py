"""What a lifter must be: one contract for every network that turns 2D sequences into 3D ones."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from torch import Tensor, nn

from m2v_lib.config.fields import ConfigError, ModelSettings
from m2v_lib.errors import InputError
from m2v_lib.models.layers.stochastic_depth import StochasticDepth
from m2v_lib.skeletons import Skeleton

# B batch, T frames, J joints, C channels of the input (x, y and, where read, confidence), R
# representation

OutputFrames = Literal["all", "centre", "newest"]


#: Of what comes out of a model; all that is trained here gives image units.
Unit = Literal["image units", "metres", "millimetres", "z-scores"]
IMAGE_UNITS: Final[Unit] = "image units"


class Lifter(nn.Module):
    """2D sequences (B, T, J, 3) of x, y, confidence -> 3D sequences (B, T, J, 3), or (B, 1, J,
    3) of one frame.

    Coordinates are normalised image units (with weights of the authors' training `output_unit`
    says which); a pose is relative to its root. What the rest of the house has to know of a model
    stands in its class attributes. A subclass takes its own settings (a frozen dataclass that
    extends `ModelSettings`) and draws dropout from torch's global generator, which the training
    loop seeds at every step.
    """

    #: The model's own settings. Its file sets this after the class: inside, the name would hide
    #: the dataclass from annotations.
    Settings: ClassVar[type[ModelSettings]] = ModelSettings
    #: Which frames of the input window come out. Where a setting decides it, see `output_under`.
    output: ClassVar[OutputFrames] = "all"
    #: Whether the third input channel (the detector's confidence) is read; else it is cut off in
    #: `check_input`.
    reads_confidence: ClassVar[bool] = True
    #: Joint count the architecture is bound to; None: any skeleton's.
    n_joints_required: ClassVar[int | None] = None
    #: Whether weights are bound to `settings.n_frames`; else any number of frames may come in.
    #: An instance may say otherwise than its class, where a setting decides it.
    fixed_length: bool = True
    #: Whether `use_skeleton` takes any choice of the vocabulary's joints.
    any_skeleton: bool = False
    #: Whether `encode` gives a representation (B, T, J, R): pre-training, action recognition,
    #: attention maps.
    has_encoder: ClassVar[bool] = False
    #: Name of the layer that makes poses of the representation.
    pose_head: ClassVar[str] = "head"
    #: How names begin of the weights that the model's pre-training, if it has one, leaves fresh.
    fresh_after_pretraining: ClassVar[tuple[str, ...]] = ()
    #: Whether `loss` itself draws random numbers (a diffusion model's noise), from torch's
    #: global generator.
    draws_in_loss: ClassVar[bool] = False
    #: Whether `forward` draws them too, from a generator of its own.
    draws_in_forward: ClassVar[bool] = False
    #: Named sizes as published: name -> settings that differ from the defaults.
    published_sizes: ClassVar[dict[str, dict[str, Any]]] = {}
    #: Dotted settings of the authors' own training (`recipe own`), as far as they can be said by
    #: settings.
    own_recipe: ClassVar[dict[str, Any]] = {}
    #: Unit of the outputs; another with weights that the authors trained in theirs.
    output_unit: Unit = IMAGE_UNITS
    #: The root in the errors that the authors print: set to 0, or as the network gives it.
    root_in_figure: ClassVar[Literal["zero", "as predicted"]] = "zero"
    #: Buffers that the authors' files lack: they keep them elsewhere.
    not_in_authors_file: ClassVar[tuple[str, ...]] = ()
    #: Tensors that `read_authors_file` takes for what a file may lack.
    tensors_beside_file: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        #: The joints that come in and go out now, see `use_skeleton`.
        self.skeleton = settings.joints
        if self.n_joints_required not in (None, settings.n_joints):
            raise ConfigError(
                f"model.name={settings.name} must have {self.n_joints_required} joints; "
                f"{settings.skeleton} has {settings.n_joints}"
            )

    @property
    def receptive_field(self) -> int:
        """Frames of input that one output frame depends on."""
        return self.settings.n_frames

    @classmethod
    def output_under(cls, settings: ModelSettings) -> OutputFrames:
        """Which frames come out under these settings: `output`, but of a causal network the newest
        in place of the centre one.
        """
        if cls.output == "centre" and getattr(settings, "causal", False):
            return "newest"
        return cls.output

    @classmethod
    def output_frame(cls, settings: ModelSettings, n_frames: int | None = None) -> int | None:
        """Number of the frame of a window whose pose comes out; None where all frames' do.

        Loss, evaluation, trivial baselines and lifting all pair the pose with this frame. The
        window has `settings.n_frames` frames, or as many as said.
        """
        n_frames = settings.n_frames if n_frames is None else n_frames
        numbers = {"all": None, "centre": (n_frames - 1) // 2, "newest": n_frames - 1}
        return numbers[cls.output_under(settings)]

    def forward(self, x_BTJC: Tensor) -> Tensor:
        raise NotImplementedError

    def encode(self, x_BTJC: Tensor) -> Tensor:
        """The representation (B, T, J, R). Raises NotImplementedError where the model has none."""
        raise NotImplementedError(f"{self.settings.name} has no encoder")

    def decode(self, rep_BTJR: Tensor) -> Tensor:
        """The pose (B, T, J, 3) that a representation says; `forward` is `decode` of `encode`."""
        raise NotImplementedError(f"{self.settings.name} has no encoder")

    @property
    def dim_rep(self) -> int:
        """Features R of the representation: a setting of that name, else the tokens' width."""
        settings: Any = self.settings
        return settings.dim_rep if hasattr(settings, "dim_rep") else settings.dim

    def prepare(self, x_NJC: Tensor, pose_NJ3: Tensor) -> None:
        """Take what the model keeps of the training data: z-score statistics, a dictionary.

        Called once, before the first step, with 2D (N, J, 3) and root-relative 3D (N, J, 3) of all
        training frames; what is taken belongs into buffers or parameters, so that checkpoints
        hold it. Most models take nothing.
        """

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss this system was published with, on a window and its 3D (all frames), and its
        named parts.

        The default is the mean joint distance of the frames that come out.
        """
        prediction = self(x_BTJC)
        value = (prediction - self.output_frames(target_BTJ3)).norm(dim=-1).mean()
        return value, {"mpjpe": value.detach()}

    def output_frames(self, target_BTJ3: Tensor) -> Tensor:
        """Of a window's 3D, the frames that the model predicts."""
        frame = self.output_frame(self.settings, target_BTJ3.shape[1])
        return target_BTJ3 if frame is None else target_BTJ3[:, frame : frame + 1]

    def check_input(self, x_BTJC: Tensor) -> Tensor:
        """The input with the channels that the model reads. Raises InputError naming what was
        expected.
        """
        frames = str(self.settings.n_frames) if self.fixed_length else "T"
        n_joints = len(self.skeleton)
        channels = "3" if self.reads_confidence else "2 or 3"

        fits = (
            x_BTJC.ndim == 4
            and (not self.fixed_length or x_BTJC.shape[1] == self.settings.n_frames)
            and x_BTJC.shape[2] == n_joints
            and (x_BTJC.shape[3] == 3 or (x_BTJC.shape[3] == 2 and not self.reads_confidence))
        )
        if not fits:
            expected = f"(B, {frames}, {n_joints}, {channels})"
            raise InputError(
                f"{self.settings.name}: the input must be {expected}, got {tuple(x_BTJC.shape)}"
            )

        return x_BTJC if self.reads_confidence else x_BTJC[..., :2]

    def use(self, path: str) -> Lifter:
        """How layers are computed where there are two ways ("fast", "reference"); else no
        matter.
        """
        return self

    def use_skeleton(self, skeleton: Skeleton) -> Lifter:
        """Take and give these joints from now on. Raises InputError where the weights are bound to
        others.
        """
        if not self.any_skeleton and skeleton.joints != self.skeleton.joints:
            raise InputError(
                f"{self.settings.name}: its weights are bound to the joints of "
                f"{self.skeleton.name}, got {skeleton.name}; model.joint_embedding=name is not"
            )
        self.skeleton = skeleton
        return self

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Settings and state dict from the loaded content of an authors' checkpoint (plain
        dicts, tensors, numbers).

        Names come without `module.`; sizes follow from the tensors' shapes, `settings` says what
        no shape tells. Raises InputError where the layout is not the authors'.
        """
        raise NotImplementedError(f"{cls.Settings().name} has no authors' files that are read here")

    @classmethod
    def authors_unit(cls, settings: ModelSettings) -> Unit:
        """Unit of the outputs with the authors' weights of these settings."""
        return "metres"

    def require_image_units(self) -> None:
        """Raise InputError where the outputs are in another unit."""
        if self.output_unit != IMAGE_UNITS:
            raise InputError(
                f"{self.settings.name}: its authors' weights give {self.output_unit}, and what is "
                f"evaluated or lifted here must be in image units (docs/authors_weights.md)"
            )


def count_parameters(model: nn.Module) -> int:
    """Numbers that a model is made of, buffers apart."""
    return sum(p.numel() for p in model.parameters())


def uses_randomness(model: nn.Module) -> bool:
    """Whether a training step draws random numbers in the model: dropout, stochastic depth, its
    own loss.
    """
    dropping = (nn.modules.dropout._DropoutNd, StochasticDepth)
    draws = any(isinstance(m, dropping) and m.p > 0 for m in model.modules())
    return draws or bool(getattr(model, "draws_in_loss", False))
