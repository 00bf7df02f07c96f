"""Every matrix product of a forward pass, told apart by its factors: is one of them a weight?

A layer may be computed away from its module (a convolution as one product, a group of weights
cut from one parameter), so neither the module nor the operation says what a product is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

aten = torch.ops.aten
#: Operations whose first argument is added to the product of the next two.
ADDING = (aten.addmm, aten.baddbmm)
#: Operations that copy or join numbers as they are; views share their storage anyhow.
MOVING = (aten.clone, aten._to_copy, aten.cat, aten.stack, aten.repeat, aten.index_select)


@dataclass(frozen=True)
class Product:
    """A matrix product or convolution."""

    #: Qualified name of the innermost module that ran it; "" is the model itself.
    module: str
    #: Qualified name of the parameter among its factors; None: both were computed or fixed.
    weight: str | None
    macs: int  # multiply-accumulates


def products_of(model: nn.Module, *inputs: Tensor) -> tuple[Any, list[Product]]:
    """What the model gives, and its products in order; shapes alone matter, so meta tensors do."""
    recorder = _Recorder(model)
    with torch.no_grad(), recorder.tracker, recorder:
        output = model(*inputs)
    return output, recorder.products


class _Recorder(TorchDispatchMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tracker = ModuleTracker()
        self.root = type(model).__name__
        self.products: list[Product] = []
        #: Storage of a weight, or of a copy of one -> its name.
        self.weights = {storage(p): name for name, p in model.named_parameters()}
        self.kept: list[Tensor] = []  # so that no copy's storage is used again

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        operation = func._overloadpacket
        if operation not in flop_registry:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result

        result = func(*args, **kwargs)
        if operation in flop_registry:
            factors = args[1:3] if operation in ADDING else args[:2]
            macs = flop_registry[operation](*args, **kwargs, out_val=result) // 2
            self.products.append(Product(self.module(), self.weight_among(factors), macs))
        elif operation in MOVING:
            self.follow(args, result)

        return result

    def module(self) -> str:
        """The innermost module that runs now."""
        running = self.tracker.parents - {"Global"}
        innermost = max(running, key=lambda name: name.count("."), default=self.root)
        return innermost.removeprefix(self.root).removeprefix(".")

    def weight_among(self, factors: Sequence[Tensor]) -> str | None:
        names = (self.weights.get(storage(factor)) for factor in factors)
        return next((name for name in names if name), None)

    def follow(self, args: Sequence[Any], result: Tensor) -> None:
        """A copy of a weight is that weight, weights joined are the first of them."""
        sources = args[0] if isinstance(args[0], list | tuple) else args[:1]
        names = [self.weights.get(storage(source)) for source in sources]
        if names and all(names):
            self.weights[storage(result)] = names[0] or ""
            self.kept.append(result)


def storage(tensor: Tensor) -> int:
    """Equal for all views of a tensor, on any device."""
    return tensor.untyped_storage()._cdata
