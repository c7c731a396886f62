"""Tensors and ops that are not as usual: changed in place, of odd types and layouts, with gradients of their own."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.base import Program, awkward, batch, mlp, plain


class _Inplace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).mul_(0.5)
        hidden += 1
        return self.last(self.relu(hidden))


@awkward()
def inplace_ops() -> Program:
    return plain(_Inplace())


class _OnViews(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x) * 1
        hidden[:, :4] = torch.sin(hidden[:, 4:].clone())
        hidden[:, 2].mul_(2)
        hidden.t()[5:7].tanh_()
        return self.last(hidden)


@awkward()
def inplace_on_views() -> Program:
    """The views' nodes are rebased to CopySlices."""
    return plain(_OnViews())


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, power: int) -> Tensor:
        ctx.save_for_backward(x, factor)
        ctx.power = power
        return x * factor**power

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, factor = ctx.saved_tensors
        return gradient * factor**ctx.power, (gradient * x * ctx.power * factor ** (ctx.power - 1)).sum(), None


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return x * 2, y * 2

    @staticmethod
    def backward(ctx: Any, x: Tensor | None, y: Tensor | None) -> tuple[Tensor | None, None]:
        return None if x is None else x * 2, None


class _Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.factor = nn.Parameter(torch.tensor(1.5))
        self.starved = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = _Nothing.apply(self.layer(x), self.starved)
        return _Scale.apply(y, self.factor, 2)


@awkward()
def custom_functions() -> Program:
    """One of them returns None for a parameter that wants a gradient."""
    return plain(_Custom())


class _Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 8))
        self.last = nn.Linear(8, 1)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        for _ in range(2):
            hidden = checkpoint(self.block, hidden, use_reentrant=self.reentrant)
        return self.last(hidden)


@awkward()
def checkpoint_not_reentrant() -> Program:
    return plain(_Checkpointed(reentrant=False))


@awkward()
def checkpoint_reentrant() -> Program:
    """The backward of the outer graph runs a forward and a backward inside."""
    return plain(_Checkpointed(reentrant=True))


class _Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 6, sparse=True)
        self.bag = nn.EmbeddingBag(50, 6, sparse=True, mode="sum")
        self.head = nn.Linear(6, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.table(tokens).mean(1) + self.bag(tokens))


@awkward()
def sparse_embedding() -> Program:
    model = _Bag()
    sparse = torch.optim.SparseAdam([*model.table.parameters(), *model.bag.parameters()], 0.01)
    dense = torch.optim.AdamW(model.head.parameters(), 0.01)

    def step(number: int) -> Tensor:
        for optimizer in (sparse, dense):
            optimizer.zero_grad()
        loss = model(torch.randint(50, (8, 3))).square().mean()
        loss.backward()
        for optimizer in (sparse, dense):
            optimizer.step()
        return loss

    return Program(step, [model], [sparse, dense])


class _Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
        self.phase = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft(x) @ self.weight.conj()
        return torch.fft.ifft(spectrum * torch.exp(1j * self.phase)).real.sum(1, keepdim=True)


@awkward()
def complex_parameters() -> Program:
    return plain(_Complex())


class _Scalars(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.offset = nn.Parameter(torch.tensor(0.1))
        self.empty = nn.Parameter(torch.zeros(0, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True) * self.slope + self.offset + self.empty.sum()


@awkward()
def zero_dim_and_empty_parameters() -> Program:
    return plain(_Scalars())


def _typed(dtype: torch.dtype) -> Program:
    def make() -> tuple[Tensor, Tensor]:
        x, y = batch()
        return x.to(dtype), y.to(dtype)

    return plain(mlp().to(dtype), make)


@awkward()
def half_parameters() -> Program:
    return _typed(torch.float16)


@awkward()
def bfloat16_parameters() -> Program:
    return _typed(torch.bfloat16)


@awkward()
def float64_parameters() -> Program:
    return _typed(torch.float64)


@awkward()
def mixed_dtype_parameters() -> Program:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(4, 4).double()
            self.narrow = nn.Linear(4, 1).bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.narrow(self.wide(x.double()).tanh().bfloat16()).float()

    return plain(Mixed())


@awkward()
def nested_tensors() -> Program:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that nested tensors are a prototype
            ragged = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)])
        optimizer.zero_grad()
        loss = torch.nested.to_padded_tensor(model(ragged), 0.0).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])
