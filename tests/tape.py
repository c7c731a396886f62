"""Snapshots without torch: a tape on which ops are written as a forward pass would, and the programs tests need.

Gradients are propagated by rule, not by calculus: an op hands `gain` times the norm that reached it to each of its
inputs, and norms that meet at a node add as the roots of their sums of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradtrace.model import Edge, Node, Snapshot, Source


@dataclass
class Entry:
    """A node on the tape; `inputs` come in the order of `next_functions`."""

    op: str
    kind: str
    inputs: tuple[int, ...]
    gain: float
    facts: dict[str, Any] = field(default_factory=dict)


class Tape:
    """`op`, `parameter` and `input` return handles; `snapshot` turns what was written into a Snapshot."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def op(
        self,
        name: str,
        *inputs: int,
        module: str | None = None,
        of: str | None = None,
        call: int | None = 1,
        gain: float = 1.0,
        shape: tuple[int, ...] = (32, 64),
        line: int = 10,
        **facts: Any,
    ) -> int:
        source = Source("model.py", line, "forward", f"y = {name.lower()}(x)")
        call = None if module is None else call
        known = {"module": module, "module_type": of, "call": call, "shape": shape, "source": source, **facts}
        known.setdefault("saved_bytes", 4 * math.prod(shape))
        self.entries.append(Entry(f"{name}Backward0", "op", inputs, gain, known))
        return len(self.entries) - 1

    def leaf(self, kind: str, name: str, shape: tuple[int, ...]) -> int:
        module = name.rpartition(".")[0] if kind == "parameter" else None
        facts = {"name": name, "module": module, "shape": shape}
        self.entries.append(Entry("AccumulateGrad", kind, (), 0.0, facts))
        return len(self.entries) - 1

    def parameter(self, name: str, *shape: int) -> int:
        return self.leaf("parameter", name, shape)

    def input(self, name: str, *shape: int) -> int:
        return self.leaf("input", name, shape)

    def linear(self, x: int, module: str, size: int = 64, call: int = 1, gain: float = 1.0, line: int = 20) -> int:
        """The nodes of `nn.Linear`: addmm of bias, input and transposed weight."""
        weight = self.parameter(f"{module}.weight", size, size)
        bias = self.parameter(f"{module}.bias", size)
        turned = self.op("T", weight, module=module, of="Linear", call=call, shape=(size, size), line=line)
        return self.op("Addmm", bias, x, turned, module=module, of="Linear", call=call, gain=gain, line=line)

    def snapshot(self, root: int, backward: int = 1, measured: bool = True, loss: float | None = 0.693) -> Snapshot:
        """The graph behind `root`, numbered from it in the order in which a backward pass would reach the nodes."""
        order = self._reached(root)
        numbers = {handle: number for number, handle in enumerate(order)}
        norms, flows = self._gradients(order, root) if measured else ({}, {})
        nodes = [self._node(handle, numbers[handle], root, norms) for handle in order]
        edges = [
            Edge(
                numbers[handle],
                numbers[target],
                0,
                self.entries[target].facts["shape"],
                "float32",
                flows.get((handle, target)),
            )
            for handle in order
            for target in self.entries[handle].inputs
        ]
        return Snapshot(
            backward,
            "backward",
            "0" * 16,
            tuple(nodes),
            tuple(edges),
            (numbers[root],),
            loss,
            "2.13.0",
            measured=measured,
        )

    def _reached(self, root: int) -> list[int]:
        seen, stack = {root}, [root]
        while stack:
            for target in self.entries[stack.pop()].inputs:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return sorted(seen, reverse=True)

    def _gradients(self, order: list[int], root: int) -> tuple[dict[int, float], dict[tuple[int, int], float]]:
        squares = dict.fromkeys(order, 0.0)
        squares[root] = 1.0
        flows: dict[tuple[int, int], float] = {}
        for handle in order:
            norm = math.sqrt(squares[handle]) * self.entries[handle].gain
            for target in self.entries[handle].inputs:
                flows[handle, target] = norm
                squares[target] += norm * norm
        return {handle: math.sqrt(square) for handle, square in squares.items()}, flows

    def _node(self, handle: int, number: int, root: int, norms: dict[int, float]) -> Node:
        entry, norm = self.entries[handle], norms.get(handle)
        kind = "root" if handle == root else entry.kind
        measures = {} if norm is None else _measures(norm, entry)
        sequence = handle if entry.kind == "op" else None
        return Node(number, entry.op, kind, dtype="float32", device="cpu", sequence=sequence, **measures, **entry.facts)


