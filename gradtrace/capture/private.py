"""Every private or version-bound torch call, in one place.

| call | used for |
| --- | --- |
| `torch.autograd.graph._engine_run_backward` | the one funnel into the autograd engine |
| `torch.autograd.Variable._execution_engine.run_backward` | timing a backward unseen by any tracer |
| `torch._C._current_graph_task_id`, `_current_autograd_node` | whether a backward was called from another's engine |
| `torch.autograd._get_sequence_nr`, `Node._sequence_nr` | which forward call made a node |
| `Node._input_metadata`, `Node._saved_*` | shapes and saved tensors of a node |
| `Node._raw_saved_*` | letting go of what a node saved, after a replay |
| `torch._foreach_norm`, `torch._C._nn.flatten_dense_tensors` | all statistics in few calls |
| `torch.overrides._get_current_function_mode_stack`, `_push_mode`, `_pop_mode` | source lines |
| `torch._C._functorch.peek_interpreter_stack` | whether a `torch.func` transform is at work |
| `torch._C._functorch.is_legacy_batchedtensor` | whether `is_grads_batched` makes one backward of many |
| `torch._C._get_dispatch_mode` | whether a compiler traces with tensors that have no values |
| `torch._C._len_torch_dispatch_stack` | whether a mode of the program would see our own calls |
| `torch._dynamo.utils.counters`, `Module._compiled_call_impl` | whether `torch.compile` is at work |
| `torch._dynamo.output_graph.OutputGraph.call_user_compiler`, `meta` of its FX nodes | the ops of a region |
| `torch._dynamo.utils.graph_break_reasons`, `CompiledFunction.metadata` | graph breaks; what a region changes |
| `torch._dynamo.eval_frame.cached_backends` | whether `torch.compile` was called |
| `Tensor._post_accumulate_grad_hooks` | gradients that the program's own hooks use up |
| `torch.nn.utils.clip_grad._clip_grads_with_norm_`, `_get_total_norm` | clipping, however it was imported |

All were seen on torch 2.6, 2.13 and 2.15. Each is looked up when a tracer starts; what is missing switches off what
needs it and is said once.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.autograd.graph as autograd_graph
import torch.overrides
from torch import Tensor

Node = Any
"""An autograd node. torch gives C++ nodes no common Python type that a checker could use."""

LEAF_SEQUENCE = 2**64 - 1
"""Sequence number of every `AccumulateGrad`."""

COMPILED_NODE = "CompiledFunctionBackward"
"""What autograd calls a region of `torch.compile`."""

Engine = Callable[..., Any]

sequence_nr: Callable[[], int] = torch.autograd._get_sequence_nr  # type: ignore[attr-defined]
"""Number that the next node made on this thread will get."""


def is_leaf_node(node: Node) -> bool:
    """Whether the node accumulates into a leaf's `.grad`."""
    return type(node).__name__ == "AccumulateGrad"


def current_node() -> Node | None:
    """The node whose backward this thread is running; None outside of one, and where torch does not tell."""
    tell = getattr(torch._C, "_current_autograd_node", None)
    return tell() if tell is not None else None


def in_engine() -> bool:
    """Whether this thread runs part of a backward: a node, or a hook of one."""
    return torch._C._current_graph_task_id() != -1


def node_sequence(node: Node) -> int | None:
    """The node's sequence number on the thread that made it; None for leaves."""
    number: int = node._sequence_nr()
    return None if number == LEAF_SEQUENCE else number


def output_metadata(node: Node) -> tuple[tuple[int, ...], torch.dtype, torch.device] | None:
    """Shape, dtype and device of the node's first forward output, None where torch does not tell."""
    metadata = getattr(node, "_input_metadata", None)
    if not metadata:
        return None
    shape = plain_shape(metadata[0])
    return None if shape is None else (shape, metadata[0].dtype, metadata[0].device)


def plain_shape(owner: Any) -> tuple[int, ...] | None:
    """The `shape` of a tensor or of a node's metadata; None for a nested tensor, whose rows differ in length."""
    try:
        return tuple([int(size) for size in owner.shape])
    except (RuntimeError, TypeError, AttributeError):  # by layout: no shape at all, or a size that is no number
        return None


def inputs_metadata(node: Node) -> Sequence[Any]:
    """One metadata object (shape, dtype, device) for every gradient that the node takes."""
    return getattr(node, "_input_metadata", ()) or ()


def saved_attributes(node_type: type) -> tuple[str, ...]:
    """Names of the `_saved_*` attributes of a node type."""
    return _attributes(node_type, "_saved_")


def raw_saved_attributes(node_type: type) -> tuple[str, ...]:
    """Names of the `_raw_saved_*` attributes of a node type: of those that hold tensors."""
    return _attributes(node_type, "_raw_saved_")


@functools.lru_cache(maxsize=4096)
def _attributes(node_type: type, prefix: str) -> tuple[str, ...]:
    return tuple(name for name in dir(node_type) if name.startswith(prefix))


