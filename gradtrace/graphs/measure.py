"""Sums over several nodes or edges: what a box that stands for them may honestly say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from gradtrace.graphs.health import worst
from gradtrace.graphs.types import LEAVES, Facts, Graph


def size(facts: Facts) -> int:
    """How many autograd nodes a node of a graph stands for."""
    return int(facts.get("nodes", 1))


def numel(facts: Facts) -> int:
    """How many parameter elements a node stands for."""
    if "parameters" in facts:
        return int(facts["parameters"])
    return math.prod(facts.get("shape") or ()) if facts.get("kind") == "parameter" else 0


def total(members: Iterable[Facts]) -> Facts:
    """What adds up: nodes, parameters, saved bytes, seconds, ops; the worst health, and the gradient at its worst."""
    members = list(members)
    health = worst(facts.get("health", "none") for facts in members)
    counts: Counter[str] = Counter()
    for facts in members:
        if "ops" in facts:
            counts.update(facts["ops"])
        else:
            counts[facts.get("op") or "?"] += 1
    codes = dict.fromkeys(code for facts in members for code in facts.get("findings", ()))
    seconds = [facts["seconds"] for facts in members if facts.get("seconds") is not None]
    return {
        "nodes": sum(map(size, members)),
        "parameters": sum(map(numel, members)),
        "saved_bytes": sum(facts.get("saved_bytes") or 0 for facts in members),
        "seconds": sum(seconds) if seconds else None,
        "nonfinite": sum(facts.get("nonfinite") or 0 for facts in members),
        "ops": dict(counts.most_common()),
        "health": health,
        "grad_worst": _worst_norm((facts for facts in members if facts.get("health") == health), health),
        "findings": tuple(codes),
        **_onset(members),
        **({"change": overall_change(facts["change"] for facts in members)} if "change" in members[0] else {}),
    }


def _onset(members: Sequence[Facts]) -> Facts:
    """The gravest illness that begins in one of the members, and what the op alone makes of the gradient."""
    begun = [facts for facts in members if facts.get("onset")]
    onset = worst(facts["onset"] for facts in begun) if begun else None
    gains = [facts["onset_gain"] for facts in begun if facts["onset"] == onset]
    return {
        "onset": onset,
        "onset_gain": min((gain for gain in gains if gain is not None), default=None),
        "born": any(facts.get("born") for facts in members),
    }


def _worst_norm(members: Iterable[Facts], health: str) -> float | None:
    """The smallest gradient of members that are starved, the largest of flooded ones; None of any others."""
    choose = {"vanishing": min, "exploding": max}.get(health)
    norms = [facts.get("grad_worst") or facts.get("grad_norm") for facts in members]
    known = [norm for norm in norms if norm is not None]
    return choose(known) if choose and known else None


def overall_change(changes: Iterable[str]) -> str:
    """The change of a whole whose parts changed so."""
    kinds = set(changes)
    return kinds.pop() if len(kinds) == 1 else "changed"


def root_sum_square(norms: Iterable[float | None]) -> float | None:
    """The norm of parts that do not overlap; None where no part is known."""
    known = [norm for norm in norms if norm is not None]
    return math.hypot(*known) if known else None


def gradient_through(graph: Graph, members: set[int]) -> tuple[float | None, float | None]:
    """Norm of the gradient that enters `members` from outside, and of what leaves them towards other ops.

    Where all that reaches a node crosses the border, the node's own norm is exact. Where only some of it does, the
    shares on the edges are all there is, and they add as parts that do not overlap. What ends in a parameter is no part
    of either: it is used up there, not handed on. (Members that are all leaves are what the gradient is for.)
    """
    entries = [node for node in members if graph.nodes[node].get("kind") not in LEAVES] or members
    beyond = {target for member in members for target in graph.successors(member)} - members
    exits = [node for node in beyond if graph.nodes[node].get("kind") != "parameter"]
    entered = (_crossing(graph, node, members, inward=True) for node in entries)
    left = (_crossing(graph, node, members, inward=False) for node in sorted(exits))
    return root_sum_square(entered), root_sum_square(left)


def _crossing(graph: Graph, node: int, members: set[int], *, inward: bool) -> float | None:
    """Norm of what reaches `node` from outside of `members` (`inward`) or from inside."""
    sources = graph.pred[node]
    crossing = [source for source in sources if (source in members) != inward]
    if len(crossing) == len(sources):
        return graph.nodes[node].get("grad_norm") if crossing or inward else None
    return root_sum_square(
        graph.edges[source, node, key].get("grad_norm") for source in crossing for key in sources[source]
    )


def gain(entered: float | None, left: float | None) -> float | None:
    """`left` over `entered`, where that is a number."""
    return left / entered if entered and left is not None else None


def span(values: Iterable[float | None]) -> tuple[float, float] | None:
    """Smallest and largest of what is known and finite."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return (min(known), max(known)) if known else None


def merge_edges(parts: Sequence[Facts]) -> Facts:
    """Several edges between the same two boxes as one."""
    first = parts[0]
    if len(parts) == 1:
        return dict(first)
    return {
        "input_nr": None,
        "shape": first.get("shape") if all(part.get("shape") == first.get("shape") for part in parts) else None,
        "dtype": first.get("dtype") if all(part.get("dtype") == first.get("dtype") for part in parts) else None,
        "grad_norm": root_sum_square(part.get("grad_norm") for part in parts),
        "health": _health_of_edges(parts),
        "use_of": first.get("use_of") if all(part.get("use_of") == first.get("use_of") for part in parts) else None,
        **({"cut": first["cut"]} if all(part.get("cut") for part in parts) else {}),
        **({"change": overall_change(part["change"] for part in parts)} if "change" in first else {}),
        "count": sum(part.get("count", 1) for part in parts),
    }


def _health_of_edges(parts: Sequence[Facts]) -> str:
    """The worst, but for uses of one parameter: their shares add up, and a small one takes nothing from the others."""
    healths = {part.get("health", "none") for part in parts}
    uses = all(part.get("use_of") for part in parts)
    return worst(healths - {"vanishing"} if uses and "ok" in healths else healths)