def _measures(norm: float, entry: Entry) -> dict[str, Any]:
    fan = math.sqrt(len(entry.inputs))
    return {
        "grad_norm": norm,
        "grad_max": norm / 4,
        "nonfinite": 0 if math.isfinite(norm) else 7,
        "gain": entry.gain * fan if entry.inputs else None,
        "seconds": 1e-6 * math.prod(entry.facts["shape"]),
    }


def loss_of(tape: Tape, x: int) -> int:
    """Cross-entropy outside of any module."""
    logs = tape.op("LogSoftmax", x, line=90, gain=0.2)
    return tape.op("NllLoss", logs, line=90, shape=(), gain=0.2)


def mlp(layers: int = 3, gain: float = 0.9, activation: str = "Relu", *, measured: bool = True) -> Snapshot:
    """Linear layers with activations between them, numbered as an `nn.Sequential` numbers them."""
    tape = Tape()
    x = tape.input("x", 32, 64)
    for layer in range(layers):
        x = tape.linear(x, str(2 * layer), gain=gain)
        if layer < layers - 1:
            x = tape.op(activation, x, module=str(2 * layer + 1), of=activation.upper())
    return tape.snapshot(loss_of(tape, x), measured=measured)


def transformer(
    layers: int = 24, gain: Callable[[int], float] = lambda _: 0.6, prefix: str = "encoder.layers"
) -> Snapshot:
    """Pre-norm blocks; `gain(layer)` is what each op inside a block's branches hands on."""
    tape = Tape()
    table = tape.parameter("embed.weight", 1000, 64)
    x = tape.op("Embedding", table, module="embed", of="Embedding", line=31)
    for layer in range(layers):
        x = block(tape, x, f"{prefix}.{layer}", gain(layer))
    x = norm(tape, x, "norm", 1.0)
    return tape.snapshot(loss_of(tape, tape.linear(x, "head", line=35)))


def norm(tape: Tape, x: int, module: str, gain: float) -> int:
    weight, bias = tape.parameter(f"{module}.weight", 64), tape.parameter(f"{module}.bias", 64)
    return tape.op("NativeLayerNorm", x, weight, bias, module=module, of="LayerNorm", gain=gain, line=40)


def block(tape: Tape, x: int, name: str, gain: float) -> int:
    """Attention and a feed-forward net, each around a residual addition that belongs to the block itself."""
    attended = norm(tape, x, f"{name}.norm1", gain)
    parts = [tape.linear(attended, f"{name}.self_attn.{part}", gain=gain / 2, line=51) for part in ("q", "k", "v")]
    attn = {"module": f"{name}.self_attn", "of": "SelfAttention"}
    scores = tape.op("Bmm", parts[0], parts[1], gain=gain, line=55, **attn)
    weights = tape.op("Softmax", scores, gain=gain, line=56, attributes={"dim": -1}, **attn)
    mixed = tape.op("Bmm", weights, parts[2], gain=gain, line=57, **attn)
    x = tape.op(
        "Add", x, tape.linear(mixed, f"{name}.self_attn.out", line=58), module=name, of="Block", gain=gain, line=61
    )
    hidden = tape.linear(norm(tape, x, f"{name}.norm2", gain), f"{name}.mlp.0", line=62)
    hidden = tape.op("Gelu", hidden, module=f"{name}.mlp.1", of="GELU", gain=gain, line=62)
    hidden = tape.linear(hidden, f"{name}.mlp.2", gain=gain, line=62)
    return tape.op("Add", x, hidden, module=name, of="Block", gain=gain, line=63)


def resnet(blocks: Sequence[int] = (3, 4, 6, 3)) -> Snapshot:
    """Stages of residual blocks; the first block of a stage has a projection."""
    tape = Tape()
    x = convolution(tape, tape.input("image", 8, 3, 32, 32), "stem.conv", 16)
    x = tape.op("Relu", x, module="stem.relu", of="ReLU")
    for stage, count in enumerate(blocks):
        for index in range(count):
            x = residual(tape, x, f"layer{stage + 1}.{index}", 16 << stage, first=index == 0)
    x = tape.op("Mean", x, module="pool", of="AdaptiveAvgPool2d", shape=(8, 128))
    return tape.snapshot(loss_of(tape, tape.linear(x, "fc")))


