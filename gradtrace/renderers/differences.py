"""Differences of two runs in, a document out: text, JSON or a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gradtrace.renderers.jsonable import dumps
from gradtrace.renderers.places import relative_file
from gradtrace.renderers.wording import short
from gradtrace.rules.wording import counted

if TYPE_CHECKING:
    from gradtrace.differences import Departure, Differences, Parting, Place
    from gradtrace.graphs.types import Graph
    from gradtrace.store.recording import Recording

_LISTED = 8
"""Parameters that are listed one by one."""

_OTHER = ("added", "removed")
"""Changes of structure, not of numbers."""

_HOPS = 3
"""Edges shown around each place that differs."""


def to_json(differences: Differences, names: tuple[str, str]) -> str:
    """A JSON document."""
    return dumps({"schema": 1, "first": names[0], "second": names[1]} | differences.to_dict())


def to_text(differences: Differences, names: tuple[str, str]) -> str:
    """Settings, structure, then the first gradient that differs; the last line says how much was compared."""
    return "\n".join(_lines(differences, names)) + "\n"


def _lines(differences: Differences, names: tuple[str, str]) -> Iterator[str]:
    yield f"first   {relative_file(names[0])}"
    yield f"second  {relative_file(names[1])}"
    if differences.settings:
        yield from ("", "settings")
        width = max(len(setting.name) for setting in differences.settings)
        for setting in differences.settings:
            yield f"  {setting.name:<{width}}  {_or_unknown(setting.first)} -> {_or_unknown(setting.second)}"
    if differences.structure:
        yield from ("", "structure", *(f"  {line}" for line in differences.structure))
    if differences.parting:
        yield from ("", *_parting_lines(differences.parting))
    yield from ("", _summary(differences))


def _or_unknown(value: str | None) -> str:
    return "unknown" if value is None else value


def _parting_lines(parting: Parting) -> Iterator[str]:
    yield f"gradients part at backward {parting.backward}, first in {parting.departures[0].parameter}"
    if parting.place:
        yield f"  upstream  {_place(parting.place)}"
    if parting.losses_agree is not None:
        said = "the same" if parting.losses_agree else "already different: look at the data, the weights or the forward"
        yield f"  loss      {short(parting.losses[0])} and {short(parting.losses[1])}, {said}"
    rows = [_cells(departure) for departure in parting.departures[:_LISTED]]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
    if len(parting.departures) > _LISTED:
        yield f"  and {counted(len(parting.departures) - _LISTED, 'parameter')} more"


def _place(place: Place) -> str:
    known = (
        "its gradient differs" if place.measured else "not measured at this backward; the op that uses the parameter"
    )
    where = f"{relative_file(place.source.file)}:{place.source.line}" if place.source else None
    return f"{', '.join(part for part in (place.op, place.module, where) if part)} ({known})"


def _cells(departure: Departure) -> tuple[str, str, str, str]:
    name = departure.parameter if departure.renamed is None else f"{departure.parameter} = {departure.renamed}"
    relative = "" if departure.relative is None else f"{100 * departure.relative:.3g} % apart"
    numbers = [f"{value:.7g}" if value is not None else "no gradient" for value in (departure.first, departure.second)]
    return name, departure.statistic, f"{numbers[0]} -> {numbers[1]}", relative


def _summary(differences: Differences) -> str:
    how = "bit by bit" if differences.tolerance == 0 else f"to within {100 * differences.tolerance:.2g} %"
    extent = f"{counted(differences.compared, 'backward')} x {counted(differences.parameters, 'parameter')}, {how}"
    if differences.equal:
        return f"no difference in {extent}"
    first, second = differences.backwards
    lengths = "" if first == second else f"; the runs have {first:,} and {second:,} backwards"
    agree = "" if differences.parting else "; the gradients that both have agree"
    return f"compared {extent}{agree}{lengths}"


def picture(first: Recording, second: Recording, differences: Differences) -> Graph:
    """The graph of what differs and what is around it, for `render_graph(..., color="change")`.

    Raises GradtraceError where a run has no graph.
    """
    from gradtrace.differences import compare_graphs
    from gradtrace.graphs import mark

    graph = mark(compare_graphs(first, second, _backward(differences)).graph, [])
    for facts in graph.nodes.values():
        facts["findings"] = tuple(_badges(facts, differences.parting))
    places = [node for node, facts in graph.nodes(data=True) if facts["findings"] or facts["change"] in _OTHER]
    return _around(graph, places)


def _backward(differences: Differences) -> int | None:
    """The backward to draw: where structures differ the first one, else where the gradients part."""
    return differences.parting.backward if differences.parting and not differences.structure else None


def _badges(facts: dict[str, Any], parting: Parting | None) -> Iterator[str]:
    if parting is None:
        return
    if facts.get("kind") == "parameter" and facts.get("name") in _names(parting.departures[:_LISTED]):
        yield "differs"
    place = parting.place
    if place and (facts.get("op"), facts.get("module"), facts.get("source")) == (place.op, place.module, place.source):
        yield "parts here"


def _names(departures: Sequence[Departure]) -> set[str]:
    return {departure.renamed or departure.parameter for departure in departures}


def _around(graph: Graph, places: Sequence[int]) -> Graph:
    """The nodes up to `_HOPS` edges from a place, whichever way; the whole graph where nothing differs."""
    kept = rim = set(places)
    for _ in range(_HOPS):
        rim = {end for node in rim for end in (*graph.pred[node], *graph.adj[node])} - kept
        kept = kept | rim
    if not kept:
        return graph
    part: Graph = graph.subgraph(kept).copy()
    part.graph["roots"] = tuple(root for root in part.graph.get("roots", ()) if root in kept)
    return part
