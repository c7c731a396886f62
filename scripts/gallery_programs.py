"""The programs behind the gallery: healthy ones, and ones with a fault that somebody once made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Program = tuple[nn.Module, Callable[[], Tensor], Iterable[nn.Parameter]]
"""A model, what computes its loss, and the parameters that are trained."""


class Encoder(nn.Module):
    """Token classification with a transformer encoder; `memory` is the layer in front of which the state is kept for
    the next segment."""

    def __init__(self, layers: int = 6, memory: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.head = nn.Linear(64, 10)
        self.memory = memory

    def forward(self, tokens: Tensor) -> Tensor:
        state = self.embed(tokens)
        for number, layer in enumerate(self.layers):
            if number == self.memory:
                state = state.detach()  # meant for the copy that is kept, not for the state itself
            state = layer(state)
        out: Tensor = self.head(state.mean(1))
        return out


class Recurrent(nn.Module):
    """The last state of a plain recurrent cell."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.cell = nn.RNNCell(16, 32)
        self.head = nn.Linear(32, 2)

    def forward(self, series: Tensor) -> Tensor:
        hidden = torch.zeros(len(series), 32)
        for step in self.embed(series).unbind(1):
            hidden = self.cell(step, hidden)
        out: Tensor = self.head(hidden)
        return out


class Leaky(nn.Module):
    """A sum over time that forgets too fast, written out with plain tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.decay = nn.Parameter(torch.full((16,), -1.5))
        self.head = nn.Linear(16, 2)

    def forward(self, series: Tensor) -> Tensor:
        state = torch.zeros(len(series), 16)
        for step in self.embed(series).unbind(1):
            state = torch.sigmoid(self.decay) * state + step
        out: Tensor = self.head(state)
        return out


class Distance(nn.Module):
    """Embeds two inputs and measures how far apart they are; the root of zero is where its gradient is born ill."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        out: Tensor = (self.body(left) - self.body(right)).square().sum(1).sqrt()
        return out


class Bottleneck(nn.Module):
    """A pre-activation residual block whose last convolution begins at zero, so that it begins as the identity.

    One that is `quantised` rounds what it hands on: a staircase, whose derivative is zero."""

    def __init__(self, inputs: int, width: int, stride: int = 1, *, quantised: bool = False) -> None:
        super().__init__()
        outputs = 4 * width
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        nn.init.zeros_(self.conv3.weight)
        self.project = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None
        self.quantised = quantised

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.norm1(x).relu())
        out = self.conv2(self.norm2(out).relu())
        out = self.conv3(self.norm3(out).relu())
        out = out + (x if self.project is None else self.project(x))
        return torch.round(16 * out) / 16 if self.quantised else out


