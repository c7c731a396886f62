"""What tracing costs: steps with gradtrace over the same steps without it.

Traced and untraced blocks of steps alternate in one process on the same model; each figure is the median over the
rounds of a block's ratio to the untraced block right before it. Beside gradtrace stand its peers, as far as installed.
A traced block begins with a warm-up, since the first backwards are looked at closely by design; what such a close look
costs is the mode "measured". Run it on an otherwise idle machine:

    python benchmarks/overhead.py [--models tiny,transformer] [--modes default,replay] [--markdown docs/costs.md]

What default tracing adds is also told in seconds: what every step pays, and what each gradient tensor adds to it, from
the models of two and of a thousand tensors; beside that the elements of large tensors count little.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradtrace

WARM_UP = 21
"""Traced steps before the timed ones: the closely watched backwards 1, 2, 3, 5, 10 and 20 lie in them."""

BLOCK_SECONDS = 60.0
"""After which no further step of a block begins; the warm-up on the largest model takes less."""

MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "replay": {"replay": True},
    "measured": {"graph": "all"},
}
BUDGETS = {
    ("transformer", "default"): 1.03,
    ("transformer_large", "default"): 1.03,
    ("tiny", "default"): 1.20,
    ("transformer", "measured"): 2.0,
    ("transformer_large", "measured"): 2.0,
    ("transformer", "replay"): 1.06,
    ("transformer", "default/floor"): 1.03,
    ("transformer_large", "default/floor"): 1.03,
}


@dataclass
class Work:
    """A model and what one step of it is given."""

    model: nn.Module
    loss: Callable[[nn.Module], Tensor]

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)
        self.parameters = list(self.model.parameters())

    def step(self, watch: Callable[[Tensor], object] = lambda loss: None) -> None:
        """One training step; `watch` sees the loss before its backward."""
        self.optimizer.zero_grad()
        loss = self.loss(self.model)
        watch(loss)
        loss.backward()
        self.optimizer.step()

    def gradients(self) -> list[Tensor]:
        """The gradients that are there."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]


class Transformer(nn.Module):
    """A language model over 256 tokens."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 256, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens)))


class Experts(nn.Module):
    """Eight experts, each token through one."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(64, 8)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x).softmax(-1)
        chosen = weights.argmax(-1)
        result = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                result = result.index_add(0, rows, expert(x[rows]) * weights[rows, number, None])
        return result


def _regression(model: nn.Module, inputs: Callable[[], Tensor]) -> Work:
    return Work(model, lambda net: net(inputs()).square().mean())


def _language(model: nn.Module) -> Work:
    def loss(net: nn.Module) -> Tensor:
        tokens = torch.randint(0, 256, (8, 65))
        return F.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    return Work(model, loss)


def _tiny() -> Work:
    layers = [layer for _ in range(500) for layer in (nn.Linear(15, 15), nn.Tanh())]
    return _regression(nn.Sequential(*layers), lambda: torch.randn(8, 15))


def _cnn() -> Work:
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU()]
    model = nn.Sequential(*body, nn.Conv2d(64, 64, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    model(torch.randn(1, 3, 32, 32))
    return _regression(model, lambda: torch.randn(32, 3, 32, 32))


def _lstm() -> Work:
    model = nn.LSTM(32, 64, 2, batch_first=True)
    return Work(model, lambda net: net(torch.randn(16, 50, 32))[0].square().mean())


WORKS: dict[str, Callable[[], Work]] = {
    "tutorial": lambda: _regression(nn.Linear(1, 1), lambda: torch.randn(4, 1)),
    "mlp": lambda: _regression(
        nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)),
        lambda: torch.randn(128, 256),
    ),
    "cnn": _cnn,
    "lstm": _lstm,
    "experts": lambda: _regression(Experts(), lambda: torch.randn(256, 64)),
    "tiny": _tiny,
    "transformer": lambda: _language(Transformer(132, 6, 4)),
    "transformer_large": lambda: _language(Transformer(576, 8, 8)),
}


def timed(action: Callable[[], None], steps: int) -> list[float]:
    """Seconds of each of so many steps, or of as many as begin within `BLOCK_SECONDS`: some peers take minutes."""
    found: list[float] = []
    while len(found) < steps and sum(found) < BLOCK_SECONDS:
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return found


