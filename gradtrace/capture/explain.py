"""Walk a backward pass node by node, in the engine's order, and write down what the chain rule does at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradtrace.capture import private
from gradtrace.capture.differences import (
    Forward,
    ProgramForward,
    RebuiltForward,
    along,
    by_element,
    is_small,
    relative_error,
)
from gradtrace.capture.oneshot import snapshot as take_snapshot
from gradtrace.capture.recipe import CannotRebuildError, of_graph, saved_values, targets_of
from gradtrace.capture.replay import Runner
from gradtrace.capture.slopes import slopes_of, values_of
from gradtrace.capture.walk import LiveGraph
from gradtrace.errors import GradtraceError
from gradtrace.explanation import Explanation
from gradtrace.formulas import Derivative, derivative_of
from gradtrace.steps import Arrival, Check, Cost, Departure, Leaf, Step, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from gradtrace.graphs.types import Graph
    from gradtrace.model import Snapshot

MANY = 24
"""Ops from which on only one path is explained."""

_NEGLIGIBLE = 1e-6
"""Share of the largest gradient below which one is rounding error, such as that of a bias in front of a batch norm."""

_CHECKED = 256
"""Leaves that are checked by finite differences at most."""


def explain(
    loss: Tensor,
    model: nn.Module | None = None,
    *,
    forward: Callable[[], Tensor] | None = None,
    path: str | None = None,
) -> Explanation:
    """The chain rule behind `loss` in words and numbers, from the loss back to the leaves.

    Call it before `backward()`, or after `backward(retain_graph=True)`. No `.grad` and nothing of the graph is changed,
    and none of the program's hooks runs, but for those in `forward`. `model` gives the parameters their names. The
    finite differences beside each leaf run the forward again: `forward`, a function without arguments that computes the
    same loss, or else what the graph kept of it. `path` ("FROM:TO", in either order, with names of parameters,
    modules or ops, and "loss") picks a part of a large graph.

    Raises GradtraceError where `loss` is not one number with a graph, where the graph is gone, or where `forward` gives
    another loss.
    """
    _require_number(loss)
    snapshot = take_snapshot(loss, model)
    graph = LiveGraph([loss])
    leaves = {number: node.variable for number, node in enumerate(graph.nodes) if private.is_leaf_node(node)}
    notes: list[str] = []
    again: Forward | None
    if forward is not None:
        again = ProgramForward(forward, leaves, model, float(loss.detach()))
    else:
        again = _rebuilt(graph, loss, notes)
    title = "One backward pass" if model is None else f"One backward pass of {type(model).__name__}"
    return Walk(graph, snapshot, again, notes).explanation(loss, title, path)


def _require_number(loss: Any) -> None:
    if not isinstance(loss, Tensor):
        raise GradtraceError(f"explain needs the loss as a tensor; got {type(loss).__name__}")
    if loss.numel() != 1 or loss.is_complex():
        raise GradtraceError(
            f"explain needs a loss that is one real number; got {loss.dtype} of shape {tuple(loss.shape)}"
        )


def _rebuilt(graph: LiveGraph, loss: Tensor, notes: list[str]) -> Forward | None:
    try:
        recipe = of_graph(graph, loss).to(torch.float64)
        recipe.settle()
    except CannotRebuildError as error:
        notes.append(f"No finite differences: {error}. Pass forward=, a function that computes the loss again.")
        return None
    return RebuiltForward(recipe)


class Walk:
    """One run through a graph. `again` runs the forward anew, None where that cannot be done."""

    def __init__(self, graph: LiveGraph, snapshot: Snapshot, again: Forward | None, notes: list[str]) -> None:
        self._graph = graph
        self._snapshot = snapshot
        self._again = again
        self._notes = notes
        self._targets = targets_of(graph)
        self._arrivals: dict[int, list[tuple[int | None, Tensor]]] = {}

    def explanation(self, loss: Tensor, title: str, path: str | None) -> Explanation:
        """Everything, or what lies on `path`. Raises GradtraceError where the graph is gone or has no such path."""
        shown = chosen(self._snapshot, path, self._notes)
        seed = torch.ones_like(loss)
        self._arrivals[self._graph.roots[0]] = [(None, seed)]
        with torch._C.DisableTorchFunction(), private.WithoutGrad():
            steps = tuple(self._steps(loss, seed, shown))
            totals = {number: _sum(arrivals) for number, arrivals in self._arrivals.items()}
        leaves = self._leaves(totals, shown)
        return Explanation(title, float(loss.detach()), steps, tuple(leaves), self._cost(totals), tuple(self._notes))

    def _steps(self, loss: Tensor, seed: Tensor, shown: Collection[int]) -> Iterable[Step]:
        runner = Runner(self._graph)
        runner.seed(loss, seed)
        steps = runner.steps()
        while True:
            try:
                number, taken, given = next(steps)
            except StopIteration:
                return
            except RuntimeError as error:
                raise _gone(error) from error
            departures = list(self._departures(number, taken, given, shown))
            if number in shown:
                yield self._step(number, taken, departures)

    def _departures(
        self, number: int, taken: Sequence[Tensor | None], given: Sequence[Any], shown: Collection[int]
    ) -> Iterable[Departure]:
        node = self._graph.nodes[number]
        derivative = derivative_of(type(node).__name__)
        slopes = slopes_of(node, taken) if number in shown else {}
        for position, (target, input_nr) in self._targets[number].items():
            gradient = given[position] if position < len(given) else None
            if gradient is None:
                continue
            summed = self._summed(target, input_nr, gradient)
            self._arrivals.setdefault(target, []).append((number, gradient if summed is None else summed))
            if number not in shown or target not in shown:
                continue
            argument = _argument(derivative, position)
            yield Departure(
                target,
                values_of(gradient),
                argument,
                derivative.formulas.get(argument) if derivative and argument else None,
                derivative.reading(argument) if derivative and argument else None,
                slopes.get(position),
                None if summed is None else values_of(summed),
            )

    def _summed(self, target: int, input_nr: int, gradient: Tensor) -> Tensor | None:
        metadata = private.inputs_metadata(self._graph.nodes[target])
        if input_nr >= len(metadata) or gradient.layout is not torch.strided:
            return None
        shape = tuple(metadata[input_nr].shape)
        return gradient.sum_to_size(shape) if tuple(gradient.shape) != shape else None

    def _step(self, number: int, taken: Sequence[Tensor | None], departures: Sequence[Departure]) -> Step:
        node, facts = self._graph.nodes[number], self._snapshot.nodes[number]
        present = [gradient for gradient in taken if gradient is not None]
        derivative = derivative_of(facts.op)
        return Step(
            number,
            facts.op,
            values_of(present[0]) if len(present) == 1 else Values((), None),
            tuple(Arrival(origin, values_of(gradient)) for origin, gradient in self._arrivals.get(number, ())),
            tuple(departures),
            tuple(
                (name, _shown(value)) for name, value in _saved(node).items() if _worth_showing(name, value, derivative)
            ),
            plain_name(derivative),
            facts.module,
            facts.source,
        )

    def _leaves(self, totals: Mapping[int, Tensor], shown: Collection[int]) -> Iterable[Leaf]:
        floor = _NEGLIGIBLE * max((values_of(total).norm or 0.0 for total in totals.values()), default=0.0)
        checked = 0
        for number, facts in enumerate(self._snapshot.nodes):
            if number not in shown or not private.is_leaf_node(self._graph.nodes[number]) or number not in totals:
                continue
            gradient = _dense(totals[number])
            arrivals = tuple(Arrival(origin, values_of(one)) for origin, one in self._arrivals[number])
            check = self._check(number, gradient, floor) if checked < _CHECKED else None
            checked += 1
            yield Leaf(number, facts.name or "leaf", facts.kind, values_of(gradient), arrivals, check)

    def _check(self, number: int, gradient: Tensor, floor: float) -> Check | None:
        if self._again is None or not gradient.is_floating_point():
            return None
        if is_small(gradient):
            differences = by_element(self._again, number)
            return Check(values_of(differences), relative_error(gradient, differences, floor), True)
        slope = along(self._again, number, gradient)
        norm = torch.linalg.vector_norm(gradient.double())
        return Check(values_of(slope), relative_error(norm, slope, floor), False)

    def _cost(self, totals: Mapping[int, Tensor]) -> Cost:
        leaves = [
            number for number, node in enumerate(self._graph.nodes) if private.is_leaf_node(node) and number in totals
        ]
        gradients = sum(totals[number].numel() for number in leaves)
        if self._again is None:
            return Cost(gradients)
        runs = self._again.runs
        return Cost(gradients, *self._again.time_passes(), runs, isinstance(self._again, RebuiltForward))


def chosen(snapshot: Snapshot, path: str | None, notes: list[str]) -> Collection[int]:
    """The nodes to explain: all of a small graph, the asked path, or one path of a large one, as `notes` then says."""
    ops = [node for node in snapshot.nodes if node.kind in ("op", "root")]
    if path is None and len(ops) <= MANY:
        return range(len(snapshot.nodes))
    from gradtrace.graphs import paths, to_networkx
    from gradtrace.graphs.paths import split_path

    graph = to_networkx(snapshot)
    if path is not None:
        found = paths(graph, *split_path(path))
        if len(found.graph) > MANY:
            notes.append(f"Of {found.count} ways on {path}, the shortest is shown.")
            return _shortest(found.graph)
        return set(found.graph)
    leaf = next((node for node in snapshot.nodes if node.kind == "parameter"), None) or snapshot.nodes[-1]
    notes.append(
        f"The graph has {len(ops):,} ops; shown is one path, from the loss to {leaf.name}. "
        "Another one: path='loss:NAME' (--path loss:NAME on the command line)."
    )
    return _shortest(paths(graph, None, leaf.id).graph)


def _shortest(part: Graph) -> Collection[int]:
    import networkx as nx

    start = next(node for node in part if not part.pred[node])
    end = next(node for node in part if not part.adj[node])
    return set(nx.shortest_path(part, start, end))


def _gone(error: RuntimeError) -> GradtraceError:
    first = str(error).splitlines()[0]
    if "second time" in first or "already been freed" in first:
        return GradtraceError(
            "the graph behind the loss was freed by backward(); "
            "call explain before it, or use backward(retain_graph=True)"
        )
    return GradtraceError(f"the backward cannot be run: {first}")


def _argument(derivative: Derivative | None, position: int) -> str | None:
    """The name of the input at a position; an op on a list of tensors has one name for all of them."""
    if derivative is None:
        return None
    names = list(derivative.formulas)
    return names[position] if position < len(names) else names[-1]


def plain_name(derivative: Derivative | None) -> str | None:
    """The op as a user calls it: `log_softmax` for `_log_softmax`, `nll_loss` for `nll_loss_forward`."""
    return None if derivative is None else derivative.name.partition(".")[0].strip("_").removesuffix("_forward")


def _saved(node: private.Node) -> dict[str, Any]:
    try:
        return saved_values(node)
    except CannotRebuildError:
        return {}


def _worth_showing(name: str, value: Any, derivative: Derivative | None) -> bool:
    """Whether a formula speaks of it: not the sizes and strides that only give the gradient its shape back."""
    if value is None or "_sym_" in name or derivative is None:
        return False
    texts = [
        text
        for argument in derivative.formulas
        for text in (derivative.reading(argument), derivative.formulas[argument])
    ]
    return any(text and name in text for text in texts)


def _shown(value: Any) -> Any:
    if isinstance(value, Tensor):
        return values_of(value)
    return value if isinstance(value, (bool, int, float)) else str(value)


def _sum(arrivals: Sequence[tuple[int | None, Tensor]]) -> Tensor:
    total = arrivals[0][1]
    for _, gradient in arrivals[1:]:
        total = total + gradient
    return total


def _dense(gradient: Tensor) -> Tensor:
    return gradient if gradient.layout is torch.strided else gradient.to_dense()
