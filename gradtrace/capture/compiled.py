"""What lies inside the regions of `torch.compile`.

The compiler traces a forward with tensors that have a shape and no values, and autograd records that trace as it would
record an eager forward: the same ops, over the same inputs. That graph is read when the compiler hands a region to its
backend. So nothing of the program runs a second time, and no random number, buffer or print of it is touched.
"""

from __future__ import annotations

import bisect
import hashlib
import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from gradtrace.capture import private
from gradtrace.capture.graph_breaks import GraphBreaks
from gradtrace.capture.held import dtype_name
from gradtrace.capture.saved import plain_attributes
from gradtrace.capture.walk import LiveGraph

if TYPE_CHECKING:
    from gradtrace.capture.sites import SiteTable
    from gradtrace.model import Source

_FRAME = re.compile(r'File "(.+)", line (\d+), in (.+)')
_STEP = re.compile(r"\._(?:modules|parameters)\['([^']*)'\]")

LIMIT = 50_000
"""Nodes of a region that are read at most; a larger one stays a box."""


class Op(NamedTuple):
    """A node inside a region. `module` is its place as the compiler writes it, `L['self'].encoder.0`."""

    op: str
    module: str | None
    module_type: str | None
    source: Source | None
    shape: tuple[int, ...] | None
    dtype: str | None
    attributes: dict[str, Any] | None


class Way(NamedTuple):
    """An edge inside a region, or out of it: then `target` is the number of the input that it leads to."""

    source: int
    target: int
    input_nr: int
    outward: bool


class Input(NamedTuple):
    """A tensor that a region takes. Of a parameter `base` is what the compiler calls the root module, `path` its dotted
    name below that."""

    shape: tuple[int, ...] | None
    wants_gradient: bool
    base: str | None
    path: str | None


@dataclass(frozen=True)
class Region:
    """A compiled region as plain data."""

    ops: tuple[Op, ...]
    ways: tuple[Way, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[int, int] | None, ...]
    """For each output the op that makes it and which of that op's outputs it is; None where no gradient reaches it."""

    @property
    def digest(self) -> str:
        """Equal for regions of equal structure."""
        state = repr((tuple(op.op for op in self.ops), self.ways, self.outputs))
        return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


class CompiledRegions:
    """Reads each region as it is compiled, and knows it again by the node that it leaves in a graph."""

    def __init__(self, sites: SiteTable) -> None:
        self._sites = sites
        self._regions: weakref.WeakKeyDictionary[type, Region] = weakref.WeakKeyDictionary()
        self._undo: Callable[[], None] | None = None
        self._breaks = GraphBreaks(sites)
        self._unread: str | None = None
        self.closed: weakref.WeakSet[type] = weakref.WeakSet()
        """Regions that were met in a graph and stayed one node."""

    def install(self) -> None:
        """Watch the compiler, once the program has imported it."""
        if self._undo is None:
            self._undo = private.patch_compiler(self._around)

    def remove(self) -> None:
        """Watch no longer; what was read stays known."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def facts(self) -> dict[str, Any]:
        """`graphs` compiled, how many `regions` of them are known, how many stayed `boxes`, what kept one `unread`, and
        the graph `breaks`."""
        found = {"regions": len(self._regions), "boxes": len(self.closed), "unread": self._unread}
        return self._breaks.facts() | found

    def of(self, node: private.Node) -> Region | None:
        """The region that a node of an autograd graph stands for, where it was read."""
        return self._regions.get(getattr(type(node), "_forward_cls", type(node)))

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        regions = weakref.ref(self)

        def call_backend(output: Any, graph_module: Any, *args: Any, **kwargs: Any) -> Any:
            alive = regions()
            region = None if alive is None else alive._tried(read_region, graph_module, alive._sites)
            before = private.compiled_functions()
            result = original(output, graph_module, *args, **kwargs)
            if alive is not None and region is not None:
                alive._tried(alive._keep, region, private.compiled_functions() - before)
            return result

        return call_backend

    def _keep(self, region: Region, made: set[type]) -> None:
        if len(made) == 1:
            self._regions[made.pop()] = region

    def _tried(self, action: Callable[..., Region | None], *args: Any) -> Region | None:
        """What `action` gives; its fault must not reach the program's compiler."""
        try:
            return action(*args)
        except Exception as error:  # of a compiler that has changed: the region stays a box
            self._unread = f"{type(error).__name__}: {error}"
            return None


