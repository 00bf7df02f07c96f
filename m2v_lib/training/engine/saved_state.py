"""What a run is between two steps, as tensors and numbers, and a run that goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from m2v_lib.models.state_files import CheckpointError, load_weights

if TYPE_CHECKING:
    from m2v_lib.training.engine.loop import Trainer


def state_of_run(run: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights, averages, moments and sums, as they lie on the device; counts and what they belong
    to.
    """
    tensors = {f"module.{k}": v for k, v in run.module.state_dict().items()}
    tensors |= {f"sums.{k}": v for k, v in run.training_step.sums.items()}
    if run.average:
        tensors |= {f"average.{k}": v for k, v in run.average.weights.items()}

    for name, parameter in run.named.items():
        for optimiser in run.optimisers:
            moments = optimiser.state.get(parameter, {})
            tensors |= {f"optim.{k}.{name}": v for k, v in moments.items()}

    return tensors, {
        "step": run.step,
        "best": run.best,
        "seconds": run.trained_seconds,
        "fingerprint": run.stage.fingerprint,
        "n_steps": run.schedule.n_steps,
        "logged_step": run.logged_step,
    }


def restore(run: Trainer, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Make a run what `state_of_run` said. Raises CheckpointError when that was one of other data
    or another schedule.
    """
    for key, now in (("fingerprint", run.stage.fingerprint), ("n_steps", run.schedule.n_steps)):
        if state.get(key) != now:
            raise CheckpointError(
                f"{run.checkpoint}: was made with {key} {state.get(key)}, this run has {now}"
            )

    load_weights(run.module, _part(tensors, "module."), run.checkpoint)
    sums = _part(tensors, "sums.")
    run.training_step.sums.update({name: total.to(run.device) for name, total in sums.items()})
    if run.average:
        run.average.load(_part(tensors, "average."))
    _restore_moments(run, tensors)

    run.step, run.best, run.trained_seconds = state["step"], state["best"], state["seconds"]
    run.logged_step = state["logged_step"]


def _restore_moments(run: Trainer, tensors: dict[str, Tensor]) -> None:
    for optimiser in run.optimisers:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                (name,) = (n for n, p in run.named.items() if p is parameter)
                moments = {k.split(".")[1]: v for k, v in tensors.items() if _is_moment_of(k, name)}
                if moments:
                    optimiser.state[parameter] = {
                        k: v.to(parameter.device) for k, v in moments.items()
                    }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _is_moment_of(key: str, name: str) -> bool:
    return key.startswith("optim.") and key.split(".", 2)[2] == name
