"""Reading traces: how long commands take as whole processes, how much memory they need, how large traces are.

    python benchmarks/reading.py [--quick]

The traces are made up: norms that a random walk carries on, every parameter with a gradient at every backward, and the
loop events of a plain training loop. Seconds differ from machine to machine; run it on an otherwise idle one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradtrace.model import BACKWARD, LOOP, STATISTICS, Edge, LoopKind, Node, Parameter, Snapshot
from gradtrace.store.writer import Writer

FLUSHED = 500
"""Backwards between two flushes."""

EVENTS = (LoopKind.ZERO_GRAD, LoopKind.FORWARD, LoopKind.BACKWARD, LoopKind.STEP)


@dataclass(frozen=True)
class Run:
    """A command as it ran: seconds of the whole process, and the most memory it held, in MiB.

    Less than this process held when it started the command does not show.
    """

    seconds: float
    memory: float


def run(*arguments: str) -> Run:
    """Run the command line as a user does; findings (exit code 1) are an answer too."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "gradtrace", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"gradtrace {' '.join(arguments)} failed")
    return Run(seconds, usage.ru_maxrss / 1024)


def write(path: Path, backwards: int, parameters: int, seed: int = 0, rank: int | None = None) -> float:
    """Write a trace; returns its bytes a value."""
    random = np.random.default_rng(seed)
    writer = Writer(path, {} if rank is None else {"rank": rank})
    writer.put_parameters(Parameter(n, f"layers.{n // 2}.{'bias' if n % 2 else 'weight'}") for n in range(parameters))
    level = random.normal(size=parameters)
    for first in range(1, backwards + 1, FLUSHED):
        rows = min(FLUSHED, backwards + 1 - first)
        steps = np.cumsum(random.normal(size=(rows, parameters)), axis=0) * 0.01 + level
        level = steps[-1]
        values = np.stack([np.exp(steps), np.exp(steps - 2), np.zeros_like(steps)], axis=1).astype(np.float32)
        writer.put_block(*_records(random, first, rows), values)
        writer.flush()
    writer.close()
    return path.stat().st_size / (backwards * parameters * len(STATISTICS))


def _records(random: np.random.Generator, first: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    backwards, loop = np.zeros(rows, BACKWARD), np.zeros(rows * len(EVENTS), LOOP)
    backwards["number"] = np.arange(first, first + rows)
    backwards["step"] = backwards["number"] - 1
    backwards["loss_scale"] = 1
    backwards["time"] = backwards["number"] * 0.01
    for name in ("loss", "seconds", "overhead"):
        backwards[name] = random.random(rows)
    loop["kind"] = np.tile(EVENTS, rows)
    loop["backward"] = np.repeat(backwards["number"], len(EVENTS))
    loop["step"] = np.repeat(backwards["step"], len(EVENTS))
    return backwards, loop


def chain(nodes: int) -> Snapshot:
    """A measured graph of so many nodes, forty to a module."""
    made = tuple(
        Node(n, f"Op{n % 9}Backward0", "op", None, f"blocks.{n // 40}.linear", "Linear", 1, None, (8, 64), "float32",
             "cpu", 2048, nodes - n, {"dim": n % 2}, 1 / (n + 3), 1 / (n + 5), 0, 1.0, 1e-5)
        for n in range(nodes)
    )  # fmt: skip
    edges = tuple(Edge(n, n + 1, 0, (8, 64), "float32", 1 / (n + 7)) for n in range(nodes - 1))
    return Snapshot(1, "backward", f"chain {nodes}", made, edges, (0,), 1.0, "2.13", measured=True)


def with_graph(path: Path, nodes: int) -> Path:
    """A trace of one backward, with its graph."""
    writer = Writer(path, {})
    writer.put_parameters([Parameter(0, "weight")])
    records = _records(np.random.default_rng(0), 1, 1)
    writer.put_block(*records, np.ones((1, len(STATISTICS), 1), np.float32))
    writer.put_structure(f"chain {nodes}")
    writer.put_snapshot(chain(nodes))
    writer.close()
    return path


def rows(folder: Path, quick: bool) -> Iterator[tuple[str, Run, str]]:
    """What was run, how it went, and what it is allowed or what else there is to say."""
    small = with_graph(folder / "small.gradtrace", 300)
    yield "--help", run("--help"), "< 0.2 s"
    yield "render, 300 nodes", run("render", str(small), "-o", str(folder / "small.svg")), "< 1 s"
    large = with_graph(folder / "large.gradtrace", 50_000)
    yield "render, 50,000 nodes", run("render", str(large), "-o", str(folder / "large.svg")), "< 5 s"
    for parameters in (20, 77, 200):
        size = write(folder / "size.gradtrace", 2_000, parameters)
        yield f"show, 2,000 x {parameters}", run("show", str(folder / "size.gradtrace")), f"{size:.2f} bytes a value"
    write(folder / "report.gradtrace", 1_000, 200)
    page = folder / "report.html"
    taken = run("report", str(folder / "report.gradtrace"), "-o", str(page))
    yield "report, 1,000 x 200", taken, f"{page.stat().st_size / 2**20:.1f} MiB (< 6)"
    if not quick:
        yield from _long(folder)


def _long(folder: Path) -> Iterator[tuple[str, Run, str]]:
    trace = folder / "long.gradtrace"
    size = write(trace, 100_000, 200)
    yield "show, 100,000 x 200", run("show", str(trace)), f"< 3 s; {size:.2f} bytes a value"
    yield "check, 100,000 x 200", run("check", str(trace)), ""
    yield "report, 100,000 x 200", run("report", str(trace), "-o", str(folder / "long.html")), ""
    trace.unlink()
    ranks = folder / "ranks"
    ranks.mkdir()
    for rank in range(64):
        write(ranks / f"rank{rank}.gradtrace", 10_000, 20, rank=rank)
    yield "show, 64 ranks x 10,000 x 20", run("show", str(ranks)), "< 3 s"
    yield "check, 64 ranks x 10,000 x 20", run("check", str(ranks)), ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the traces of hundreds of megabytes")
    quick = parser.parse_args().quick
    print(f"{'command':<32}{'seconds':>9}{'MiB':>8}  budget")
    with tempfile.TemporaryDirectory() as folder:
        for name, taken, remark in rows(Path(folder), quick):
            print(f"{name:<32}{taken.seconds:>9.2f}{taken.memory:>8.0f}  {remark}", flush=True)


if __name__ == "__main__":
    main()