def convolution(tape: Tape, x: int, module: str, channels: int) -> int:
    weight = tape.parameter(f"{module}.weight", channels, channels, 3, 3)
    return tape.op("Convolution", x, weight, module=module, of="Conv2d", gain=0.8, shape=(8, channels, 16, 16))


def residual(tape: Tape, x: int, name: str, channels: int, *, first: bool) -> int:
    hidden = convolution(tape, x, f"{name}.conv1", channels)
    hidden = tape.op("Relu", hidden, module=f"{name}.relu", of="ReLU", shape=(8, channels, 16, 16))
    hidden = convolution(tape, hidden, f"{name}.conv2", channels)
    shortcut = convolution(tape, x, f"{name}.downsample", channels) if first else x
    joined = tape.op("Add", hidden, shortcut, module=name, of="BasicBlock", shape=(8, channels, 16, 16), gain=0.8)
    return tape.op("Relu", joined, module=f"{name}.relu", of="ReLU", call=2, shape=(8, channels, 16, 16))


def unet(depth: int = 4) -> Snapshot:
    """A contracting path, an expanding one, and a skip connection at every level."""
    tape = Tape()
    x = tape.input("image", 8, 3, 64, 64)
    skips = []
    for level in range(depth):
        x = convolution(tape, x, f"down.{level}.conv", 8 << level)
        x = tape.op("Relu", x, module=f"down.{level}.relu", of="ReLU")
        skips.append(x)
        x = tape.op("MaxPool2DWithIndices", x, module=f"down.{level}.pool", of="MaxPool2d")
    x = convolution(tape, x, "bottleneck", 8 << depth)
    for level in reversed(range(depth)):
        x = tape.op("UpsampleNearest2D", x, module=f"up.{level}", of="Up")
        x = tape.op("Cat", x, skips[level], module=f"up.{level}", of="Up")
        x = convolution(tape, x, f"up.{level}.conv", 8 << level)
    return tape.snapshot(loss_of(tape, x))


def recurrent(steps: int = 200, gain: float = 0.9) -> Snapshot:
    """One cell called `steps` times; the gradient loses a factor at every step back in time."""
    tape = Tape()
    hidden = tape.input("h0", 16, 64)
    inner, state = tape.parameter("cell.i2h.weight", 64, 64), tape.parameter("cell.h2h.weight", 64, 64)
    for call in range(1, steps + 1):
        own = {"call": call, "line": 71}
        left = tape.op("Mm", inner, module="cell.i2h", of="Linear", **own)
        right = tape.op("Mm", hidden, state, module="cell.h2h", of="Linear", gain=gain, **own)
        joined = tape.op("Add", left, right, module="cell", of="Cell", call=call, line=72)
        hidden = tape.op("Tanh", joined, module="cell", of="Cell", call=call, line=72, gain=0.95)
    return tape.snapshot(loss_of(tape, tape.linear(hidden, "head")))


def gan() -> Snapshot:
    """The generator's pass: the loss lies behind a discriminator of another root."""
    tape = Tape()
    x = tape.input("z", 16, 64)
    for root, layers in (("generator", 4), ("discriminator", 3)):
        for layer in range(layers):
            x = tape.linear(x, f"{root}.net.{2 * layer}", gain=0.7)
            x = tape.op("LeakyRelu", x, module=f"{root}.net.{2 * layer + 1}", of="LeakyReLU")
    return tape.snapshot(tape.op("BinaryCrossEntropyWithLogits", x, shape=(), line=88))


def chain(length: int, gain: float = 1.0) -> Snapshot:
    """Ops in a row without a module."""
    tape = Tape()
    x = tape.parameter("w", 4)
    for _ in range(length):
        x = tape.op("Tanh", x, gain=gain, shape=(4,))
    return tape.snapshot(x)


def hub(uses: int = 300) -> Snapshot:
    """One shared tensor that feeds every block, and a result that reaches far ahead."""
    tape = Tape()
    mask = tape.op("Sigmoid", tape.parameter("mask", 64), module="masking", of="Mask")
    x = tape.input("x", 32, 64)
    for use in range(uses):
        x = tape.op("Mul", x, mask, module=f"blocks.{use}", of="Gate")
        x = tape.linear(x, f"blocks.{use}.fc")
    return tape.snapshot(loss_of(tape, x))


def poisoned() -> Snapshot:
    """A NaN born half-way, with everything below it poisoned and everything above it healthy."""
    return transformer(6, lambda layer: math.nan if layer == 3 else 0.8)
