"""Backwards of several threads."""

from __future__ import annotations

import threading

import torch
from torch import Tensor
from torch.nn import functional

from zoo.base import Program, awkward, batch, mlp

_PATIENCE = 60.0


@awkward()
def backwards_at_once() -> Program:
    """Two networks, each trained by a thread; one trains while the other is inside its engine."""
    slow, quick = mlp(), mlp()
    optimizers = [torch.optim.SGD(model.parameters(), 0.05) for model in (slow, quick)]

    def held_back(x: Tensor, y: Tensor, inside: threading.Event, go_on: threading.Event) -> None:
        def wait(gradient: Tensor) -> None:
            inside.set()
            go_on.wait(_PATIENCE)

        loss = functional.mse_loss(slow(x), y)
        loss.register_hook(wait)
        loss.backward()
        optimizers[0].step()
        optimizers[0].zero_grad()

    def step(number: int) -> Tensor:
        inside, go_on = threading.Event(), threading.Event()
        thread = threading.Thread(target=held_back, args=(*batch(), inside, go_on))
        thread.start()
        inside.wait(_PATIENCE)
        x, y = batch()
        loss = functional.mse_loss(quick(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(quick.parameters(), 1.0)
        optimizers[1].step()
        optimizers[1].zero_grad()
        go_on.set()
        thread.join()
        return loss

    return Program(step, [slow, quick], optimizers)
