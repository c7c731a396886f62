"""The answer in words: where the gradient of a drawing falls ill."""

from __future__ import annotations

import math
from typing import NamedTuple

from gradtrace.graphs.types import Facts, Graph
from gradtrace.graphs.unreached import CUT
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.drawing.labels import dies
from gradtrace.renderers.drawing.names import calls, place, title

NAMED = 2
"""Places that are named one by one, the most telling first; the drawing marks all of them."""


class Line(NamedTuple):
    """A line of the verdict, and the health that it is about."""

    health: str
    text: str


_SUDDEN = {
    "nan": "The gradient is finite down to {place}, and NaN or Inf beyond",
    "zero": "The gradient ends in {place}: it hands on exactly 0",
    "vanishing": "The gradient dies in {place}: it hands on {gain} of it",
    "exploding": "The gradient explodes in {place}: it hands on {gain} times of it",
}
"""What is said where one op is to blame."""

_GRADUAL = {
    "vanishing": "The gradient fades little by little; it falls below 1/1000 in {place}",
    "exploding": "The gradient grows little by little; it passes 1000 times in {place}",
}


def verdict(graph: Graph) -> list[Line]:
    """Where the gradient falls ill, from the most telling place on; where it does not, what findings say of the
    graph."""
    born = [Line("nan", message[:1].upper() + message[1:]) for message in graph.graph.get("born", ())]
    cut = [Line(CUT, _cut(facts)) for facts in graph.nodes.values() if facts.get("kind") == "unreached"]
    ill = sorted((facts for facts in graph.nodes.values() if _is_told(facts)), key=_rank)
    lines = [*born, *cut, *(Line(facts["onset"], _sentence(facts)) for facts in ill)]
    lines = lines or [Line(CUT, message) for message in graph.graph.get("told", ())]
    more = len(lines) - NAMED
    lines = lines[:NAMED] + [Line(line.health, _more(more)) for line in lines[NAMED : NAMED + 1]]
    return [*lines, *_passing(graph.graph.get("passing", ()))]


def _passing(places: tuple[str, ...]) -> list[Line]:
    """What is no illness, but is to be seen in the picture and would be taken for one."""
    if not places:
        return []
    named = places[0] if len(places) == 1 else f"{places[0]} and {numbers.plural(len(places) - 1, 'more place')}"
    return [Line("none", f"At this backward alone the gradient ends in {named}: later ones get through")]


def _is_told(facts: Facts) -> bool:
    """Whether an illness begins here that nothing else speaks of."""
    return facts.get("onset") not in (None, CUT) and not facts.get("born")


def _more(number: int) -> str:
    return f"and {numbers.plural(number, 'more place')}, marked below"


def _cut(facts: Facts) -> str:
    by = f"{facts['op']}{f' ({place(facts)})' if place(facts) else ''} cuts it off" if facts.get("op") else None
    return f"No gradient reaches {facts['name']}: {by or facts['reason']}"


def _rank(facts: Facts) -> tuple[int, float]:
    """NaN first, then what one op does, then what many do together; the largest loss first."""
    gain = facts.get("onset_gain")
    if facts["onset"] == "nan":
        return 0, 0.0
    return (1, -abs(math.log10(gain)) if gain else -math.inf) if gain is not None else (2, 0.0)


def _sentence(facts: Facts) -> str:
    gain = facts.get("onset_gain")
    gradual = gain is None and facts["onset"] in _GRADUAL
    said = (_GRADUAL if gradual else _SUDDEN)[facts["onset"]]
    if facts["onset"] == "vanishing" and not gradual and not dies(facts):
        said = "The gradient falls to {gain} of itself in {place}"
    return said.format(place=_place(facts), gain=numbers.norm(gain))


def _place(facts: Facts) -> str:
    """The box by name, and what helps to find it in the program."""
    name = title(facts)
    if facts.get("kind") == "op" and facts.get("module"):
        name += f" of {facts['module']}"
    at = place(facts)
    known = facts.get("module_type"), calls(facts), None if at and name.endswith(at) else at
    details = ", ".join(filter(None, known))
    return f"{name} ({details})" if details else name
