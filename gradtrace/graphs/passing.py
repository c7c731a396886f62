"""Illnesses of one backward that later ones are well of: how zero-initialised layers begin."""

from __future__ import annotations

from collections.abc import Collection

from gradtrace.graphs.order import reach
from gradtrace.graphs.types import PARAMETERS, Graph, op_name


def drop_passing(graph: Graph, recovered: Collection[str]) -> None:
    """Take the onset from nodes beyond which the parameters that starve are all among `recovered`.

    `graph.graph["passing"]` then names those nodes, by their modules where they have one.
    """
    places = []
    for node, facts in graph.nodes(data=True):
        if facts.get("onset") in ("zero", "vanishing"):
            beyond = (graph.nodes[end] for end in reach([node], graph.successors))
            starved = {end.get("name") for end in beyond if end.get("kind") in PARAMETERS and end["health"] != "ok"}
            if starved and starved <= set(recovered):
                facts.update(onset=None, onset_gain=None)
                places.append(facts.get("module") or op_name(facts.get("op")))
    if places:
        graph.graph["passing"] = tuple(dict.fromkeys(places))
