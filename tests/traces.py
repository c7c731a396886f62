"""Made-up traces of any size, for tests of what reads traces."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np

from gradtrace.model import ABSENT, BACKWARD, LOOP, Edge, LoopKind, Module, Node, Optimizer, Parameter, Snapshot, Source
from gradtrace.store.writer import Writer


def write_trace(
    path: Path,
    *,
    backwards: int,
    layers: int,
    name: str = "layer",
    seed: int = 0,
    meta: dict | None = None,
    snapshots: tuple[int, ...] = (1,),
    learning_rate: float = 0.1,
    dtype: str = "float32",
    change: tuple[int, int, float] | None = None,
    absent: tuple[int, int] | None = None,
    source: Source | None = None,
    close: bool = True,
) -> Path:
    """A chain of `layers` Linear modules with a weight each.

    `change` is (backward, parameter, factor) of one gradient, `absent` a (backward, parameter) without one.
    """
    writer = Writer(path, {"version": "0.1.0", "torch": "2.13.0", "argv": ["train.py"], "rank": None, **(meta or {})})
    with closing(writer) if close else nullcontext():
        modules = [f"{name}{at}" for at in range(layers)]
        writer.put_parameters(
            Parameter(at, f"{module}.weight", module, "Linear", (4, 8), dtype) for at, module in enumerate(modules)
        )
        writer.put_modules([Module("", "Net", ""), *(Module(module, "Linear", "") for module in modules)])
        writer.put_optimizers([Optimizer(0, "optimizer", "SGD", tuple(range(layers)), (tuple(range(layers)),))])
        structure = 0
        for backward in snapshots:
            structure = writer.put_snapshot(chain(modules, backward, dtype, source))
        numbers = range(1, backwards + 1)
        writer.put_rows(
            [
                _record(BACKWARD, number=n, step=n - 1, time=n / 8, loss=1 / n, loss_scale=1, structure=structure)
                for n in numbers
            ],
            [
                _record(LOOP, kind=kind, backward=n, step=n if kind == LoopKind.STEP else n - 1, value=learning_rate)
                for n in numbers
                for kind in (LoopKind.BACKWARD, LoopKind.STEP)
            ],
            [_values(n, layers, seed, change, absent) for n in numbers],
        )
        for step in range(10, backwards + 1, 10):
            writer.put_sample("update_norm", step, np.full(layers, 0.01, np.float32))
            writer.put_sample("weight_norm", step, np.full(layers, 10.0, np.float32))
        writer.flush()
    if not close:
        writer.abandon()
    return path


def chain(modules: list[str], backward: int, dtype: str = "float32", source: Source | None = None) -> Snapshot:
    """The graph of one layer after the other, its gradient halved by each."""
    nodes = [
        Node(0, "MseLossBackward0", "root", shape=(), dtype=dtype, grad_norm=1.0, gain=0.5, sequence=99 * len(modules))
    ]
    edges = []
    for at, module in enumerate(reversed(modules)):
        op, leaf, norm = 2 * at + 1, 2 * at + 2, 0.5 ** (at + 1) / backward
        nodes.append(
            Node(op, "AddmmBackward0", "op", module=module, module_type="Linear", call=1, source=source, shape=(2, 4),
                 dtype=dtype, sequence=9 * (len(modules) - at), grad_norm=norm, grad_max=norm, nonfinite=0, gain=0.5)
        )  # fmt: skip
        nodes.append(
            Node(
                leaf,
                "AccumulateGrad",
                "parameter",
                f"{module}.weight",
                module,
                "Linear",
                shape=(4, 8),
                dtype=dtype,
                grad_norm=norm,
            )
        )
        edges += [Edge(max(0, op - 2), op, 0, (2, 4), dtype, norm), Edge(op, leaf, 0, (4, 8), dtype, norm)]
    return Snapshot(backward, "backward", "chain", tuple(nodes), tuple(edges), (0,), 1.0, "2.13.0", True, True)


def _record(layout: np.dtype, **known: float) -> tuple:
    return tuple(known.get(name, 0) for name in layout.names)


def _values(
    number: int,
    width: int,
    seed: int,
    change: tuple[int, int, float] | None,
    absent: tuple[int, int] | None,
) -> np.ndarray:
    """Statistics of one backward, (3, width): norms that fall from the last layer to the first, with noise."""
    noise = np.random.default_rng([seed, number]).random((3, width), np.float32)
    norms = (0.5 + noise[0]) * 10.0 ** (-3 * np.arange(width)[::-1] / width)
    values = np.stack([norms, norms / 3, noise[2] * 0.1]).astype(np.float32)
    if absent and number == absent[0]:
        values[:, absent[1]] = ABSENT, np.nan, np.nan
    if change and number >= change[0]:
        values[:2, change[1]] *= change[2]
    return values
