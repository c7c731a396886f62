"""Autograd graphs: how long walking, folding and drawing takes, beside torchviz where that can follow.

    python benchmarks/graph.py [--quick]

Times are the best of several runs, in one process, one thread. Ratios hold from machine to machine, seconds do not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gradtrace.capture.oneshot import snapshot
from gradtrace.capture.torchviz_adapter import torchviz_dot
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
    runs = 3 if size < 10_000 else 1
    walk = best_of(runs, lambda: snapshot(loss, model))
    viz = best_of(runs, lambda: torchviz_dot(loss, model)) if size < TORCHVIZ_LIMIT else None
    graph = to_networkx(taken)
    networkx = best_of(runs, lambda: to_networkx(taken))
    folding = best_of(runs, lambda: fold(graph))
    render = best_of(runs, lambda: render_graph(graph, format="svg"))
    ratio = f"{viz / walk:.1f}" if viz else "cannot"
    times = "".join(f"{seconds * 1e3:>10.1f}" for seconds in (walk, networkx, folding, render))
    return f"{name:<28}{size:>9,}{times}{viz * 1e3 if viz else float('nan'):>10.1f}{ratio:>8}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the graphs of 50,000 nodes and more")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print("milliseconds".rjust(77))
    columns = "".join(f"{title:>10}" for title in ("walk", "networkx", "fold", "svg", "torchviz"))
    print(f"{'graph':<28}{'nodes':>9}{columns}{'ratio':>8}")
    for name, model, loss in programs(quick):
        print(measure(name, model, loss), flush=True)
    print("svg: folding included, from networkx to the finished file. ratio: torchviz.make_dot over walk.")


if __name__ == "__main__":
    main()
