"""An explanation as text for a terminal, as Markdown and as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from gradtrace.renderers.drawing.numbers import duration, plural
from gradtrace.renderers.places import relative_file
from gradtrace.steps import Arrival, Check, Cost, Departure, Leaf, Slope, Step, Values

if TYPE_CHECKING:
    from gradtrace.explanation import Explanation

_REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}
"""torch's enumeration of `reduction=`."""

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading with labelled lines; the shape of every step, leaf and of the count at the end."""

    heading: str
    rows: tuple[tuple[str, str], ...] = ()
    prose: tuple[str, ...] = ()
    anchor: str = ""


def to_text(explanation: Explanation) -> str:
    """For a terminal or a file."""
    lines = [explanation.title, *_filled(_lead(explanation), "")]
    for section in _sections(explanation):
        width = max((len(label) for label, _ in section.rows), default=0) + 2
        lines += ["", section.heading]
        lines += [line for text in section.prose for line in _filled(text, "  ")]
        lines += [f"  {label:<{width}}{text}" for label, text in section.rows]
    return "\n".join(lines) + "\n"


def to_markdown(explanation: Explanation) -> str:
    """A heading and a table for every step and leaf."""
    parts = [f"# {explanation.title}", _lead(explanation)]
    for section in _sections(explanation):
        parts.append(f"## {section.heading}")
        parts += section.prose
        if section.rows:
            rows = [f"| {label.strip()} | {_code(text)} |" for label, text in section.rows]
            parts.append("\n".join(["| | |", "| --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def to_html(explanation: Explanation) -> str:
    """One page that needs nothing else; light and dark follow the reader's setting."""
    body = [f"<h1>{escape(explanation.title)}</h1>", f"<p>{escape(_lead(explanation))}</p>"]
    for section in _sections(explanation):
        rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in section.rows)
        prose = "".join(f"<p>{escape(text)}</p>" for text in section.prose)
        anchor = f' id="{section.anchor}"' if section.anchor else ""
        body.append(f"<section{anchor}><h2>{escape(section.heading)}</h2>{prose}<dl>{rows}</dl></section>")
    return _PAGE.format(title=escape(explanation.title), body="\n".join(body))


def _lead(explanation: Explanation) -> str:
    loss = "" if explanation.loss is None else f"The loss is {_number(explanation.loss)}. "
    return (
        f"{loss}The backward pass starts with dL/dL = 1 and goes from the loss back to the leaves; at every op it "
        "multiplies the gradient that came in by the op's local derivative, and where two paths meet, it adds."
    )


def _sections(explanation: Explanation) -> Iterator[_Section]:
    names = _names(explanation)
    for step in explanation.steps:
        yield _step(step, names)
    for leaf in explanation.leaves:
        yield _leaf(leaf, names)
    if explanation.notes:
        yield _Section("Notes", prose=explanation.notes, anchor="notes")
    yield _Section("What it cost", prose=tuple(_cost(explanation.cost)), anchor="cost")


def _names(explanation: Explanation) -> dict[int, str]:
    names = {step.key: f"step {position}" for position, step in enumerate(explanation.steps, 1)}
    return names | {leaf.key: leaf.name for leaf in explanation.leaves}


def _step(step: Step, names: dict[int, str]) -> _Section:
    called = f"{step.name}  ({step.op})" if step.name else step.op
    rows = [*_place(step), *_arrivals(step.arrivals, step.gradient, names)]
    if step.saved:
        rows.append(("kept from forward", ", ".join(f"{name} = {_kept(name, value)}" for name, value in step.saved)))
    for departure in step.departures:
        rows += _departure(departure, names)
    heading = names[step.key]
    return _Section(f"{heading.capitalize()}: {called}", tuple(rows), anchor=heading.replace(" ", "-"))


def _place(step: Step) -> Iterator[tuple[str, str]]:
    if step.source:
        text = f"  {step.source.text.strip()}" if step.source.text else ""
        yield "at", f"{relative_file(step.source.file)}:{step.source.line}{text}"
    if step.module:
        yield "in module", step.module