def raw_saved(node: Node) -> Iterator[Any]:
    """The `SavedTensor` objects of a node, which hold what it saved and take hooks."""
    node_type: type = type(node)
    for name in raw_saved_attributes(node_type):
        value = getattr(node, name)
        yield from value if isinstance(value, (tuple, list)) else (value,)


def saved_tensors(node: Node) -> Iterator[Tensor]:
    """The tensors that a node saved, as far as torch hands them out."""
    return _saved(node, saved_attributes(type(node)))


def saved_results(node: Node) -> Iterator[Tensor]:
    """Those of the saved tensors that the node's own op made."""
    names = saved_attributes(type(node))
    return _saved(node, tuple(name for name in names if name.startswith("_saved_result")))


def _saved(node: Node, names: Sequence[str]) -> Iterator[Tensor]:
    for name in names:
        try:
            value = getattr(node, name)
        except RuntimeError:  # freed, or changed in place
            continue
        if isinstance(value, Tensor):
            yield value


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All elements of dense tensors of one dtype and device in one new 1-D tensor."""
    flat: Tensor = torch._C._nn.flatten_dense_tensors(list(tensors))
    return flat


def foreach_norm(tensors: Sequence[Tensor], order: float, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """The norm of each tensor as 0-d tensors, without a wait for the device."""
    return torch._foreach_norm(list(tensors), order, dtype=dtype)


def patch_engine(wrap: Callable[[Engine], Engine]) -> Callable[[], None]:
    """Put `wrap(engine)` in the funnel that every backward goes through; returns what takes it out again.

    Where another patch was laid over ours in the meantime, ours cannot be lifted out: it stays as a plain pass-through,
    for which the caller's wrapper has to provide.
    """
    original = autograd_graph._engine_run_backward
    wrapped = wrap(original)
    functools.update_wrapper(wrapped, original)
    homes = (autograd_graph, torch.autograd)
    for home in homes:
        home._engine_run_backward = wrapped  # type: ignore[attr-defined]

    def undo() -> None:
        for home in homes:
            if home._engine_run_backward is wrapped:
                home._engine_run_backward = original  # type: ignore[attr-defined]

    return undo


def patch_attribute(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Callable[[], None]:
    """Replace `owner.name` by `wrap(owner.name)` where it exists; returns what restores it."""
    original = owner.__dict__.get(name) if isinstance(owner, type) else getattr(owner, name, None)
    if original is None:
        return lambda: None
    wrapped = wrap(original)
    setattr(owner, name, wrapped)

    def undo() -> None:
        current = owner.__dict__.get(name) if isinstance(owner, type) else getattr(owner, name, None)
        if current is wrapped:
            setattr(owner, name, original)

    return undo


def mode_is_on_top(mode: torch.overrides.TorchFunctionMode) -> bool:
    """Whether `mode` is the innermost torch function mode of this thread, so that it may be taken off."""
    stack = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return bool(stack) and stack[-1] is mode


def push_mode(mode: torch.overrides.TorchFunctionMode) -> None:
    """Make `mode` see every torch call of this thread."""
    torch.overrides._push_mode(mode)  # type: ignore[no-untyped-call]


def pop_mode() -> None:
    """Take the innermost torch function mode off."""
    torch.overrides._pop_mode()  # type: ignore[no-untyped-call]


def in_transform() -> bool:
    """Whether tensors have no values yet: in a `torch.func` transform (`vmap`, `grad`, ...) or while a compiler
    traces."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
    )


def is_batched(gradients: Any) -> bool:
    """Whether a backward is given many gradients as one (`is_grads_batched`), which have no values to read."""
    tensors = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    return any(isinstance(each, Tensor) and torch._C._functorch.is_legacy_batchedtensor(each) for each in tensors)


def has_dispatch_mode() -> bool:
    """Whether a mode of the program sees every kernel that is called."""
    return torch._C._len_torch_dispatch_stack() > 0


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether calling the module runs code of `torch.compile`."""
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def compiler_is_off() -> bool:
    """Whether `torch.compile` gives back what it is given, as the environment asks for."""
    return os.environ.get("TORCHDYNAMO_DISABLE") == "1"


def has_compiled_frames() -> bool:
    """Whether `torch.compile` has compiled anything in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo is not None and sum(dynamo.counters["frames"].values()) > 0


def has_compiled_node(nodes: Sequence[Node]) -> bool:
    """Whether one of the nodes is a region of `torch.compile`."""
    return any(type(node).__name__ == COMPILED_NODE for node in nodes)


def patch_compiler(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None] | None:
    """Put `wrap` around the call that hands each traced graph to a compiler backend; None before anything compiles."""
    graphs = getattr(sys.modules.get("torch._dynamo.output_graph"), "OutputGraph", None)
    return None if graphs is None else patch_attribute(graphs, "call_user_compiler", wrap)