class ResNet(nn.Module):
    """The 3-4-6-3 blocks of ResNet-50, narrow; one block is quantised."""

    def __init__(self, width: int = 8, broken: tuple[int, int] = (3, 3)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, blocks in enumerate((3, 4, 6, 3), 1):
            inside = width * 2 ** (stage - 1)
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layer.append(Bottleneck(inputs, inside, stride, quantised=(stage, block) == broken))
                inputs = 4 * inside
            self.add_module(f"layer{stage}", layer)
        self.norm = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(self.stem(images))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        out: Tensor = self.fc(self.norm(x).relu().mean((2, 3)))
        return out


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions."""
    parts = [
        (nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()) for width in (inputs, outputs)
    ]
    return nn.Sequential(*parts[0], *parts[1])


class UNet(nn.Module):
    """Four levels; the way up from one of them begins with weights a million times too small."""

    def __init__(self, tiny: str = "up3") -> None:
        super().__init__()
        widths = (8, 16, 32, 64, 128)
        self.pool = nn.MaxPool2d(2)
        for level, (inputs, outputs) in enumerate(pairwise((1, *widths))):
            self.add_module(f"down{level}", double(inputs, outputs))
        for level, (outputs, inputs) in enumerate(pairwise(widths)):
            self.add_module(f"up{level + 1}", nn.ConvTranspose2d(inputs, outputs, 2, 2))
            self.add_module(f"join{level + 1}", double(inputs, outputs))
        self.out = nn.Conv2d(widths[0], 1, 1)
        nn.init.normal_(self.get_parameter(f"{tiny}.weight"), std=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        kept = [self.get_submodule("down0")(images)]
        for level in range(1, 5):
            kept.append(self.get_submodule(f"down{level}")(self.pool(kept[-1])))
        x = kept.pop()
        for level in range(4, 0, -1):
            up = self.get_submodule(f"up{level}")(x)
            x = self.get_submodule(f"join{level}")(torch.cat([up, kept.pop()], 1))
        out: Tensor = self.out(x)
        return out


class Gan(nn.Module):
    """Points in the plane: a generator, and a discriminator that ends in a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        self.discriminator = nn.Sequential(
            nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Sigmoid()
        )

    def teach_discriminator(self, steps: int) -> None:
        """Let the discriminator win."""
        optimizer = torch.optim.Adam(self.discriminator.parameters(), 1e-2)
        ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
        for _ in range(steps):
            real, fake = 4 + 0.1 * torch.randn(64, 2), self.generator(torch.randn(64, 16)).detach()
            loss = functional.binary_cross_entropy(self.discriminator(real), ones)
            loss = loss + functional.binary_cross_entropy(self.discriminator(fake), zeros)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        self.discriminator.requires_grad_(requires_grad=False)


class Experts(nn.Module):
    """One of several experts is taken in each forward; before the last one the state is scaled."""

    def __init__(self, experts: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU()) for _ in range(experts))
        self.head = nn.Linear(16, 1)

    def forward(self, x: Tensor, chosen: int) -> Tensor:
        state = self.stem(x)
        if chosen == len(self.experts) - 1:
            state = state * 0.5
        out: Tensor = self.head(self.experts[chosen](state))
        return out


def experts() -> Program:
    """From the eighth step on the last expert is taken instead of the first."""
    model, x, steps = Experts(), torch.randn(16, 8), itertools.count(1)
    return model, lambda: model(x, 2 if next(steps) >= 8 else 0).square().mean(), model.parameters()


def encoder() -> Program:
    return _tokens(Encoder())


def cut_transformer() -> Program:
    return _tokens(Encoder(24, memory=9))


def _tokens(model: nn.Module) -> Program:
    tokens, classes = torch.randint(0, 100, (8, 16)), torch.randint(0, 10, (8,))
    return model, lambda: functional.cross_entropy(model(tokens), classes), model.parameters()


def resnet() -> Program:
    model, images, classes = ResNet(), torch.randn(4, 3, 64, 64), torch.randint(0, 10, (4,))
    return model, lambda: functional.cross_entropy(model(images), classes), model.parameters()


def unet() -> Program:
    model, images, masks = UNet(), torch.randn(2, 1, 32, 32), torch.randint(0, 2, (2, 1, 32, 32)).float()
    return model, lambda: functional.binary_cross_entropy_with_logits(model(images), masks), model.parameters()


def gan() -> Program:
    model, noise = Gan(), torch.randn(64, 16)
    model.teach_discriminator(300)
    loss = lambda: torch.log(1 - model.discriminator(model.generator(noise))).mean()  # noqa: E731  one shape for all
    return model, loss, model.generator.parameters()


def recurrent() -> Program:
    model, series, classes = Recurrent(), torch.randn(8, 200, 4), torch.randint(0, 2, (8,))
    return model, lambda: functional.cross_entropy(model(series), classes), model.parameters()


def leaky() -> Program:
    model, series, classes = Leaky(), torch.randn(8, 100, 4), torch.randint(0, 2, (8,))
    return model, lambda: functional.cross_entropy(model(series), classes), model.parameters()


def sigmoids() -> Program:
    layers = [part for _ in range(20) for part in (nn.Linear(32, 32), nn.Sigmoid())]
    model, x = nn.Sequential(*layers, nn.Linear(32, 1)), torch.randn(16, 32)
    return model, lambda: model(x).square().mean(), model.parameters()


def distance() -> Program:
    model, x = Distance(), torch.randn(4, 8)
    return model, lambda: model(x, x).mean(), model.parameters()
