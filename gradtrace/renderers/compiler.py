"""What `torch.compile` did with the program, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gradtrace.rules.wording import at_line, counted, source_of

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording

_SHOWN = 5
"""Graph breaks told one by one."""


def compiler_facts(recording: Recording) -> dict[str, Any] | None:
    """Payload of the `compiler` event (docs/file.md); None where nothing was compiled, or the program was killed."""
    events = recording.events("compiler")
    return events[-1].payload if events else None


def compiler_lines(recording: Recording) -> Iterator[str]:
    """How many graphs were compiled, what is seen of them, and each graph break with its line."""
    facts = compiler_facts(recording)
    if facts is None:
        for event in recording.events("compiled"):
            yield str(event.payload.get("message"))
        return
    breaks = facts["breaks"]
    total = sum(each["count"] for each in breaks)
    yield (
        f"torch.compile: {counted(facts['graphs'], 'graph')}, {counted(total, 'graph break')}; "
        "inside compiled regions only the gradients of parameters are measured"
    )
    if facts["boxes"]:
        why = f" ({facts['unread']})" if facts.get("unread") else ""
        yield f"  {counted(facts['boxes'], 'compiled region')} shown as one node{why}"
    for each in breaks[:_SHOWN]:
        times = f", {each['count']} times" if each["count"] > 1 else ""
        yield f"  graph break{at_line(source_of(each['source']))}{times}: {each['reason']}"
    if len(breaks) > _SHOWN:
        yield f"  and {len(breaks) - _SHOWN} more kinds of graph break"
