"""The stages that can be trained, by name."""

from __future__ import annotations

from typing import Final

from m2v_lib.training.action import ActionRecognition
from m2v_lib.training.finetune import Finetune
from m2v_lib.training.pretrain import Pretrain
from m2v_lib.training.stage import Stage

STAGES: Final[dict[str, type[Stage]]] = {
    kind.name: kind for kind in (Pretrain, Finetune, ActionRecognition)
}
