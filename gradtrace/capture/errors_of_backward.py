"""What torch's own exceptions mean: notes that name the lines involved, and the facts as an event's payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradtrace.capture.cuts import Cut
    from gradtrace.capture.journal import Journal, Overwrite
    from gradtrace.capture.sites import SiteTable
    from gradtrace.capture.walk import LiveGraph
    from gradtrace.model import Source


def source_dict(source: Source | None) -> dict[str, Any] | None:
    """A source line as an event carries it."""
    return None if source is None else dict(source._asdict())


def explain_exception(
    error: Exception,
    roots: tuple[Any, ...],
    graph: LiveGraph | None,
    journal: Journal,
    sites: SiteTable,
    site: int,
    line_of: Callable[[int], Source | None],
) -> dict[str, Any]:
    """The payload of an `exception` event; also adds the note to `error`. `line_of` maps a node's number to its
    line."""
    text = str(error)
    payload: dict[str, Any] = {
        "type": "other",
        "message": text.splitlines()[0][:500] if text else type(error).__name__,
        "op": None,
        "saved": None,
        "changed": None,
        "cut": None,
        "source": source_dict(sites.source(site)),
    }
    if "does not require grad and does not have a grad_fn" in text:
        payload["type"] = "detached"
        _explain_detached(error, roots, journal, sites, payload)
    elif "modified by an inplace operation" in text:
        payload["type"] = "inplace"
        _explain_overwrite(error, graph, journal, sites, line_of, payload)
    elif "backward through the graph a second time" in text:
        payload["type"] = "second_backward"
        _explain_walked_again(error, graph, journal, line_of, payload)
    return payload


def _explain_detached(
    error: Exception, roots: tuple[Any, ...], journal: Journal, sites: SiteTable, payload: dict[str, Any]
) -> None:
    cuts: list[Cut] = []
    for root in roots:
        if isinstance(root, Tensor):
            cuts += journal.cuts.behind(root)
    if not cuts:
        cuts = [cut for cut in journal.cuts.found.values() if cut.exits]
    if not cuts:
        return
    # Of two that took the same part of the model out, the later one stands nearer to the loss.
    _, cut = max(enumerate(cuts), key=lambda each: (len(each[1].tensors), each[0]))
    source = sites.source(cut.site)
    payload["cut"] = source_dict(source)
    payload["call"] = cut.call
    _note(error, f"gradtrace: the loss was cut from the graph by {cut.call} at {_shown(source)}")


def _explain_walked_again(
    error: Exception,
    graph: LiveGraph | None,
    journal: Journal,
    line_of: Callable[[int], Source | None],
    payload: dict[str, Any],
) -> None:
    """Name the node of this forward that took a value with the graph of an earlier one, the newest such value."""
    seam = None if graph is None else _seam(graph, journal.cuts.start)
    if graph is None or seam is None:
        return
    newer, older = seam
    payload["op"] = type(graph.nodes[older]).__name__
    payload["saved"], payload["joined"] = source_dict(line_of(older)), source_dict(line_of(newer))
    _note(
        error,
        f"gradtrace: {_shown(line_of(newer))} uses a value of an earlier forward, whose graph is already freed; "
        "detach it where it is carried over",
    )


def _seam(graph: LiveGraph, start: int) -> tuple[int, int] | None:
    """Numbers of a node made since `start` and of one made before it whose value it took, the newest of these."""
    made = [private.node_sequence(node) for node in graph.nodes]
    crossing = [
        (older, newer, edge[1], edge[0])
        for edge in graph.edges
        if (newer := made[edge[0]]) is not None and (older := made[edge[1]]) is not None and older < start <= newer
    ]
    if not crossing:
        return None
    *_, older, newer = max(crossing)
    return newer, older


def _explain_overwrite(
    error: Exception,
    graph: LiveGraph | None,
    journal: Journal,
    sites: SiteTable,
    line_of: Callable[[int], Source | None],
    payload: dict[str, Any],
) -> None:
    if graph is None:
        return
    found = _overwritten_node(graph)
    if found is None:
        return
    number, version = found
    node = graph.nodes[number]
    saved = line_of(number)
    change = _change(journal.overwrites, str(error), private.node_sequence(node), version)
    changed = None if change is None else sites.source(change.site)
    payload["op"] = type(node).__name__
    payload["saved"] = source_dict(saved)
    payload["changed"] = source_dict(changed)
    if change is not None:
        payload["call"] = change.call
    _note(
        error,
        f"gradtrace: {type(node).__name__} saved the tensor at {_shown(saved)}; "
        f"it was changed in place{f' by {change.call}' if change else ''} at {_shown(changed)}",
    )


def _overwritten_node(graph: LiveGraph) -> tuple[int, int | None] | None:
    """The node that torch refuses to run since a tensor that it saved was changed, and the version it is at now."""
    for number, node in enumerate(graph.nodes):
        names = private.saved_attributes(type(node))
        if hasattr(node, "saved_tensors"):
            names = (*names, "saved_tensors")
        for name in names:
            try:
                getattr(node, name)
            except RuntimeError as refusal:
                if "modified by an inplace operation" in str(refusal):
                    return number, _version_in(str(refusal))
    return None


def _version_in(text: str) -> int | None:
    _, _, rest = text.partition("is at version ")
    digits = rest.split(";")[0].strip()
    return int(digits) if digits.isdigit() else None


def _change(overwrites: list[Overwrite], text: str, sequence: int | None, version: int | None) -> Overwrite | None:
    """The overwrite that fits best: of the tensor's shape, after it was saved, ending at the version torch tells."""
    _, _, rest = text.partition("[torch.")
    shape_text = rest.partition("[")[2].partition("]")[0]
    shape = tuple(int(size) for size in shape_text.split(",") if size.strip().isdigit())
    later = [change for change in overwrites if sequence is None or change.sequence > sequence]
    fitting = [change for change in later if change.shape == shape]
    fitting = fitting or [change for change in later if change.shape is None] or later
    exact = [change for change in fitting if change.version == version]
    return next(iter(exact or fitting), None)


def _note(error: Exception, text: str) -> None:
    """Once, though several tracers may be at work."""
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def _shown(source: Source | None) -> str:
    return "an unknown line" if source is None else f"{source}" + (f": {source.text}" if source.text else "")
