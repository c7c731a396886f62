"""What the rules about NaN and infinity share: the finding about a birth."""

from __future__ import annotations

from gradtrace.model import Where
from gradtrace.rules.base import Draft
from gradtrace.rules.births import REDUCTION, Birth
from gradtrace.rules.run import Run
from gradtrace.rules.singularities import reason_behind
from gradtrace.rules.wording import at_line, module_text


def nonfinite_draft(run: Run, birth: Birth, *, what: str, parameter: str | None = None) -> Draft:
    """The finding about a birth; a value that went no further is a note."""
    cause, fix = reason_behind(birth.op, birth.direction, birth.value, birth.facts)
    severity, reach = _reach(birth)
    row = run.row_of(birth.backward)
    return Draft(
        severity=severity,
        message=f"{_headline(run, birth, what)} at backward {birth.backward}{reach}",
        where=Where(parameter=parameter, module=birth.module, op=birth.op, source=birth.source),
        cause=cause,
        fix=fix,
        first=birth.backward,
        last=birth.last,
        count=birth.count,
        parameters=birth.parameters,
        evidence={
            **birth.facts,
            "exact": birth.exact,
            "healed": birth.healed,
            "loss": None if row is None else float(run.rows["loss"][row]),
        },
    )


def _headline(run: Run, birth: Birth, what: str) -> str:
    """What is where."""
    if birth.op != REDUCTION:
        return what + place_text(birth)
    value = "NaN" if birth.value == "nan" else "an infinity"
    return f"{value} comes in with the reduction over {run.recording.meta['world_size']} ranks, not born on this one,"


def _reach(birth: Birth) -> tuple[str, str]:
    """Severity, and how far the value went where that was not into the gradients."""
    if birth.healed:
        return "note", "; it reaches neither the loss nor a parameter"
    if birth.spared:
        return "warning", "; it makes the loss meaningless, the gradients stay finite"
    return "error", ""


def place_text(birth: Birth) -> str:
    """` in SqrtBackward0 (encoder.norm, model.py:41)`, as far as known."""
    inside = [text for text in (birth.module and module_text(birth.module), at_line(birth.source, "")) if text]
    tail = f" ({', '.join(inside)})" if inside else ""
    hedge = "" if birth.exact or not birth.op else " or next to it"
    return f" in {birth.op}{hedge}{tail}" if birth.op else tail