def read_region(graph_module: Any, sites: SiteTable) -> Region | None:
    """The region that the compiler traced into an FX graph; None where it has no graph, or too large a one."""
    nodes = list(graph_module.graph.nodes)
    placeholders = [
        (node, value)
        for node in nodes
        if node.op == "placeholder" and isinstance(value := node.meta.get("example_value"), Tensor)
    ]
    results = [_value(node) for node in nodes[-1].args[0]]
    roots = [value for value in results if isinstance(value, Tensor) and value.grad_fn is not None]
    graph = LiveGraph(roots, LIMIT)
    if not roots or graph.truncated:
        return None
    ends = {private.root_node(value): number for number, (_, value) in enumerate(placeholders)}
    inner = _inner(graph, ends)
    owners = _Owners(nodes)
    return Region(
        tuple(_op(node, owners.of(private.node_sequence(node)), sites) for node in inner),
        tuple(_ways(graph, inner, ends)),
        tuple(_input(node, value) for node, value in placeholders),
        tuple(_output(value, inner) for value in results),
    )


def _value(node: Any) -> Any:
    return node.meta.get("example_value") if hasattr(node, "meta") else None


def _inner(graph: LiveGraph, ends: dict[private.Node | None, int]) -> dict[private.Node, int]:
    """The nodes that the region's own ops made, numbered in the order of the walk."""
    beyond: set[int] = set()
    following: dict[int, list[int]] = {}
    for source, target, _, _ in graph.edges:
        following.setdefault(source, []).append(target)
    stack = [number for number in graph.roots if graph.nodes[number] not in ends]
    inside = set(stack)
    while stack:
        for target in following.get(stack.pop(), ()):
            if graph.nodes[target] in ends:
                beyond.add(target)
            elif target not in inside:
                inside.add(target)
                stack.append(target)
    return {graph.nodes[number]: place for place, number in enumerate(sorted(inside))}


def _ways(graph: LiveGraph, inner: dict[private.Node, int], ends: dict[private.Node | None, int]) -> list[Way]:
    ways = []
    for source, target, input_nr, _ in graph.edges:
        start, end = inner.get(graph.nodes[source]), graph.nodes[target]
        if start is None:
            continue
        if end in inner:
            ways.append(Way(start, inner[end], input_nr, outward=False))
        else:
            ways.append(Way(start, ends[end], input_nr, outward=True))
    return ways


def _output(value: Any, inner: dict[private.Node, int]) -> tuple[int, int] | None:
    if not isinstance(value, Tensor) or value.grad_fn not in inner:
        return None
    return inner[value.grad_fn], private.root_number(value)


def _input(node: Any, value: Tensor) -> Input:
    name = str(private.compiler_name(node) or "")
    start = _STEP.search(name)
    if not start or not value.requires_grad:
        return Input(_shape(value.shape), value.requires_grad, None, None)
    return Input(
        _shape(value.shape), value.requires_grad, name[: start.start()], ".".join(_STEP.findall(name[start.start() :]))
    )


def _shape(sizes: Sequence[Any]) -> tuple[int, ...] | None:
    """None where a size is symbolic: to ask for its value would tie the compiled code to it."""
    return tuple(sizes) if all(type(size) is int for size in sizes) else None


def _op(node: private.Node, owner: Any, sites: SiteTable) -> Op:
    module, kind = private.compiler_module(owner) if owner is not None else (None, None)
    metadata = private.inputs_metadata(node)
    frames = _FRAME.findall((owner.meta.get("stack_trace") or "") if owner is not None else "")
    return Op(
        type(node).__name__,
        module and _STEP.sub(r".\1", module),  # torch 2.6 writes `_modules['encoder']` for `encoder`
        kind,
        sites.of_stack([(file, int(line), function) for file, line, function in frames]),
        _shape(metadata[0].shape) if metadata else None,
        dtype_name(metadata[0].dtype) if metadata else None,
        plain_attributes(node) or None,
    )


class _Owners:
    """Which call of the compiler's trace made a node: the first whose result has no smaller sequence number."""

    def __init__(self, nodes: Sequence[Any]) -> None:
        last: list[int] = []
        calls: list[Any] = []
        for node in reversed(nodes):
            number = _last_sequence(node)
            # A tensor that was changed in place later shows the later call's number.
            if number is not None and (not last or number < last[-1]):
                last.append(number)
                calls.append(node)
        self._last, self._calls = last[::-1], calls[::-1]

    def of(self, sequence: int | None) -> Any:
        """The call; None for none."""
        if sequence is None:
            return None
        place = bisect.bisect_left(self._last, sequence)
        return self._calls[place] if place < len(self._calls) else None


def _last_sequence(node: Any) -> int | None:
    """The largest sequence number among a call's results."""
    if node.op in ("placeholder", "output"):
        return None
    value = node.meta.get("example_value")
    found = [
        private.node_sequence(tensor.grad_fn)
        for tensor in (value if isinstance(value, (tuple, list)) else (value,))
        if isinstance(tensor, Tensor) and tensor.grad_fn is not None
    ]
    return max((number for number in found if number is not None), default=None)
