"""Names from before the second root module are read with their root in front."""

from __future__ import annotations

from gradtrace.model import Event, Module, Node, Parameter, Snapshot
from gradtrace.store.naming import Naming

STORED = [
    Module("", "Net", "net", calls=3),
    Module("body", "Linear", "net", calls=3),
    Module("net", "Net", "net", calls=2),
    Module("net.body", "Linear", "net", calls=2),
    Module("other", "Net", "other", calls=2),
    Module("other.body", "Linear", "other", calls=2),
]
PARAMETERS = [Parameter(0, "net.body.weight", "net.body"), Parameter(1, "other.body.weight", "other.body")]


def snapshot(name: str, module: str) -> Snapshot:
    nodes = (Node(0, "MmBackward0", "root", None, module), Node(1, "AccumulateGrad", "parameter", name, module))
    return Snapshot(1, "backward", "d", nodes, (), (0,), None, "2.13", False, True, False)


def test_early_names_get_their_root() -> None:
    naming = Naming(PARAMETERS, STORED)
    read = naming.snapshot(snapshot("body.weight", "body"))
    assert [(node.name, node.module) for node in read.nodes] == [(None, "net.body"), ("net.body.weight", "net.body")]
    assert naming.event(Event("cut", 1, 0, {"module": ""})).payload == {"module": "net"}


def test_later_names_stay() -> None:
    naming = Naming(PARAMETERS, STORED)
    late = snapshot("other.body.weight", "other.body")
    assert naming.snapshot(late) is late


def test_a_module_is_listed_once_with_its_calls_under_either_name() -> None:
    listed = Naming(PARAMETERS, STORED).modules(STORED)
    assert [(module.name, module.calls) for module in listed] == [
        ("net", 5),
        ("net.body", 5),
        ("other", 2),
        ("other.body", 2),
    ]


def test_with_one_root_nothing_is_renamed() -> None:
    """Also where a child has the name of the root's variable."""
    stored = [Module("", "Net", "net"), Module("net", "Linear", "net"), Module("loss", "MSELoss", "loss")]
    naming = Naming([Parameter(0, "net.weight", "net")], stored)
    alone = snapshot("net.weight", "net")
    assert naming.snapshot(alone) is alone
    assert naming.modules(stored) == stored
