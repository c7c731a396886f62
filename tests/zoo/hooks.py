"""Hooks, modes and compilers of the program's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.nn import functional

from zoo.base import Program, awkward, batch, frozen, mlp, plain, plain_step


@awkward()
def hooks_of_the_program() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    seen: list[Any] = []
    model[0].register_forward_pre_hook(lambda module, args: (args[0] * 1.5,))
    model[1].register_forward_hook(lambda module, args, output: output * 0.5)
    model[2].register_full_backward_hook(lambda module, left, reached: (left[0] * 2,))
    model[2].register_full_backward_pre_hook(lambda module, reached: (reached[0] + 0.1,))
    model[0].weight.register_hook(lambda gradient: gradient * 0.5)
    model[4].weight.register_post_accumulate_grad_hook(lambda parameter: seen.append(frozen(parameter.grad)))

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.grad_fn.register_prehook(lambda reached: seen.append(frozen(list(reached))))
        loss.backward()
        optimizer.step()
        return [loss, list(seen)]

    return Program(step, [model], [optimizer])


@awkward()
def optimizer_in_backward() -> Program:
    """Each parameter is stepped and cleared as soon as its gradient is there."""
    model = mlp()
    own = {parameter: torch.optim.SGD([parameter], 0.05) for parameter in model.parameters()}

    def step_one(parameter: Tensor) -> None:
        own[parameter].step()
        own[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step_one)

    def step(number: int) -> Tensor:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    return Program(step, [model], list(own.values()))


@awkward()
def saved_tensors_on_host() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    packed: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tuple(tensor.shape))
        return tensor.clone()

    def unpack(tensor: Tensor) -> Tensor:
        packed.append(tuple(tensor.shape))
        return tensor

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            hidden = model[:2](x)
        with save_on_cpu():
            loss = functional.mse_loss(model[2:](hidden), y)
        loss.backward()
        optimizer.step()
        return [loss, list(packed)]

    return Program(step, [model], [optimizer])


@awkward()
def anomaly_detection() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autograd.detect_anomaly(check_nan=True):
            loss = functional.mse_loss(model(x), y)
            loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=2)


class _Counting(torch.overrides.TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@awkward()
def function_mode_of_the_program() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        with _Counting() as counting:
            loss = train(number)
        return [loss, counting.names]

    return Program(step, [model], [optimizer])


class _Marked(Tensor):
    pass


@awkward()
def tensor_subclass() -> Program:
    model = mlp()

    def make() -> tuple[Tensor, Tensor]:
        x, y = batch()
        return x.as_subclass(_Marked), y

    return plain(model, make)


def _compiled(backend: str) -> Program:
    torch._dynamo.reset()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    return Program(plain_step(torch.compile(model, backend=backend), optimizer), [model], [optimizer])


@awkward(slow=True)
def compiled_eager() -> Program:
    return _compiled("eager")


@awkward(slow=True)
def compiled_aot_eager() -> Program:
    return _compiled("aot_eager")
