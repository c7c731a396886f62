"""What else watches gradients, on the same step: each peer gives the step to time, set up and cleaned up around it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from overhead import Work

Step = Callable[[], None]
Peer = Callable[["Work"], AbstractContextManager[Step]]


@contextmanager
def floor(work: Work) -> Iterator[Step]:
    """One multi-tensor norm over all gradients."""

    def step() -> None:
        work.step()
        torch._foreach_norm(work.gradients())

    yield step


@contextmanager
def items(work: Work) -> Iterator[Step]:
    """What people write by hand: a norm and an `item()` a parameter."""

    def step() -> None:
        work.step()
        for gradient in work.gradients():
            gradient.norm().item()

    yield step


@contextmanager
def anomaly_detection(work: Work) -> Iterator[Step]:
    """`torch.autograd.detect_anomaly`."""
    with torch.autograd.detect_anomaly():
        yield work.step


@contextmanager
def lightning_grad_norm(work: Work) -> Iterator[Step]:
    """Lightning's `grad_norm`, as its documentation has it in `on_before_optimizer_step`."""
    from lightning.pytorch.utilities import grad_norm

    def step() -> None:
        work.step()
        grad_norm(work.model, norm_type=2)

    yield step


@contextmanager
def tensorboard_histograms(work: Work) -> Iterator[Step]:
    """A histogram of every gradient at every step."""
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:

        def step() -> None:
            work.step()
            for number, gradient in enumerate(work.gradients()):
                writer.add_histogram(f"gradient/{number}", gradient)

        yield step


@contextmanager
def wandb_watch(work: Work) -> Iterator[Step]:
    """`wandb.watch` of the gradients at every step, offline."""
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True, console="off"))
        run.watch(work.model, log="gradients", log_freq=1)

        def step() -> None:
            work.step()
            run.log({})

        yield step
        run.unwatch(work.model)
        run.finish()


@contextmanager
def torchviz_graph(work: Work) -> Iterator[Step]:
    """torchviz's graph of every step's loss, not drawn."""
    import torchviz

    yield lambda: work.step(watch=torchviz.make_dot)


@contextmanager
def torchlens_log(work: Work) -> Iterator[Step]:
    """torchlens' log of one forward beside every step, since it wants to run the forward itself."""
    import torchlens

    class Forward(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = work.model

        def forward(self, unused: torch.Tensor) -> torch.Tensor:
            return work.loss(self.model)

    forward, unused = Forward(), torch.zeros(1)

    def step() -> None:
        work.step()
        torchlens.trace(forward, unused)

    yield step


_PEERS: dict[str, tuple[str, Peer]] = {
    "floor": ("torch", floor),
    "norm().item()": ("torch", items),
    "detect_anomaly": ("torch", anomaly_detection),
    "Lightning grad_norm": ("lightning", lightning_grad_norm),
    "TensorBoard histograms": ("tensorboard", tensorboard_histograms),
    "wandb.watch": ("wandb", wandb_watch),
    "torchviz": ("torchviz", torchviz_graph),
    "torchlens": ("torchlens", torchlens_log),
}


def installed() -> dict[str, Peer]:
    """The peers whose library is there."""
    return {name: peer for name, (library, peer) in _PEERS.items() if importlib.util.find_spec(library)}
