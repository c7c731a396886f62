"""The forward pass behind an autograd graph, put together again from what the graph kept, so that it can be run anew.

A node names its op, and torch's `derivatives.yaml` the op's arguments. Those that want a gradient come from the nodes
below; the others were saved for the backward, but for constants that were merely added, whose share is worked out from
what the next op saved. What comes out is believed only if it gives the very loss that the program computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradtrace.capture import private
from gradtrace.formulas import Derivative, derivative_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gradtrace.capture.walk import LiveGraph

Place = tuple[int, int]
"""A node's number and which of its outputs."""

_ADDED = {
    "add": ("self", "other"),
    "sub": ("self", "other"),
    "addmm": ("self",),
    "addmv": ("self",),
    "baddbmm": ("self",),
}
"""Arguments that are only added, so that a node needs not keep them."""

_ASSUMED = {"half_to_float": False, "eps": 1e-5, "momentum": 0.1}
"""Arguments that no node keeps, at torch's usual values (of optional ones, None); where another one matters, the loss
comes out different."""

_LIKE_OUTPUT = ("size", "shape")
"""Arguments of views and expansions, which the node's own shape gives."""

_TOLERANCE = 1e-4
"""Relative difference up to which the loss counts as the same: float32 sums differ by less, any wrong argument by more.
Of lower precisions, four times their resolution."""


class CannotRebuildError(Exception):
    """The graph did not keep enough to run its forward again; the message says at which op."""


@dataclass(frozen=True, slots=True)
class Call:
    """One op of the forward: the node's type name, where its inputs come from (None: no gradient), and what it
    saved."""

    op: str
    inputs: tuple[Place | None, ...]
    saved: dict[str, Any]
    shape: tuple[int, ...]


@dataclass(slots=True)
class Recipe:
    """The calls of a forward and its leaves by node number; `run` gives the loss for any values of the leaves."""

    calls: dict[int, Call]
    leaves: dict[int, Tensor]
    root: Place
    loss: float
    tolerance: float = _TOLERANCE

    def run(self, leaves: Mapping[int, Tensor]) -> Tensor:
        """The loss, differentiable, for given values of the leaves. Raises CannotRebuildError."""
        values: dict[int, Sequence[Any]] = {number: (value,) for number, value in leaves.items()}
        for number in self._order():
            values[number] = self._apply(number, values)
        result: Tensor = values[self.root[0]][self.root[1]]
        return result

    def to(self, dtype: torch.dtype) -> Recipe:
        """A copy of its own with every floating tensor in `dtype`."""
        calls = {
            number: Call(
                call.op, call.inputs, {name: _cast(value, dtype) for name, value in call.saved.items()}, call.shape
            )
            for number, call in self.calls.items()
        }
        leaves = {number: _cast(leaf, dtype) for number, leaf in self.leaves.items()}
        return Recipe(calls, leaves, self.root, self.loss, self.tolerance)

    def settle(self) -> None:
        """Work out the constants that were added, and make sure that the recipe gives the program's loss.

        Raises CannotRebuildError where it does not.
        """
        with private.WithoutGrad():
            self._find_constants()
            loss = float(self.run(self.leaves))
        if not abs(loss - self.loss) <= self.tolerance * max(abs(loss), abs(self.loss)):
            raise CannotRebuildError(
                f"run again from what the graph kept, it gives {loss:.6g} instead of {self.loss:.6g}"
            )

    def _find_constants(self) -> None:
        values: dict[int, Sequence[Any]] = {number: (value,) for number, value in self.leaves.items()}
        known = self._known_outputs()
        for number in self._order():
            call = self.calls[number]
            unknown = _unknown_summand(call)
            if unknown:
                if number not in known:
                    raise CannotRebuildError(f"{call.op} did not keep the constant {unknown!r} that was added")
                share = known[number] - self._apply(number, values)[0]
                call.saved[unknown] = share / _factor(call, unknown)
            values[number] = self._apply(number, values)

    def _known_outputs(self) -> dict[int, Tensor]:
        """Outputs that the op itself, or one that took them, saved; and the loss."""
        known = {self.root[0]: torch.tensor(self.loss, dtype=torch.float64)}
        for number, call in self.calls.items():
            if isinstance(call.saved.get("result"), Tensor):
                known[number] = call.saved["result"]
            derivative = derivative_of(call.op)
            for argument, place in zip(derivative.formulas if derivative else (), call.inputs, strict=False):
                value = call.saved.get(argument)
                if place is not None and place[1] == 0 and isinstance(value, Tensor):
                    known.setdefault(place[0], value)
        return known

    def _order(self) -> list[int]:
        """Every call after those it needs."""
        order: list[int] = []
        done: set[int] = set(self.leaves)
        stack = [self.root[0]]
        while stack:
            number = stack[-1]
            waiting = (
                []
                if number in done
                else [place[0] for place in self.calls[number].inputs if place is not None and place[0] not in done]
            )
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if number not in done:
                done.add(number)
                order.append(number)
        return order

    def _apply(self, number: int, values: Mapping[int, Sequence[Any]]) -> Sequence[Any]:
        call = self.calls[number]
        inputs = [None if place is None else values[place[0]][place[1]] for place in call.inputs]
        try:
            result = _run_op(call, inputs)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise CannotRebuildError(
                f"{call.op} cannot be run from what it kept ({str(error).splitlines()[0]})"
            ) from error
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def of_graph(graph: LiveGraph, root: Tensor) -> Recipe:
    """The recipe of a live graph. Raises CannotRebuildError where a node's saved tensors are gone."""
    targets = targets_of(graph)
    calls: dict[int, Call] = {}
    leaves: dict[int, Tensor] = {}
    for number, node in enumerate(graph.nodes):
        if private.is_leaf_node(node):
            leaves[number] = node.variable
            continue
        inputs = tuple(targets[number].get(position) for position in range(len(node.next_functions)))
        metadata = private.output_metadata(node)
        calls[number] = Call(type(node).__name__, inputs, saved_values(node), () if metadata is None else metadata[0])
    place = (graph.roots[0], private.root_number(root))
    return Recipe(calls, leaves, place, float(root.detach()), tolerance_of(leaves.values()))


