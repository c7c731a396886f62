"""Reports the birth of a NaN or an infinity once, and tells it from the steps that it poisoned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from gradtrace.capture import births
from gradtrace.capture.errors_of_backward import source_dict
from gradtrace.capture.replay import find_birth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradtrace.capture.lens import Lens
    from gradtrace.capture.modules import ModuleCall
    from gradtrace.capture.output import Output
    from gradtrace.capture.running import Running
    from gradtrace.capture.sites import SiteTable
    from gradtrace.model import Source

    Place = Callable[[int], tuple[ModuleCall | None, Source | None]]


class NonfiniteWatch:
    """Looks for the birth of a non-finite value while the backward that shows it is at hand."""

    def __init__(self, lens: Lens, sites: SiteTable, output: Output) -> None:
        self._lens = lens
        self._sites = sites
        self._output = output
        self.poisoned = False
        """The last backward was not finite: what follows is likely its consequence."""
        self.explained = False
        """A birth was found since values were last finite."""

    def after_backward(self, *, bad: bool) -> bool:
        """Whether non-finite values have just come up; called once a backward."""
        fresh = bad and not self.poisoned
        self.poisoned = bad
        self.explained = self.explained and bad
        return fresh

    def look_in_backward(self, running: Running, given: Any, place: Place) -> None:
        """A gradient is not finite and the loss was: find the op, from the measurements or by a replay from `given`.

        `place` tells the module call and source line of a node by its number.
        """
        graph = running.graph
        if self.explained or graph is None:
            return
        found = births.measured_birth(running.measurement.nodes) if running.measurement is not None else None
        if running.replaying:
            birth = find_birth(graph, running.roots, _root_gradients(running.roots, given))
            found = found if birth is None else (birth.node, birth.value, birth.evidence)
        if found is None:
            return
        number, value, evidence = found
        behind = births.birth_behind(graph.nodes[number], self._lens.journal.calls.all()) if running.replaying else None
        if behind is not None:
            self._report_forward(behind)
            return
        owner, source = place(number)
        self._report("backward", value, type(graph.nodes[number]).__name__, owner, source, None, evidence)

    def look_in_forward(self, running: Running) -> None:
        """The loss itself is not finite: find the call, from what the journal kept."""
        if self.explained:
            return
        birth = births.forward_birth(self._lens.journal.calls.all(), running.roots)
        if birth is not None:
            self._report_forward(birth._replace(evidence={**birth.evidence, "in_loss": True}))

    def _report_forward(self, birth: births.ForwardBirth) -> None:
        owner = self._lens.watch.call(birth.call.module)
        source = self._sites.source(birth.call.site)
        op = birth.op or (births.op_of(birth.call) if birth.direction == "forward" else None)
        evidence = birth.evidence
        if birth.made is not None:
            made_at = source_dict(self._sites.source(birth.made.site))
            evidence = {**evidence, "made_by": birth.made.name, "made_at": made_at}
        self._report(birth.direction, birth.value, op, owner, source, birth.shape, evidence)

    def _report(
        self,
        direction: str,
        value: str,
        op: str | None,
        owner: ModuleCall | None,
        source: Source | None,
        shape: Sequence[int] | None,
        evidence: dict[str, Any],
    ) -> None:
        self.explained = True
        self._output.event(
            "nonfinite",
            {
                "direction": direction,
                "value": value,
                "op": op,
                "module": owner.module if owner else None,
                "call": owner.call if owner else None,
                "source": source_dict(source),
                "shape": None if shape is None else list(shape),
                "exact": True,
                "evidence": evidence,
            },
        )


def _root_gradients(roots: Sequence[Any], given: Any) -> list[Tensor | None]:
    if given is None or isinstance(given, Tensor):
        return [given for _ in roots]
    return list(given)