def never_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or where `torch.compile` was called one that the compiler neither compiles nor looks into, which
    costs some microseconds a call."""
    disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
    return function if disable is None or not _compile_was_called() else disable(function)


def compiles_unannounced() -> bool:
    """Whether `torch.compile` was called, on a torch that takes note of function modes before it tells that it begins:
    2.6 does, 2.13 does not, those between are not known."""
    return torch.__version__ < "2.13" and "torch._dynamo" in sys.modules and _compile_was_called()


def _compile_was_called() -> bool:
    backends = getattr(sys.modules.get("torch._dynamo.eval_frame"), "cached_backends", None)
    return backends is None or any(map(callable, backends.values()))


def before_compiling(then: Callable[[], None]) -> Callable[[], None]:
    """Call `then` before a module that was compiled earlier is called, and before any frame is compiled; returns what
    ends that.

    Of what the compiler imports later `torch.compile` itself tells.
    """
    handler = getattr(sys.modules.get("torch._dynamo.callback"), "callback_handler", None)
    wrapper = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
    undo = [_patched_to_tell(wrapper, then)] if wrapper is not None else []

    def start(*args: Any) -> None:
        then()

    if handler is not None:
        handler.register_start_callback(start)
        undo.append(lambda: _drop(handler.start_callbacks, start))

    def end() -> None:
        for each in undo:
            each()

    return end


def _drop(callbacks: list[Any], callback: Any) -> None:
    """Take a callback out, unless the compiler has forgotten all of them meanwhile."""
    if callback in callbacks:
        callbacks.remove(callback)


def _patched_to_tell(wrapper: type, then: Callable[[], None]) -> Callable[[], None]:
    def telling(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            then()
            return original(*args, **kwargs)

        return call

    return patch_attribute(wrapper, "__call__", telling)


def compiled_graphs() -> int:
    """How many graphs `torch.compile` has made in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def graph_breaks() -> list[tuple[str, list[tuple[str, int, str]]]]:
    """Why `torch.compile` ended a graph before its time, and at which (file, line, function), outermost first; in
    order."""
    found = getattr(sys.modules.get("torch._dynamo.utils"), "graph_break_reasons", ())
    return [
        (
            _told(str(each.reason)),
            [(frame.filename, frame.lineno or 0, frame.name) for frame in each.user_stack],
        )
        for each in found
    ]


def _told(reason: str) -> str:
    """The telling line of the compiler's reason: newer versions put an explanation under a headline."""
    lines = [line.strip() for line in reason.splitlines()] or [""]
    explained = (line.removeprefix("Explanation: ") for line in lines if line.startswith("Explanation: "))
    return next(explained, lines[0])


def compiled_functions() -> set[type]:
    """The classes behind the nodes of compiled regions, one a region."""
    return {kind for kind in torch.autograd.Function.__subclasses__() if kind.__name__ == "CompiledFunction"}


def compiled_mutations(node: Node) -> int:
    """How many of its inputs a compiled region hands back changed, as outputs before its own."""
    metadata = getattr(getattr(type(node), "_forward_cls", None), "metadata", None)
    return len(getattr(metadata, "mutated_inp_runtime_indices", ()))


def compiler_name(placeholder: Any) -> str | None:
    """How the compiler reaches an input from its frame: `L['self']._modules['encoder']._parameters['weight']`."""
    source = getattr(placeholder, "_dynamo_source", None) or getattr(placeholder.meta.get("grapharg"), "source", None)
    name = getattr(source, "name", None)
    return name() if callable(name) else name


def compiler_module(call: Any) -> tuple[str | None, str | None]:
    """The innermost module around a call of a traced graph as the compiler writes it, and its class name."""
    stack = list((call.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return None, None
    name, kind = stack[-1]
    return name, getattr(kind, "__name__", str(kind).rpartition(".")[2])


def hook_before_others(tensor: Tensor, hooks: dict[int, Any], hook: Callable[[Tensor], None]) -> Any:
    """Register a post-accumulate hook that runs before the tensor's present ones; returns its handle."""
    others = dict(hooks)
    handle = tensor.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    # The engine goes by the order of insertion, whatever `OrderedDict.move_to_end` says.
    for number in others:
        hooks[number] = hooks.pop(number)
    return handle


def root_node(root: Any) -> Node | None:
    """The node that a root of a backward (a tensor or a `GradientEdge`) starts from; leaves give their accumulator."""
    if isinstance(root, Tensor):
        if root.grad_fn is not None:
            return root.grad_fn
        if not root.requires_grad:
            return None
        return autograd_graph.get_gradient_edge(root).node
    return getattr(root, "node", None)


def run_engine(root: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Gradients of a root straight from the engine, past every patch of it: no tracer counts them as a backward."""
    gradients: Sequence[Tensor | None] = torch.autograd.Variable._execution_engine.run_backward(
        (root,), (torch.ones_like(root),), False, False, tuple(leaves), allow_unreachable=True, accumulate_grad=False
    )
    return gradients


def root_number(root: Any) -> int:
    """Which output of its node a root is."""
    return int(root.output_nr) if hasattr(root, "output_nr") else 0


class WithoutGrad:
    """`no_grad` for the tracer's own arithmetic, at every step: a generator would cost as much as a small op."""

    __slots__ = ("_previous",)

    def __enter__(self) -> None:
        self._previous = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)

    def __exit__(self, *exception: object) -> None:
        torch._C._set_grad_enabled(self._previous)
