"""What every test finds around it: traces and processes to try the commands on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradtrace.cli import main
from gradtrace.model import ABSENT, BACKWARD, LOOP, STATISTICS, Edge, Module, Node, Parameter, Snapshot, Source
from gradtrace.store.writer import Writer

# Before torch is imported: workers of a parallel run share the cores, and results must not depend on their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]

Run = Callable[..., subprocess.CompletedProcess[str]]

BACKWARDS = 20


@pytest.fixture
def gradtrace_process(tmp_path: Path) -> Run:
    """Runs `gradtrace ARGS` in an empty folder, as a person would."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {"cwd": tmp_path, "timeout": 120, **options}
        command = [sys.executable, "-m", "gradtrace", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **settings)

    return run


@pytest.fixture
def gradtrace_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same without a process of its own, which is a hundred times faster; not for `run`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        output, errors = capsys.readouterr()
        return subprocess.CompletedProcess(args, ended.value.code, output, errors)

    return run


@pytest.fixture
def healthy_trace(tmp_path: Path) -> Path:
    """Twenty backwards through two layers; the bias of the second is frozen."""
    path = tmp_path / "healthy.gradtrace"
    write_trace(path)
    return path


@pytest.fixture(name="write_trace")
def write_trace_fixture() -> Callable[..., None]:
    """`write_trace(path, rank=, norms=)`."""
    return write_trace


def write_trace(
    path: Path,
    *,
    rank: int | None = None,
    norms: np.ndarray | None = None,
    first: Parameter | None = None,
    more: Callable[[Writer], None] = lambda writer: None,
) -> None:
    """A closed trace of a model with an encoder and a decoder; `norms` is (backwards, 4), `more` writes what else it
    is to hold."""
    writer = Writer(path, {"version": "0.1.0", "torch": "2.13.0", "argv": ["train.py"], "rank": rank, "world_size": 2})
    writer.put_parameters([first or PARAMETERS[0], *PARAMETERS[1:]])
    writer.put_modules([Module("", "Net", ""), Module("encoder", "Linear", ""), Module("decoder", "Linear", "")])
    writer.put_sources([(1, Source("train.py", 7, "main", "loss.backward()"))])
    writer.put_snapshot(SNAPSHOT)
    values = np.full((BACKWARDS, len(STATISTICS), len(PARAMETERS)), 0.1, np.float32)
    values[:, 0] = [1.0, 0.5, 0.25, ABSENT] if norms is None else norms
    values[:, 1:, 3] = np.nan
    records = np.zeros(BACKWARDS, BACKWARD)
    records["number"] = np.arange(1, BACKWARDS + 1)
    records["step"] = np.arange(BACKWARDS)
    records["loss"] = 1.0
    records["loss_scale"] = 1.0
    writer.put_block(records, np.zeros(0, LOOP), values)
    more(writer)
    writer.close()


PARAMETERS = [
    Parameter(0, "encoder.weight", "encoder", "Linear", (16, 8)),
    Parameter(1, "encoder.bias", "encoder", "Linear", (16,)),
    Parameter(2, "decoder.weight", "decoder", "Linear", (4, 16)),
    Parameter(3, "decoder.bias", "decoder", "Linear", (4,), requires_grad=False),
]

SNAPSHOT = Snapshot(
    backward=1,
    kind="backward",
    structure="a" * 16,
    nodes=(
        Node(0, "MeanBackward0", "root", shape=(), grad_norm=1.0),
        Node(1, "AddmmBackward0", "op", module="decoder", module_type="Linear", call=1, shape=(2, 4), grad_norm=0.5),
        Node(2, "AddmmBackward0", "op", module="encoder", module_type="Linear", call=1, shape=(2, 16), grad_norm=0.25),
        Node(3, "AccumulateGrad", "parameter", "encoder.weight", "encoder", shape=(16, 8), grad_norm=1.0),
    ),
    edges=(
        Edge(0, 1, 0, (2, 4), grad_norm=0.5),
        Edge(1, 2, 0, (2, 16), grad_norm=0.25),
        Edge(2, 3, 0, (16, 8), grad_norm=1.0),
    ),
    roots=(0,),
    loss=1.0,
    measured=True,
)
