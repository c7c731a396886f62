"""Differences of two runs in, a document out: text, JSON or a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradtrace.renderers.jsonable import dumps
from gradtrace.renderers.places import relative_file
from gradtrace.renderers.wording import short
from gradtrace.rules.wording import counted

if TYPE_CHECKING:
    from gradtrace.differences import Departure, Differences, Parting, Place
    from gradtrace.graphs.types import Facts, Graph
    from gradtrace.store.recording import Recording

_LISTED = 8
"""Parameters, and parts of a graph, that are listed one by one."""


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
    numbers = [f"{value:.7g}" if value is not None else "no gradient" for value in (departure.first, departure.second)]
    return name, departure.statistic, f"{numbers[0]} -> {numbers[1]}", _apart(departure)


def _apart(departure: Departure) -> str:
    return "" if departure.relative is None else f"{100 * departure.relative:.3g} % apart"


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
    """The graph of what differs, for `render_graph(..., color="change")`.

    Other structure is all that there is to see where there is some: gradients then differ everywhere. Else the op at
    which they part is marked. Raises GradtraceError where a run has no graph.
    """
    from gradtrace.differences import compare_graphs

    parting = None if differences.structure else differences.parting
    graph = compare_graphs(first, second, parting.backward if parting else None).graph
    if parting is not None:
        _mark_parting(graph, parting)
    graph.graph["title"] = f"From {_run_name(first, second)} to {_run_name(second, first)}"
    graph.graph["view"] = _said(graph, parting)
    return graph


def _mark_parting(graph: Graph, parting: Parting) -> None:
    departures = {departure.renamed or departure.parameter: departure for departure in parting.departures}
    for _, facts in graph.nodes(data=True):
        departure = departures.get(facts["name"]) if facts["kind"] == "parameter" else None
        if departure is not None:
            facts.update(change="changed", before=_apart(departure) or "differs")
        facts["findings"] = ("parts here",) if _is_first(facts, departure, parting) else ()


def _is_first(facts: Facts, departure: Departure | None, parting: Parting) -> bool:
    """Whether a node is where the gradients part, or the first parameter that differs where no op is known."""
    place = parting.place
    if place is None:
        return departure is parting.departures[0]
    return (facts["op"], facts["module"], facts["source"]) == (place.op, place.module, place.source)


def _run_name(recording: Recording, other: Recording) -> str:
    """The file's name, with its folder where the other run's file has the same."""
    path = recording.path
    return path.name if path.name != other.path.name else f"{path.parent.name}/{path.name}"


def _said(graph: Graph, parting: Parting | None) -> str:
    from gradtrace.graphs import branches

    said = []
    if parting is not None:
        where = "" if parting.place is None else f", here in {parting.place.op}"
        said.append(f"the gradients part at backward {parting.backward}{where}")
    parts = {change: branches(graph, change) for change in ("added", "removed")}
    said += [f"{change} {_listed(names)}" for change, names in parts.items() if names]
    return "; ".join(said) or "the graphs are alike"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
