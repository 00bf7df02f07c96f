"""What two choices of joints in Human3.6M's order do to lifting: trained on one, fed the other.

    python data_scripts/compare_joints.py mocap_h36m17 mocap [--runs RUN_A RUN_B]

Stores of the same motion with the same cameras and detector; ridge regression on one frame, and
with ``--runs`` a fine-tuned network of each. Prints the table of docs/motion_capture_joints.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

import numpy as np

from m2v_lib.data.clips import Clips, evaluation_clips, training_clips
from m2v_lib.data.store import open_store
from m2v_lib.evaluation.protocols import predict_clips
from m2v_lib.evaluation.trivial_baselines import features, fit_ridge
from m2v_lib.skeletons import H36M17
from m2v_lib.training.checkpoint import load_checkpoint

# C clips, T frames of a clip, J joints

#: Joints that the two choices may place differently; the others are the same points.
SHOWN: Final = ("spine", "neck")
BONES: Final = tuple((parent, H36M17.index(name)) for parent, name in ((0, "spine"), (7, "neck")))
N_FRAMES: Final = 27

#: Root-relative millimetres (C,T,J,3) from clips.
Lift = Callable[[Clips], np.ndarray]


def clips_of(store: str, which: str) -> Clips:
    sizes = {"input_2d": "detected", "device": "cpu"}
    if which == "train":
        return training_clips(open_store(store), N_FRAMES, 9, validation=True, **sizes)  # type: ignore[arg-type]
    return evaluation_clips(open_store(store), which, N_FRAMES, N_FRAMES, **sizes)  # type: ignore[arg-type]


def mean_pose(train: Clips) -> Lift:
    pose = train.truth_nJ3[np.unique(train.index_CT.numpy())].mean(0)
    return lambda clips: np.broadcast_to(pose, (*clips.index_CT.shape, *pose.shape))


def ridge(train: Clips) -> Lift:
    weights = fit_ridge(train)

    def lift(clips: Clips) -> np.ndarray:
        index = clips.index_CT.numpy()
        pred = (features(clips, index.ravel()) @ weights).reshape(*index.shape, -1, 3)
        return (pred - pred[..., :1, :]) * clips.mm_per_unit_n[index][..., None, None]

    return lift


def network(run: str) -> Lift:
    model, _ = load_checkpoint(run)
    return lambda clips: predict_clips(model, clips)


def row(pred: np.ndarray, clips: Clips, trained_on: np.ndarray) -> list[float]:
    """MPJPE of all joints against what the model was trained for, of those that both choices
    share, of each shown joint, and by how much the two bones of the trunk are too long or short.
    """
    index = clips.index_CT.numpy()
    truth = trained_on[index]
    errors = np.linalg.norm(pred - truth, axis=-1).mean((0, 1))
    moved = [H36M17.index(name) for name in SHOWN]
    common = [j for j in range(len(H36M17)) if j not in moved]

    def length(joints: np.ndarray, bone: tuple[int, int]) -> np.ndarray:
        return np.linalg.norm(joints[..., bone[1], :] - joints[..., bone[0], :], axis=-1)

    bones = [abs(length(pred, bone) - length(truth, bone)).mean() for bone in BONES]
    return [float(v) for v in (errors.mean(), errors[common].mean(), *errors[moved], *bones)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stores", nargs=2)
    parser.add_argument("--runs", nargs=2, default=())
    args = parser.parse_args()
    trains = [clips_of(store, "train") for store in args.stores]
    tests = [clips_of(store, "test") for store in args.stores]
    methods: dict[str, list[Lift]] = {
        "mean pose": [mean_pose(train) for train in trains],
        "ridge": [ridge(train) for train in trains],
    }
    if args.runs:
        methods["network"] = [network(run) for run in args.runs]

    head = ["trained on", "fed with", "all", "15 shared", *SHOWN, "bone to spine", "bone to neck"]
    print(f"| method | {' | '.join(head)} |\n|---|---|---|{'--:|' * 6}")
    for name, lifts in methods.items():
        for i, lift in enumerate(lifts):
            for j, test in enumerate(tests):
                values = row(lift(test), test, tests[i].truth_nJ3)
                said = " | ".join(f"{v:.1f}" for v in values)
                print(f"| {name} | {args.stores[i]} | {args.stores[j]} | {said} |", flush=True)


if __name__ == "__main__":
    main()
