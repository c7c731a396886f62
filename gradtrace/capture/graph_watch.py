"""The graph behind each backward: walked, built into a snapshot, measured, kept for a replay, stored, where each is
due."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from torch.autograd.function import BackwardCFunction

from gradtrace.capture import private
from gradtrace.capture.build import Builder
from gradtrace.capture.distributed import in_process_group, may_communicate
from gradtrace.capture.expansion import expanded
from gradtrace.capture.kept_values import NODES, kept_values
from gradtrace.capture.measure import Measurement
from gradtrace.capture.recomputed import Recomputed, inputs_again, with_recomputed
from gradtrace.capture.schedule import Schedule
from gradtrace.capture.walk import LiveGraph
from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from gradtrace.capture.lens import Lens
    from gradtrace.capture.modules import ModuleCall
    from gradtrace.capture.options import Options
    from gradtrace.capture.output import Output
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.running import Running
    from gradtrace.capture.sites import SiteTable
    from gradtrace.model import Source

NODE_LIMIT = 300_000
"""Nodes of one graph that are walked at most."""


def walked(roots: Iterable[Any]) -> LiveGraph:
    """The graph behind the roots, cut off at `NODE_LIMIT`."""
    return LiveGraph(roots, NODE_LIMIT)


class GraphWatch:
    """Looks at the graph of a backward as closely as is due.

    What is armed is looked at before the engine runs, while saved tensors are there to be read. The rest is walked
    afterwards: what the walk makes is gone again by the time that Python's garbage collector would look at it.
    """

    def __init__(self, options: Options, registry: Registry, sites: SiteTable, lens: Lens, output: Output) -> None:
        self._options = options
        self._registry = registry
        self._sites = sites
        self._lens = lens
        self._output = output
        self._structures: dict[int, int] = {}
        self.schedule = Schedule(options.graph)
        self.armed = False
        """Whether the next backward is looked at closely."""

    def arm(self, number: int) -> bool:
        """Decide whether backward `number`, the next one, is looked at closely."""
        self.armed = self.schedule.arm_next(number)
        return self.armed

    def must_look_first(self) -> bool:
        """Whether there may be graphs that must not run again, so that each has to be walked before it runs."""
        return self._options.replay and (self._lens.is_opaque or in_process_group())

    def may_replay(self, running: Running, *, create: bool) -> bool:
        """Whether the backward's graph may be kept and run again.

        Not one that calls collectives, nor a compiled one, which gives its buffers away as it runs.
        """
        if not self._options.replay or create:
            return False
        graph = running.graph
        return graph is None or not (
            may_communicate(graph) or (self._lens.is_opaque and private.has_compiled_node(graph.nodes))
        )

    def look(self, running: Running, frame: FrameType) -> None:
        """Walk the graph where that is due; build and measure it where the backward is armed."""
        if not (running.armed or self._options.replay or self.schedule.walk_due(running.number)):
            return
        began = time.perf_counter()
        graph = running.graph = walked(running.roots)
        fingerprint = graph.fingerprint()
        running.nodes = len(graph.nodes)
        self.schedule.walked(time.perf_counter() - began, fingerprint)
        running.structure = self._structures.get(fingerprint, -1)
        if running.armed or (running.structure < 0 and self._options.graph in ("changes", "all")):
            running.builder = self._builder(graph, frame, read_saved=running.armed and self._lens.sightings.mode_on)
        if running.structure < 0 and not running.armed:
            self.schedule.trigger()
        if running.armed and not running.flags & BackwardFlag.CREATE_GRAPH and self._options.graph != "off":
            running.measurement = Measurement(graph)
            running.flags |= BackwardFlag.MEASURED
            self._keep_values(running, graph)

    def look_inside(self, outer: Running, running: Running) -> None:
        """Look at the graph of a backward that a node of the outer one runs (a reentrant checkpoint): as closely as at
        the outer one, and only where both run in one thread, so that sequence numbers mean the same.

        What a hook runs while another node is at work (the adjoint of an equilibrium) is no part of that node.
        """
        node = private.current_node()
        if outer.measurement is None or outer.graph is None or not isinstance(node, BackwardCFunction):
            return
        running.inside = outer.graph.numbers.get(node)
        if running.inside is not None:
            running.graph = walked(running.roots)
            running.builder = self._builder(running.graph, None, read_saved=False, name_leaves=False)
            running.measurement = Measurement(running.graph)
            if self._may_read(node) and not outer.graph.truncated:
                running.inputs_again = inputs_again(node, running.graph)

    def _may_read(self, node: private.Node) -> bool:
        """Whether reading what a node saved runs no hooks of the program."""
        sequence = private.node_sequence(node)
        return self._lens.sightings.mode_on and sequence is not None and not self._lens.sightings.is_hooked(sequence)

    def keep_inside(self, outer: Running, running: Running) -> None:
        """Keep the graph of a nested backward until that of the outer one is stored."""
        if running.inside is None or running.builder is None or running.measurement is None:
            return
        measures = running.measurement.nodes | running.measurement.shared
        plain = running.builder.finish(running.number, "backward", None, self._lens.is_open, measures)
        snapshot = with_recomputed(plain, running.recomputed)
        outer.recomputed.append(Recomputed(running.inside, snapshot, running.inputs_again))

    def _keep_values(self, running: Running, graph: LiveGraph) -> None:
        """Keep the numbers of a small graph for `gradtrace explain`."""
        if not self._options.source:
            return
        if not self._lens.sightings.mode_on or len(running.roots) != 1 or not 0 < len(graph.nodes) <= NODES:
            return
        sequences = (private.node_sequence(node) for node in graph.nodes)
        if any(number is not None and self._lens.sightings.is_hooked(number) for number in sequences):
            return
        values = kept_values(graph, running.roots[0])
        if values is not None:
            self._output.event("values", values)

    def place(self, running: Running, number: int) -> tuple[ModuleCall | None, Source | None]:
        """Module call and source line of a node of the backward's graph."""
        if running.builder is None:
            graph = running.graph or walked(running.roots)
            running.builder = self._builder(graph, None, read_saved=False)
        return running.builder.place(number)

    def _builder(
        self, graph: LiveGraph, frame: FrameType | None, *, read_saved: bool, name_leaves: bool = True
    ) -> Builder:
        lens = self._lens
        return Builder(
            graph,
            self._registry,
            self._sites,
            lens.watch,
            lens.journal.spans,
            lens.sightings.is_hooked,
            self._sites.user_frame(frame),
            read_saved=read_saved,
            name_leaves=name_leaves,
        )

    def put(self, running: Running, reached: set[int]) -> None:
        """Store the snapshot, and the cuts that left parameters without a gradient."""
        builder, graph = running.builder, running.graph
        if builder is not None and graph is not None and self._options.graph != "off":
            measures = None if running.measurement is None else running.measurement.nodes | running.measurement.shared
            kind = "grad" if running.kind else "backward"
            plain = builder.finish(running.number, kind, running.unscaled_loss(), self._lens.is_open, measures)
            snapshot = expanded(plain, graph, self._lens.regions)
            if snapshot is plain:  # the nodes that ran inner backwards have their numbers
                snapshot = with_recomputed(plain, running.recomputed)
            running.structure = self._output.writer.put_structure(snapshot.structure)
            self._structures[graph.fingerprint()] = running.structure
            self._output.writer.put_snapshot(snapshot)
        journal = self._lens.journal
        if running.armed and running.kind == 0 and journal.cuts.found:
            for payload in self._lens.sightings.cut_payloads(journal, self._lens.watch, graph, reached):
                self._output.event("cut", payload)
