"""Calls after which a value goes on without its graph: where they are, what lies behind them, what to write instead."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradtrace.model import Source
from gradtrace.rules.run import Run
from gradtrace.rules.wording import op_at, source_of

_REMEDIES = {
    "detach": "drop the detach() on the way to the loss",
    "no_grad": "run this forward outside no_grad()",
    "data": "use the tensor itself instead of its .data",
    "data=": "assigning .data copies values alone: call the module with the computed weights, by "
    "torch.func.functional_call",
    "deepcopy": "a copy has no history: compute with the weights themselves, by torch.func.functional_call",
    "checkpoint": "pass use_reentrant=False: a reentrant checkpoint hands a gradient back only where one of its own "
    "inputs wants one",
    "item": "keep the tensor in the loss; item() is for printing",
    "tolist": "stay with tensors until the loss is made",
    "numpy": "write this step with torch operations",
    "tensor": "combine tensors with torch.stack or torch.cat; torch.tensor copies values out of the graph",
    "argmax": "use a differentiable stand-in for argmax: softmax, Gumbel-softmax, a straight-through or "
    "score-function estimator",
    "sample": "use rsample(), or add the log-probability of the sample to the loss",
    "multinomial": "add the log-probability of the sample to the loss, or use Gumbel-softmax",
    "long": "an integer has no derivative: keep the value a float, or weigh the alternatives by a softmax",
    "int": "an integer has no derivative: keep the value a float, or weigh the alternatives by a softmax",
    "Parameter": "use the computed tensor itself as the weight, as torch.nn.utils.parametrize does: nn.Parameter makes "
    "a new leaf of its value",
    "round": "use a straight-through estimator for the rounding",
}
_COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne", "__gt__", "__ge__", "__lt__", "__le__", "__eq__", "__ne__")


@dataclass
class Cut:
    """A call at one line after which values go on without their graph, over all backwards in which it was seen."""

    call: str
    source: Source | None
    module: str | None
    reaches_loss: bool = False
    exits: bool = False
    """The value left torch (`item()`, `numpy()`), and may have come back unseen."""
    upstream: set[int] = field(default_factory=set)
    stepped: set[int] = field(default_factory=set)
    """The leaves upstream whose own optimizer stepped on a backward behind the cut: it is their loss that is cut."""
    made: set[int] = field(default_factory=set)
    """The leaves that its value became: `nn.Parameter(value)`, `requires_grad_()` on it."""
    into: dict[int, list[int]] = field(default_factory=dict)
    """The nodes that took its value on, by backward."""
    count: int = 0
    backwards: set[int] = field(default_factory=set)

    def weight(self, leaves: set[int]) -> tuple[bool, bool, bool, int]:
        """How well the cut explains that these leaves get nothing; the largest explains best.

        What stands behind one backward alone, as a copy taken at the start does, is no reason why all the others bring
        nothing.
        """
        covered = self.upstream & leaves
        return self.reaches_loss and bool(covered), len(self.backwards) > 1, bool(self.stepped & leaves), len(covered)


def find_cuts(run: Run) -> list[Cut]:
    """The cuts of a run, each line once."""
    cuts: dict[tuple[object, ...], Cut] = {}
    stepped = {owner.id: set(run.protocol.steps(owner.id).backward.tolist()) for owner in run.optimizers}
    for event in run.events("cut"):
        facts = event.payload
        source = source_of(facts.get("source"))
        key = (facts["call"], source, facts.get("module") if source is None else None)
        cut = cuts.setdefault(key, Cut(facts["call"], source, facts.get("module")))
        cut.reaches_loss = cut.reaches_loss or bool(facts.get("reaches_loss"))
        cut.exits = cut.exits or bool(facts.get("exits", True))
        cut.upstream.update(facts["parameters"])
        cut.made.update(facts.get("made", ()))
        cut.into[event.backward] = facts.get("into", [])
        cut.count += facts.get("count", 1)
        cut.backwards.add(event.backward)
        for leaf in facts["parameters"]:
            if any(event.backward in stepped[owner.id] for owner in run.owners.get(leaf, ())):
                cut.stepped.add(leaf)
    return list(cuts.values())


def takers(run: Run, cut: Cut) -> list[str]:
    """The ops that took a cut's value on at the last backward that tells, each with its line."""
    backward = max((number for number, nodes in cut.into.items() if nodes), default=None)
    if backward is None or not run.recording.snapshots:
        return []
    wanted = set(cut.into[backward])
    nodes = (node for node in run.recording.snapshot(backward).nodes if node.id in wanted)
    return sorted({op_at(node.op, node.source) for node in nodes})


def spoken(call: str) -> str:
    """The call as a person writes it."""
    if call in _COMPARISONS:
        return f"a comparison ({call.strip('_')})"
    if call == "Parameter":
        return "nn.Parameter()"
    if call in ("data", "data="):
        return f".{call.replace('=', ' =')}"
    return f"{call}()"


def remedy(call: str) -> str:
    """What to write instead."""
    if call in _COMPARISONS:
        return "a comparison has no derivative: use a sigmoid or a straight-through estimator"
    return _REMEDIES.get(call, f"keep the value in the graph: {spoken(call)} returns one without it")
