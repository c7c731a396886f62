"""Made-up content for traces."""

from __future__ import annotations

import numpy as np

from gradtrace.model import (
    ABSENT,
    BACKWARD,
    LOOP,
    STATISTICS,
    BackwardFlag,
    Edge,
    LoopKind,
    Node,
    Parameter,
    Snapshot,
    Source,
)

AWKWARD_NAMES = (
    "encoder.0.weight",
    "🙂.gewicht",
    'a "quoted" name',
    "line\nbreak",
    "nul\0byte",
    "\udc80lone",
    "'; DROP--",
    "",
)


def parameters(count: int) -> list[Parameter]:
    return [Parameter(number, f"layer{number}.weight", "", "Linear", (2, 3)) for number in range(count)]


def backward(number: int, **fields: float) -> tuple:
    """A record of dtype BACKWARD as a tuple."""
    known = {"number": number, "step": number - 1, "time": number / 8, "loss": 1 / number, "loss_scale": 1, **fields}
    return tuple(known.get(name, 0) for name in BACKWARD.names)


def loop(number: int, kind: LoopKind = LoopKind.BACKWARD) -> tuple:
    known = {"kind": kind, "subject": -1, "backward": number, "step": number - 1}
    return tuple(known.get(name, 0) for name in LOOP.names)


def values(number: int, width: int) -> np.ndarray:
    """Statistics of one backward: float32 (STATISTICS, width), the same for the same number."""
    found = np.random.default_rng(number).random((len(STATISTICS), width), np.float32)
    if width and number % 3 == 0:
        found[:, 0] = ABSENT, np.nan, np.nan
    return found


def fill(writer, count: int, width: int, first: int = 1) -> None:
    """Write backwards `first` to `first + count - 1`."""
    numbers = range(first, first + count)
    writer.put_rows(
        [backward(number) for number in numbers],
        [loop(number) for number in numbers],
        [values(number, width) for number in numbers],
    )


def expected(statistic: str, count: int, width: int) -> np.ndarray:
    index = STATISTICS.index(statistic)
    return np.stack([values(number, width)[index] for number in range(1, count + 1)])


def snapshot(backward: int = 1, *, complete: bool = True, measured: bool = True, structure: str = "abc") -> Snapshot:
    source = Source("model.py", 7, "forward", "return self.a(x)") if complete else None
    module = {"module": "a", "module_type": "Linear", "call": 1} if complete else {}
    norm = 0.1 * backward if measured else None
    nodes = (
        Node(0, "", "root", sequence=None),
        Node(1, "MulBackward0", "op", source=source, shape=(2, 3), dtype="float32", sequence=90 + backward,
             attributes={"dim": 1}, grad_norm=norm, nonfinite=0, **module),
        Node(2, "AccumulateGrad", "parameter", "a.weight" if complete else None, shape=(), saved_bytes=24),
    )  # fmt: skip
    edges = (Edge(0, 1, 0), Edge(1, 2, 1, (2, 3), "float32", float("inf") if measured else None))
    return Snapshot(backward, "backward", structure, nodes, edges, (0,), 0.5, "2.13", measured, complete)


SCALED = int(BackwardFlag.SCALED)