def tolerance_of(leaves: Iterable[Tensor]) -> float:
    """How closely a loss of such leaves can be computed again."""
    coarsest = max((torch.finfo(leaf.dtype).eps for leaf in leaves), default=0.0)
    return max(_TOLERANCE, 4 * coarsest)


def targets_of(graph: LiveGraph) -> list[dict[int, Place]]:
    """For each node, where the gradient at each position of its `next_functions` goes."""
    targets: list[dict[int, Place]] = [{} for _ in graph.nodes]
    for source, target, input_nr, position in graph.edges:
        targets[source][position] = (target, input_nr)
    return targets


def saved_values(node: private.Node) -> dict[str, Any]:
    """What a node saved, by argument name. Raises CannotRebuildError where it was freed or changed in place."""
    saved: dict[str, Any] = {}
    for name in private.saved_attributes(type(node)):
        try:
            value = getattr(node, name)
        except RuntimeError as error:
            raise CannotRebuildError(f"{type(node).__name__}: {str(error).splitlines()[0]}") from error
        saved[name.removeprefix("_saved_")] = _signed(value)
    return saved


def _signed(value: Any) -> Any:
    """torch hands out negative integers as unsigned ones."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
        return value - 2**64
    if isinstance(value, (tuple, list)):
        return [_signed(item) for item in value]
    return value


def _run_op(call: Call, inputs: Sequence[Any]) -> Any:
    derivative = derivative_of(call.op)
    if derivative is None:
        raise CannotRebuildError(f"{call.op} is no op of torch's own")
    operator = _operator(derivative)
    given = dict(zip(derivative.formulas, inputs, strict=False))
    if len(derivative.formulas) == 1 and _wants_list(operator):
        given = {next(iter(derivative.formulas)): list(inputs)}
    positional, keywords = [], {}
    for argument in operator._schema.arguments:
        value = _argument(argument, call, given)
        if argument.kwarg_only:
            keywords[argument.name] = value
        else:
            positional.append(value)
    return operator(*positional, **keywords)


def _operator(derivative: Derivative) -> Any:
    base, _, overload = derivative.name.partition(".")
    base = "reshape" if base in ("view", "_unsafe_view") else base  # strides in double may differ from the program's
    packet = getattr(torch.ops.aten, base)
    return getattr(packet, overload or "default")


def _wants_list(operator: Any) -> bool:
    return str(operator._schema.arguments[0].type) == "List[Tensor]"


def _argument(argument: Any, call: Call, given: Mapping[str, Any]) -> Any:
    name = argument.name
    if given.get(name) is not None:
        return given[name]
    if name in call.saved and (call.saved[name] is not None or "Optional" in str(argument.type)):
        return call.saved[name]
    if name in _LIKE_OUTPUT:
        return list(call.shape)
    if argument.has_default_value():
        return argument.default_value
    if name == _unknown_summand(call):
        return torch.zeros(())
    if name in _ASSUMED or "Optional" in str(argument.type):
        return _ASSUMED.get(name)
    raise CannotRebuildError(f"{call.op} did not keep its argument {name!r}")


def _unknown_summand(call: Call) -> str | None:
    """The one argument that was only added and is not known, None where there is none."""
    derivative = derivative_of(call.op)
    if derivative is None:
        return None
    summands = _ADDED.get(derivative.name.partition(".")[0], ())
    places = dict(zip(derivative.formulas, call.inputs, strict=False))
    unknown = (name for name in summands if name in places and places[name] is None and call.saved.get(name) is None)
    return next(unknown, None)


def _factor(call: Call, argument: str) -> float:
    """What a summand is multiplied by: addmm takes beta * self, add and sub take alpha * other."""
    if argument == "other":
        sign = -1.0 if call.op.startswith("Sub") else 1.0
        return sign * float(call.saved.get("alpha", 1))
    return float(call.saved.get("beta", 1))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        value = value.detach()
        return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
    return [_cast(item, dtype) for item in value] if isinstance(value, list) else value
