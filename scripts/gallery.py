"""Write docs/gallery.md and its pictures: what `gradtrace render` makes of programs one meets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import gradtrace

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gallery.md"
IMAGES = ROOT / "docs" / "images"


class Picture(NamedTuple):
    """A program, how it is drawn, and what there is to see."""

    name: str
    title: str
    text: str
    program: Callable[[], tuple[nn.Module, Callable[[], Tensor]]]
    options: dict[str, Any]


class Encoder(nn.Module):
    """Token classification with a transformer encoder."""

    def __init__(self, layers: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.embed(tokens)).mean(1))
        return out


class Recurrent(nn.Module):
    """The last state of a plain recurrent cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(16, 32)
        self.head = nn.Linear(32, 2)

    def forward(self, series: Tensor) -> Tensor:
        hidden = torch.zeros(len(series), 32)
        for step in series.unbind(1):
            hidden = self.cell(step, hidden)
        out: Tensor = self.head(hidden)
        return out


class Distance(nn.Module):
    """Embeds two inputs and measures how far apart they are; the root of zero is where its gradient is born ill."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        out: Tensor = (self.body(left) - self.body(right)).square().sum(1).sqrt()
        return out


def encoder() -> tuple[nn.Module, Callable[[], Tensor]]:
    model, tokens, classes = Encoder(), torch.randint(0, 100, (8, 16)), torch.randint(0, 10, (8,))
    return model, lambda: nn.functional.cross_entropy(model(tokens), classes)


def sigmoids() -> tuple[nn.Module, Callable[[], Tensor]]:
    layers = [part for _ in range(20) for part in (nn.Linear(32, 32), nn.Sigmoid())]
    model, x = nn.Sequential(*layers, nn.Linear(32, 1)), torch.randn(16, 32)
    return model, lambda: model(x).square().mean()


def recurrent() -> tuple[nn.Module, Callable[[], Tensor]]:
    model, series, classes = Recurrent(), torch.randn(8, 100, 16), torch.randint(0, 2, (8,))
    return model, lambda: nn.functional.cross_entropy(model(series), classes)


def distance() -> tuple[nn.Module, Callable[[], Tensor]]:
    model, x = Distance(), torch.randn(4, 8)
    return model, lambda: model(x, x).mean()


PICTURES = (
    Picture(
        "transformer",
        "A transformer, as it should be",
        "Read from the top: the loss, and the way of its gradient down to the first layer. Six equal layers are one, "
        "with the range of their gradients. Thick and dark is a large gradient, thin and pale a small one; the legend "
        "has the numbers. Dropout, views and weights are folded into what uses them.",
        encoder,
        {},
    ),
    Picture(
        "vanishing",
        "Where the gradient dies",
        "Twenty sigmoids in a row. What has lost three orders of magnitude since the loss is drawn in amber, with "
        "dashed lines; the layer where that happens stands alone, the rest is one box again. The finding is marked.",
        sigmoids,
        {},
    ),
    Picture(
        "time",
        "Where it dies in time",
        "A recurrent cell that is called a hundred times is one box as long as its calls are alike: here the calls "
        "that the gradient still reaches, and those it does not.",
        recurrent,
        {},
    ),
    Picture(
        "nan",
        "Where a NaN is born",
        "The square root of zero hands on an infinite gradient, and infinity times zero is NaN. Purple is everything "
        "that it reaches. `--depth full` shows every node of the graph.",
        distance,
        {"depth": "full"},
    ),
    Picture(
        "focus",
        "One module",
        "`--focus encoder.layers.2.self_attn`: what is inside, and, dashed, what the gradient comes from and goes to.",
        encoder,
        {"focus": "encoder.layers.2.self_attn"},
    ),
    Picture(
        "path",
        "All ways to one parameter",
        "`--path loss:embed.weight`: skip connections make many ways; they are counted, and the gain of the best and "
        "the worst is told.",
        encoder,
        {"path": "loss:embed.weight", "depth": 3},
    ),
    Picture(
        "gain",
        "Who shrinks it",
        "`--color gain`: what hands on less than it got is orange, what hands on more is violet.",
        encoder,
        {"color": "gain"},
    ),
    Picture(
        "time_spent",
        "Where the backward pass spends its time",
        "`--color time`; `--color memory` does the same for the tensors that are kept for it.",
        encoder,
        {"color": "time", "depth": 2},
    ),
)


def draw(picture: Picture) -> None:
    """Trace three steps of the program and draw the last backward."""
    torch.manual_seed(0)
    model, loss = picture.program()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradtrace.trace(model, on_finding="ignore", graph="all") as trace:
        for _ in range(3):
            optimizer.zero_grad()
            torch.autograd.backward(loss())
            optimizer.step()
    path = IMAGES / f"gallery_{picture.name}.svg"
    drawn = str(trace.draw(1, **picture.options))
    # Links to sources are absolute: right for one's own pictures, of no use in a book.
    path.write_text(drawn.replace(f"file://{ROOT}", "../..").replace(f"{ROOT}/", ""))


def page() -> str:
    """The gallery in Markdown."""
    sections = [f"## {it.title}\n\n{it.text}\n\n![{it.title}](images/gallery_{it.name}.svg)" for it in PICTURES]
    intro = (
        "# Gallery\n\n"
        "Pictures that `gradtrace render` makes, by `scripts/gallery.py`. They follow the light or dark mode of the "
        "page they stand on. Hover over a box for all that is known about it; click to open its source."
    )
    return "\n\n".join([intro, *sections]) + "\n"


def main() -> int:
    """Write everything; with `--check` only tell whether the page is up to date."""
    if sys.argv[1:] == ["--check"]:
        return 0 if PAGE.read_text() == page() else 1
    warnings.simplefilter("ignore")
    IMAGES.mkdir(exist_ok=True)
    for picture in PICTURES:
        draw(picture)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
