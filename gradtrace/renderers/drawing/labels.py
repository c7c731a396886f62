"""What stands in a box."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gradtrace.graphs.health import DECADES, Profile
from gradtrace.graphs.modules import local_name
from gradtrace.graphs.types import LEAVES, Facts, Graph
from gradtrace.renderers.drawing import numbers, palette
from gradtrace.renderers.drawing.bars import bars
from gradtrace.renderers.drawing.escape import html, plain
from gradtrace.renderers.drawing.names import call_word, calls, joined, place, relative, title
from gradtrace.renderers.drawing.scale import Scale

LONGEST = 36
"""Characters of a name before its middle is left out; the tooltip has all of it."""

LISTED = 4
"""Leaves that an op lists one by one."""

STRONG = 1.0
"""Decades of gain in one box from which on the gain is set in colour: three such boxes make a gradient vanish."""


def label(facts: Facts, scale: Scale, frame: str) -> str:
    """The HTML-like label of a node that stands in the frame of module path `frame`."""
    rows = [
        *_onset_rows(facts, scale),
        _row(_title(facts, frame, palette.CHANGE["changed"].ink if scale.color == "change" else palette.ALARM)),
        *_rows(facts, frame),
        *_leaf_rows(facts, frame),
        *_measure_rows(facts, scale),
        *_call_rows(facts, scale),
    ]
    return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{"".join(rows)}</table>>'


def short_label(facts: Facts) -> str:
    """Name and gradient, for drawings in which boxes are small."""
    return f"{plain(title(facts), 18)}\n{numbers.norm(facts.get('grad_norm'))}"


def _title(facts: Facts, frame: str, mark: str) -> str:
    """The name, and in the colour `mark` what was found at the node."""
    text = f"<b>{html(title(facts, frame), LONGEST)}</b>"
    if facts.get("repeats", 1) > 1 and facts.get("kind") == "module":
        text += f'  <font color="{palette.ACCENT}"><b>\u00d7{facts["repeats"]}</b></font>'
    for code in facts.get("findings", ()):
        text += f'  <font color="{mark}"><b>{html(code)}</b></font>'
    return text


def _onset_rows(facts: Facts, scale: Scale) -> Iterable[str]:
    """A band that says that an illness begins here, or what has changed."""
    if facts.get("onset") and scale.color == "gradient":
        band, text = palette.HEALTH[facts["onset"]].ink, html(onset_text(facts))
        yield _band(text, band)
    if scale.color == "change" and facts.get("change", "same") != "same":
        yield _band(html(_change(facts)), palette.CHANGE[facts["change"]].ink)


def _band(text: str, colour: str) -> str:
    inner = f'<font point-size="10" color="{palette.PAGE}"><b>{text}</b></font>'
    return f'<tr><td align="left" bgcolor="{colour}">{inner}</td></tr>'


def _change(facts: Facts) -> str:
    before = facts.get("before")
    if before is None or isinstance(before, str):
        return before or str(facts["change"])
    return f"was {numbers.shape(before) if isinstance(before, tuple) else f'grad {numbers.norm(before)}'}"


def dies(facts: Facts) -> bool:
    """Whether one op alone takes as much as parts a well gradient from a vanishing one."""
    gain = facts.get("onset_gain")
    return gain is not None and gain <= 10**-DECADES


def onset_text(facts: Facts) -> str:
    """What begins at a box, in a few words."""
    sudden = facts.get("onset_gain") is not None
    by = f": \u00d7{numbers.norm(facts['onset_gain'])}"
    return {
        "cut": "cut off here: no gradient beyond",
        "nan": "NaN or Inf is born here" if facts.get("born") else "NaN or Inf from here on",
        "zero": "ends here: exactly 0 from here on",
        "vanishing": f"{'dies' if dies(facts) else 'falls'} here{by}" if sudden else "below 1/1000 from here on",
        "exploding": f"explodes here{by}" if sudden else "over 1000\u00d7 from here on",
    }[facts["onset"]]


def _rows(facts: Facts, frame: str) -> Iterable[str]:
    """What the node is, in one line of small print."""
    kind = facts.get("kind")
    if kind == "module":
        yield _small(joined(facts.get("module_type"), calls(facts), _parameters(facts)))
    elif kind == "reference":
        yield _small(f"drawn elsewhere \u00b7 {facts['uses']} uses")
    elif kind == "unreached":
        yield _small(joined("no gradient", numbers.plural(facts["tensors"], "tensor"), _parameters(facts)))
        yield _small(joined(facts.get("op"), place(facts)) or facts["reason"])
    elif kind == "ops":
        yield _small(joined(calls(facts), numbers.plural(facts["nodes"], "node"), _parameters(facts)))
    else:
        yield _small(_module(facts, frame))
        yield _small(joined(numbers.shape(facts.get("shape")), place(facts)))


def _small(text: str | None) -> str:
    return _row(f'<font color="{palette.MUTED}" point-size="9">{html(text, LONGEST + 12)}</font>') if text else ""


def _row(content: str) -> str:
    return f'<tr><td align="left">{content}</td></tr>'


def _parameters(facts: Facts) -> str | None:
    return f"{numbers.count(facts['parameters'])} parameters" if facts.get("parameters") else None


def _module(facts: Facts, frame: str) -> str | None:
    """The module of an op, where no frame around it says so."""
    path = (facts.get("scope") or (facts.get("module"),))[-1]
    if not path or path == frame or facts.get("kind") in LEAVES:
        return None
    return joined(
        relative(path, frame),
        facts.get("module_type"),
        f"call {facts['call']}" if (facts.get("call") or 1) > 1 else None,
    )


def _leaf_rows(facts: Facts, frame: str) -> Iterable[str]:
    leaves = facts.get("leaves", ())
    for leaf in leaves[:LISTED]:
        name = local_name(leaf["name"] or leaf["kind"])
        grad = f"  grad {numbers.norm(leaf['grad_norm'])}" if leaf["grad_norm"] is not None else ""
        text = html(f"{name}  {numbers.shape(leaf['shape'])}{grad}", LONGEST + 12)
        yield f'<tr><td align="left" bgcolor="{palette.LEAF}"><font point-size="9">{text}</font></td></tr>'
    if len(leaves) > LISTED:
        yield _small(f"and {numbers.plural(len(leaves) - LISTED, 'more leaf')}".replace("leafs", "leaves"))


def _measure_rows(facts: Facts, scale: Scale) -> Iterable[str]:
    text = _amount(facts, scale.color)
    if text:
        mark, hidden = scale.ill(facts), _hidden(facts, scale)
        colour = mark.ink if mark and not hidden else palette.INK
        yield _row(f'<font point-size="10" color="{colour}">{html(text)}</font>{_gain(facts)}')
        if mark and hidden:
            yield _row(f'<font point-size="9" color="{mark.ink}">{html(hidden)}</font>')


def _hidden(facts: Facts, scale: Scale) -> str | None:
    """What makes a box ill where its numbers, of what goes past and through it, are well."""
    worst = facts.get("grad_worst")
    if worst is None or scale.color != "gradient" or scale.level is None:
        return None
    shown = (facts.get("grad_norm"), facts.get("grad_out"), *(facts.get("grad_range") or ()))
    shown += tuple(facts.get("call_norms") or ())
    if any(Profile(scale.level).health(norm) == facts["health"] for norm in shown):
        return None
    return f"{'down' if facts['health'] == 'vanishing' else 'up'} to {numbers.norm(worst)} inside"


def _call_rows(facts: Facts, scale: Scale) -> Iterable[str]:
    """The gradient over the calls of a box, where it was measured."""
    norms = facts.get("call_norms") or ()
    if scale.color == "gradient" and scale.level is not None and any(norm is not None for norm in norms):
        yield bars(norms, facts["calls"], scale.level, call_word(facts))


def _amount(facts: Facts, color: str) -> str | None:
    if color == "time" and facts.get("seconds") is not None:
        return numbers.duration(facts["seconds"])
    if color == "memory" and facts.get("saved_bytes"):
        return f"{numbers.size(facts['saved_bytes'])} saved"
    if facts.get("grad_norm") is None:
        return None
    ends = facts.get("grad_range")
    if ends and facts.get("health") == "nan":
        return f"grad {numbers.norm(ends[1])} to NaN"
    if ends and facts.get("repeats", 1) > 1 and facts.get("grad_out") is None and ends[0] != ends[1]:
        return f"grad {numbers.norm(ends[0])} to {numbers.norm(ends[1])}"
    if facts.get("grad_out") is not None:
        return f"grad {numbers.norm(facts['grad_norm'])} \u2192 {numbers.norm(facts['grad_out'])}"
    return f"grad {numbers.norm(facts['grad_norm'])}"


def _gain(facts: Facts) -> str:
    """The gain, in colour where it is far from one; nothing where one can see that it is about one."""
    gain = facts.get("gain")
    if gain is None or facts.get("kind") in LEAVES:
        return ""
    strong = gain > 0 and math.isfinite(gain) and abs(math.log10(gain)) >= STRONG
    if strong:
        colour = palette.HEALTH["vanishing" if gain < 1 else "exploding"].ink
        return f'  <font point-size="10" color="{colour}"><b>gain {numbers.norm(gain)}</b></font>'
    return f'  <font point-size="9" color="{palette.MUTED}">gain {numbers.norm(gain)}</font>'


def share_text(graph: Graph, target: int, facts: Facts) -> str | None:
    """What one use of a shared parameter brings it; None for any other edge, and where that is no number."""
    name, norm = facts.get("use_of"), facts.get("grad_norm")
    if name is None or norm is None or not math.isfinite(norm):
        return None
    return f" {numbers.norm(norm)}" if graph.nodes[target].get("name") == name else f" {name} {numbers.norm(norm)}"