def _arrivals(arrivals: Sequence[Arrival], total: Values, names: dict[int, str]) -> Iterator[tuple[str, str]]:
    if len(arrivals) < 2:
        origin = (
            names.get(arrivals[0].origin, "a step not shown") if arrivals and arrivals[0].origin is not None else None
        )
        yield "gradient in", _values(total) + (f"   from {origin}" if origin else "")
        return
    for arrival in arrivals:
        yield "gradient in", f"{_values(arrival.values)}   from {names.get(arrival.origin or 0, 'a step not shown')}"
    yield "the paths add", _values(total)


def _departure(departure: Departure, names: dict[int, str]) -> Iterator[tuple[str, str]]:
    wanted = departure.argument or "input"
    if departure.reading or departure.formula:
        yield f"d/d {wanted}", departure.reading or departure.formula or ""
    if departure.reading and departure.formula != departure.reading:
        yield "  as torch has it", departure.formula or ""
    if departure.slope:
        yield "  local derivative", _slope(departure.slope)
    to = names.get(departure.to, "a step not shown")
    if departure.summed is None:
        yield "  gradient out", f"{_values(departure.values)}   to {to}"
    else:
        yield "  gradient out", _values(departure.values)
        yield "  was broadcast: sum", f"{_values(departure.summed)}   to {to}"


def _slope(slope: Slope) -> str:
    if slope.values is None:
        return "1: every element passes unchanged"
    if slope.kind == "factor":
        return _values(slope.values)
    return f"{_values(slope.values)}   (a row an output element, a column an input element)"


def _leaf(leaf: Leaf, names: dict[int, str]) -> _Section:
    rows = [*_arrivals(leaf.arrivals, leaf.gradient, names)] if len(leaf.arrivals) > 1 else []
    rows.append(("gradient", _values(leaf.gradient)))
    if leaf.check:
        rows += _check(leaf.check)
    return _Section(f"Leaf: {leaf.name}", tuple(rows), anchor=f"leaf-{leaf.key}")


def _check(check: Check) -> Iterator[tuple[str, str]]:
    label = "finite differences" if check.complete else "slope along it"
    yield (
        label,
        _values(check.values) + ("" if check.complete else "   by finite differences, to compare with the norm"),
    )
    yield "relative error", f"{check.relative_error:.1e}"


def _cost(cost: Cost) -> Iterator[str]:
    gained = plural(cost.gradients, "gradient")
    if cost.backward_seconds is None or cost.forward_seconds is None:
        yield (
            f"One backward pass gave {gained}. Finite differences would take two forward passes for each: "
            f"{plural(cost.forwards, 'forward')}."
        )
        return
    yield (
        f"One backward pass gave {gained} in {duration(cost.backward_seconds)}. Finite differences take two forward "
        f"passes for each: {plural(cost.forwards, 'forward')} of {duration(cost.forward_seconds)}, "
        f"{duration(cost.forwards * cost.forward_seconds)} together"
        + ("." if cost.forwards_run == cost.forwards else f" ({cost.forwards_run:,} were run for the checks above).")
    )
    if cost.rebuilt:
        yield "Both were timed on the forward as rebuilt from the graph, in float64."
    yield "With more parameters the forwards grow in number; the backward stays one."


def _kept(name: str, value: Any) -> str:
    if isinstance(value, Values):
        return _values(value)
    return _REDUCTIONS.get(value, str(value)) if name == "reduction" else str(value)


def _values(values: Values) -> str:
    if values.numbers is not None:
        return _nested(values.numbers)
    size = "x".join(map(str, values.shape)) or "scalar"
    if values.norm is None:
        return size
    spread = "" if values.low is None or values.high is None else f", {_number(values.low)} to {_number(values.high)}"
    return f"{size}, norm {_number(values.norm)}{spread}"


def _nested(numbers: Any) -> str:
    return f"[{', '.join(map(_nested, numbers))}]" if isinstance(numbers, list) else _number(numbers)


def _number(value: float) -> str:
    return f"{value:.6g}"


def _filled(text: str, indent: str) -> Iterable[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _code(text: str) -> str:
    """Inside a table a pipe ends the cell, in code as well."""
    escaped = text.replace("|", "\\|")
    return f"`` {escaped} ``" if "`" in escaped else f"`{escaped}`"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ font-size: 1.1rem; margin: 1.6rem 0 0.4rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1.2rem; margin: 0; }}
dt {{ color: light-dark(#59636e, #9aa4af); white-space: pre; }}
dd {{ margin: 0; font: 0.9rem ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
