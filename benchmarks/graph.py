"""Autograd graphs: how long walking, folding and drawing takes, beside torchviz where that can follow.

    python benchmarks/graph.py [--quick]

Times are the best of several runs, in one process, one thread. Ratios hold from machine to machine, seconds do not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
import torchviz
from torch import Tensor, nn

from gradtrace.capture.oneshot import snapshot
from gradtrace.capture.walk import LiveGraph
from gradtrace.graphs import fold, to_networkx
from gradtrace.renderers import render_graph

TORCHVIZ_LIMIT = 3_000
"""Nodes up to which torchviz is run: beyond, its recursion ends the interpreter sooner or later."""


def best_of(runs: int, function: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def encoder(layers: int) -> tuple[nn.Module, Tensor]:
    """A transformer encoder and the loss of one small batch."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    return model, model(torch.randn(2, 8, 32)).square().mean()


def deep(layers: int) -> tuple[nn.Module, Tensor]:
    """Linear layers and tanh in a row."""
    model = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(8, 8), nn.Tanh())))
    return model, model(torch.randn(4, 8)).square().mean()


def chain(length: int) -> tuple[nn.Module, Tensor]:
    """One op after the other, without a module."""
    x = torch.ones(4, requires_grad=True)
    for _ in range(length):
        x = x.tanh()
    return nn.Module(), x.sum()


def programs(quick: bool) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name, model and loss of what is measured."""
    yield "transformer, 4 layers", *encoder(4)
    yield "transformer, 24 layers", *encoder(24)
    yield "linear + tanh, 400 layers", *deep(400)
    if not quick:
        yield "transformer, 700 layers", *encoder(700)
        yield "chain of 100,000 ops", *chain(100_000)


def measure(name: str, model: nn.Module, loss: Tensor) -> str:
    """One row of the table."""
    taken = snapshot(loss, model)
    size = len(taken.nodes)
    runs = 5 if size < 10_000 else 1
    parameters = dict(model.named_parameters())
    graph = to_networkx(taken)
    seconds = [
        best_of(runs, lambda: LiveGraph([loss])),
        best_of(runs, lambda: snapshot(loss, model)),
        best_of(runs, lambda: to_networkx(taken)),
        best_of(runs, lambda: fold(graph)),
        best_of(runs, lambda: render_graph(graph, format="svg")),
    ]
    if size < TORCHVIZ_LIMIT:
        seconds += [
            best_of(runs, lambda: torchviz.make_dot(loss, parameters)),
            best_of(runs, lambda: torchviz.make_dot(loss, parameters, show_attrs=True, show_saved=True)),
        ]
    return f"{name:<28}{size:>9,}" + "".join(f"{each * 1e3:>11.1f}" for each in seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the graphs of 50,000 nodes and more")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    titles = ("walk", "snapshot", "networkx", "fold", "svg", "make_dot", "make_dot+")
    print(f"{'milliseconds':<28}{'nodes':>9}" + "".join(f"{title:>11}" for title in titles))
    for name, model, loss in programs(quick):
        print(measure(name, model, loss), flush=True)
    print(
        "walk: nodes and edges alone. snapshot: with names, shapes, saved tensors and scalars. svg: from networkx to "
        "the file, folding included.\nmake_dot: torchviz with nodes and edges alone, up to where it can follow; "
        "make_dot+: with saved tensors and scalars."
    )


if __name__ == "__main__":
    main()
