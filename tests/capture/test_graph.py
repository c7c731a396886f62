"""Recorded graphs and numbers against what torch says when asked directly."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import oracle
import pytest
import torch
import traced_zoo
import zoo
from torch import nn

import gradtrace
from gradtrace.store.recording import Recording

FUNCTORCH = {"functional_transforms"}
"""Inside a transform of torch.func tensors stand for many values; those backwards are let through unrecorded."""

THREADED = {"backwards_at_once", "replicas_in_threads"}
"""Sequence numbers start at 0 in each thread, so the oracle's labels are not unique."""

REENTRANT = {"checkpoint_reentrant"}
"""What such a checkpoint computes again is part of the snapshot, but of no walk before the backward; it is held against
the same net without a checkpoint in tests/graphs/test_graphs_autograd.py."""

APART = FUNCTORCH | THREADED | REENTRANT

IN_ONE_THREAD = [program.name for program in zoo.selected(slow=False) if program.name not in APART]


@pytest.mark.parametrize("name", IN_ONE_THREAD)
def test_nodes_and_edges_are_those_of_an_independent_walk(name: str, tmp_path: Path) -> None:
    walks: list[oracle.Walked] = []
    with oracle.watching(lambda roots: walks.append(oracle.walk(roots))):
        _, recording = traced_zoo.traced(zoo.ZOO[name], tmp_path / "t.gradtrace", graph="all")
    outer = [int(row["number"]) for row in recording.backwards() if row["parent"] == 0 and not row["flags"] & 8]
    raised = [int(row["number"]) for row in recording.backwards() if row["parent"] == 0 and row["flags"] & 8]
    assert len(walks) == len(outer) + len(raised)
    numbered = dict(zip(sorted(outer + raised), walks, strict=True))
    for number in outer:
        assert oracle.walked_snapshot(recording.snapshot(number)) == numbered[number]


def test_modules_have_their_root_in_front_once_there_are_two(tmp_path: Path) -> None:
    """Also those whose names were noted before the second root came up: by the optimizer that holds it, here."""
    encoder, decoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 1))
    with gradtrace.trace(out=tmp_path / "t.gradtrace", graph="all", on_finding="ignore") as trace:
        torch.optim.SGD(encoder.parameters(), lr=0.1).zero_grad()
        encoder(torch.randn(3, 4)).sum().backward()
        torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1).zero_grad()
        decoder(encoder(torch.randn(3, 4))).sum().backward()
    for backward, roots in ((1, {"encoder"}), (2, {"encoder", "decoder"})):
        modules = {data["module"] for _, data in trace.graph(backward).nodes(data=True) if data["module"]}
        assert {module.split(".")[0] for module in modules} == roots


def test_what_a_hook_runs_is_no_part_of_the_node_at_work(tmp_path: Path) -> None:
    """A deep equilibrium solves for its adjoint in a hook of the fixed point, by backwards of a step of its own."""
    step, observed = nn.Linear(4, 4), torch.randn(3, 4)
    with gradtrace.trace(out=tmp_path / "t.gradtrace", graph="all", on_finding="ignore"):
        reached = torch.tanh(step(observed))
        leaf = reached.detach().requires_grad_()
        again = torch.tanh(step(leaf))
        adjoint = partial(torch.autograd.grad, again, leaf, retain_graph=True)
        reached.register_hook(lambda gradient: gradient + adjoint(gradient)[0])
        reached.sum().backward()
    with Recording(tmp_path / "t.gradtrace") as recording:
        assert sorted(int(row["parent"]) for row in recording.backwards()) == [0, 1]
        ops = [node.op for node in recording.snapshot(1).nodes if node.kind in ("root", "op")]
    assert ops == ["SumBackward0", "TanhBackward0", "AddmmBackward0", "TBackward0"]