def measure(work: Work, steps: int, seconds: float, modes: list[str]) -> dict[str, float]:
    """Ratios to the untraced step of each mode and each peer, and the untraced step's seconds as "plain".

    Each block of steps is compared with an untraced block right before it; the figure is the median over as many rounds
    as are begun within `seconds`, whose number is "rounds".
    """
    ratios: dict[str, list[float]] = {}
    plain: list[float] = []
    timed(work.step, 3)
    rounds, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        rounds += 1
        for name, block in _blocks(work, modes):
            before = statistics.median(timed(work.step, steps))
            plain.append(before)
            with suppress(RecursionError), block as step:  # torchviz recurses once a node
                if name in modes:
                    timed(step, WARM_UP)
                ratios.setdefault(name, []).append(statistics.median(timed(step, steps)) / before)
    found = {name: statistics.median(values) for name, values in ratios.items() if values}
    if "default" in found:
        found["default/floor"] = statistics.median(
            default / floor for default, floor in zip(ratios["default"], ratios["floor"], strict=True)
        )
    return found | {"plain": statistics.median(plain), "rounds": rounds}


def _blocks(work: Work, modes: list[str]) -> Iterator[tuple[str, AbstractContextManager[Callable[[], None]]]]:
    for mode in modes:
        yield mode, _traced(work, mode)
    for name, peer in peers.installed().items():
        yield name, peer(work)


@contextmanager
def _traced(work: Work, mode: str) -> Iterator[Callable[[], None]]:
    with gradtrace.trace(on_finding="ignore", **MODES[mode]):
        yield work.step


def table(results: dict[str, tuple[Work, dict[str, float]]], modes: list[str]) -> str:
    """A Markdown table of ratios to the untraced step; a budget stands in brackets beside what it bounds."""
    heads = ["model", "parameters", "tensors", "step, ms", "rounds", *modes, "default/floor", *peers.installed()]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for name, (work, found) in results.items():
        count = sum(parameter.numel() for parameter in work.parameters)
        cells = [name, f"{count:,}", str(len(work.parameters)), f"{found['plain'] * 1e3:.2f}", str(found["rounds"])]
        for head in heads[5:]:
            budget = BUDGETS.get((name, head))
            bound = f" (<= {budget:.2f})" if budget else ""
            cells.append(f"{found[head]:.3f}{bound}" if head in found else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs(results: dict[str, tuple[Work, dict[str, float]]]) -> str:
    """What default tracing adds to a step: the fixed part, and the part of each tensor."""
    (few, at_few), (many, at_many) = results["tutorial"], results["tiny"]
    added = [(found["default"] - 1) * found["plain"] * 1e6 for found in (at_few, at_many)]
    each = (added[1] - added[0]) / (len(many.parameters) - len(few.parameters))
    return (
        f"Default tracing adds {added[0] - each * len(few.parameters):.0f} microseconds to every step "
        f"and {each:.1f} for each tensor."
    )


def machine() -> str:
    """The machine in one line."""
    software = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.machine()}, {platform.system()}, {software}, 1 thread"


def write_table(path: Path, text: str) -> None:
    """Put the table between the marks of a page."""
    page = path.read_text()
    head, _, rest = page.partition("<!-- table:begin -->")
    _, _, tail = rest.partition("<!-- table:end -->")
    path.write_text(f"{head}<!-- table:begin -->\n{text}\n<!-- table:end -->{tail}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(WORKS), help="names, by comma")
    parser.add_argument("--modes", default=",".join(MODES), help="names, by comma")
    parser.add_argument("--steps", type=int, default=10, help="timed steps a block")
    parser.add_argument("--seconds", type=float, default=100.0, help="rounds begin for so long, for each model")
    parser.add_argument("--markdown", type=Path, help="page to write the table into")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Anomaly Detection")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    modes = options.modes.split(",")
    results = {}
    for name in options.models.split(","):
        work = WORKS[name]()
        results[name] = (work, measure(work, options.steps, options.seconds, modes))
        print(table({name: results[name]}, modes).splitlines()[-1], flush=True)
    text = f"{table(results, modes)}\n\n{machine()}."
    if "default" in modes and {"tutorial", "tiny"} <= results.keys():
        text += f" {costs(results)}"
    print(f"\n{text}")
    if options.markdown:
        write_table(options.markdown, text)


if __name__ == "__main__":
    main()
