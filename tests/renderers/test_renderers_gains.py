"""What modules pass on."""

from __future__ import annotations

import time

import pytest

from gradtrace.model import Edge, Node, Snapshot
from gradtrace.renderers.gains import module_gains


def snapshot(modules, edges):
    nodes = tuple(Node(number, "MulBackward0", "op", module=name) for number, name in enumerate(modules))
    links = tuple(Edge(source, target, 0, grad_norm=norm) for source, target, norm in edges)
    return Snapshot(1, "backward", "a" * 16, nodes, links, (0,), measured=True)


def test_what_crosses_a_modules_border_counts():
    """Nodes 1 and 2 are in the encoder, 2 deeper; 4.0 passes it by, 2.0 stays inside of it."""
    given = snapshot(
        [None, "encoder", "encoder.layers.0", "encoders", "embed"],
        [(0, 1, 3.0), (0, 2, 4.0), (1, 2, 2.0), (2, 4, 1.0), (0, 3, 4.0), (3, 4, 8.0)],
    )
    gains = module_gains(given, ["encoders", "encoder", "encoder.layers", "encoder.layers.0", "embed", "nowhere", ""])
    assert gains == {
        "encoders": 2.0,
        "encoder": pytest.approx(1 / 5),
        "encoder.layers": pytest.approx(1 / 20**0.5),
        "encoder.layers.0": pytest.approx(1 / 20**0.5),
    }


def test_many_modules_take_no_longer_than_their_edges():
    many = 4000
    names = [f"layers.{number}.linear" for number in range(many)]
    given = snapshot(names, [(number, number + 1, 1.0) for number in range(many - 1)])
    began = time.perf_counter()
    assert len(module_gains(given, names)) == many - 2
    assert time.perf_counter() - began < 2.0  # every module over every edge: half a minute
