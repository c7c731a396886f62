"""Everything autograd does, in graphs of real programs, against what torch says of itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

import gradtrace
from gradtrace.graphs import fold, infer_modules


def traced(program, model=None, **options):
    """The trace of one run of `program`, with every graph in it."""
    torch.manual_seed(0)
    with gradtrace.trace(model, on_finding="ignore", graph="all", **options) as trace:
        program()
    return trace


def walked(*roots):
    """Names and edges of torch's own structure, numbered depth first as the graph's nodes are."""
    nodes, edges, numbers = [], [], {}

    def visit(node):
        if node not in numbers:
            numbers[node] = len(nodes)
            nodes.append(node)
            for target, _ in node.next_functions:
                if target is not None:
                    visit(target)
                    edges.append((type(node).__name__, type(target).__name__))

    for root in roots:
        visit(root.grad_fn)
    return sorted(type(node).__name__ for node in nodes), sorted(edges)


def structure(graph):
    ops = dict(graph.nodes(data="op"))
    return sorted(ops.values()), sorted((ops[source], ops[target]) for source, target in graph.edges())


def only(graph, op):
    (found,) = [node for node, name in graph.nodes(data="op") if name == op]
    return found


def out_norms(graph, node):
    """Norms on the edges of a node, in the order of `next_functions`."""
    edges = sorted((key, facts["grad_norm"]) for _, _, key, facts in graph.out_edges(node, keys=True, data=True))
    return [norm for _, norm in edges]


class OneSided(torch.autograd.Function):
    """A product that tells its second input nothing."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[1], None


def test_a_custom_function_with_what_it_saved_and_the_input_it_leaves_out():
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    graph = traced(lambda: OneSided.apply(a * 2, b).sum().backward()).graph(1)
    node = only(graph, "OneSidedBackward")
    handed, nothing = out_norms(graph, node)
    assert handed == pytest.approx(b.detach().norm().item(), rel=1e-5)
    assert nothing is None
    facts = graph.nodes[node]
    assert facts["saved_bytes"] == 12
    assert facts["attributes"]["saved"] == {"saved[0]": [3], "saved[1]": [3]}
    assert Path(facts["source"].file).name == Path(__file__).name
    assert b.grad is None


def test_double_backward_is_the_graph_of_the_gradient():
    x = torch.randn(4, requires_grad=True)
    roots = []

    def program():
        (first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        roots.append(first.pow(2).sum())
        expected.extend(walked(roots[0]))
        roots[0].backward()

    expected = []
    trace = traced(program)
    assert [trace.graph(number).graph["kind"] for number in (1, 2)] == ["grad", "backward"]
    assert list(structure(trace.graph(2))) == expected
    (leaf,) = [facts for facts in trace.graph(2).nodes.values() if facts["kind"] == "input"]
    assert leaf["grad_norm"] == pytest.approx(x.grad.norm().item(), rel=1e-5)


def test_autograd_grad_is_measured_and_leaves_no_grad():
    w, x = torch.randn(3, 3, requires_grad=True), torch.randn(2, 3)
    given = []
    graph = traced(lambda: given.append(torch.autograd.grad((x @ w).tanh().sum(), w)[0])).graph(1)
    assert graph.graph["kind"] == "grad"
    assert graph.nodes[only(graph, "AccumulateGrad")]["grad_norm"] == pytest.approx(given[0].norm().item(), rel=1e-5)
    assert w.grad is None


def test_several_roots_share_one_graph():
    w, x = torch.randn(3, 3, requires_grad=True), torch.randn(2, 3)
    expected = []

    def program():
        hidden = x @ w
        roots = [hidden.sum(), hidden.pow(2).sum()]
        expected.extend(walked(*roots))
        torch.autograd.backward(roots)

    graph = traced(program).graph(1)
    assert list(structure(graph)) == expected
    assert [graph.nodes[root]["kind"] for root in graph.graph["roots"]] == ["root", "root"]
    assert graph.nodes[only(graph, "AccumulateGrad")]["grad_norm"] == pytest.approx(w.grad.norm().item(), rel=1e-5)


@dataclass
class Output:
    logits: Tensor
    loss: Tensor
    note: str = "no tensor"


def test_dict_and_dataclass_outputs():
    layer = nn.Linear(3, 2)
    logits = layer(torch.randn(4, 3))
    loss = logits.sum()
    for output, roots in (
        (Output(logits, loss), (logits, loss)),
        ({"loss": loss, "more": [{"logits": logits}]}, (loss, logits)),
    ):
        graph = gradtrace.graph(output, layer)
        assert structure(graph) == walked(*roots)
        assert len(graph.graph["roots"]) == 2
        assert {name for _, name in graph.nodes(data="name") if name} == {"weight", "bias"}


def test_each_use_of_a_shared_parameter_has_its_share_on_its_edge():
    w = nn.Parameter(torch.randn(3, 3))
    x, shares = torch.randn(2, 3), []

    def program():
        uses = [w.clone(), w.clone()]
        for use in uses:
            use.register_hook(lambda gradient: shares.append(gradient.norm().item()))
        (x @ uses[0]).tanh().matmul(uses[1]).sum().backward()

    graph = traced(program).graph(1)
    leaf = only(graph, "AccumulateGrad")
    found = [facts["grad_norm"] for _, _, facts in graph.in_edges(leaf, data=True)]
    assert sorted(found) == pytest.approx(sorted(shares), rel=1e-5)
    assert graph.nodes[leaf]["grad_norm"] == pytest.approx(w.grad.norm().item(), rel=1e-5)


def test_in_place_on_a_view_is_copy_slices_on_its_base():
    x, factor = torch.randn(4, requires_grad=True), torch.full((2,), 3.0, requires_grad=True)
    expected = []

    def program():
        base = x * 2
        base[1:3].mul_(factor)
        expected.extend(walked(base.sum()))
        base.sum().backward()

    graph = traced(program).graph(1)
    assert list(structure(graph)) == expected
    node = only(graph, "CopySlices")
    to_base, to_factor = out_norms(graph, node)
    assert to_base == pytest.approx((x.grad / 2).norm().item(), rel=1e-5)
    below = [graph.nodes[target]["op"] for target in graph.successors(node)]
    assert below == ["MulBackward0", "AccumulateGrad"]
    assert to_factor > 0
    assert graph.nodes[node]["source"].line > 0


def test_views_lead_to_their_base():
    x = torch.randn(4, 3, requires_grad=True)

    def program():
        base = x * 1
        (base.view(12)[2:7].sum() + base.sum()).backward()

    graph = traced(program).graph(1)
    base = only(graph, "MulBackward0")
    assert {graph.nodes[source]["op"] for source in graph.predecessors(base)} == {"ViewBackward0", "SumBackward0"}
    assert graph.nodes[only(graph, "SliceBackward0")]["attributes"]["start"] == 2
    assert graph.nodes[base]["grad_norm"] == pytest.approx(x.grad.norm().item(), rel=1e-5)


def test_saved_tensors_are_told_by_shape_bytes_and_op():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
    x, loss = torch.randn(7, 3), []

    def program():
        out = model(x)
        addmm = out.grad_fn.next_functions[0][0]
        loss.append((out.grad_fn._saved_result.nbytes, addmm._saved_mat1.nbytes))
        out.sum().backward()

    graph = traced(program, model).graph(1)
    tanh, addmm = (graph.nodes[only(graph, op)] for op in ("TanhBackward0", "AddmmBackward0"))
    assert tanh["attributes"]["saved"] == {"result": [7, 5]}
    assert addmm["attributes"]["saved"] == {"mat1": [7, 3]}
    assert (tanh["saved_bytes"], addmm["saved_bytes"]) == loss[0]
    assert (tanh["module"], addmm["module"]) == ("1", "0")


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.reentrant = reentrant

    def forward(self, x):
        hidden = self.first(x)
        for _ in range(2):
            hidden = checkpoint(self.block, hidden, use_reentrant=self.reentrant)
        return self.last(hidden)


def test_a_checkpoint_that_is_not_reentrant_keeps_ops_modules_and_calls():
    model = Checkpointed(reentrant=False)
    graph = traced(lambda: model(torch.randn(2, 4)).sum().backward(), model).graph(1)
    inside = [facts for facts in graph.nodes.values() if (facts["module"] or "").startswith("block")]
    calls = {(facts["op"], facts["call"]) for facts in inside if facts["kind"] == "op"}
    assert {("AddmmBackward0", 1), ("AddmmBackward0", 2), ("TanhBackward0", 1), ("TanhBackward0", 2)} <= calls
    assert all("checkpoint(" in facts["source"].text for facts in inside if facts["source"])
    assert all(facts["saved_bytes"] == 0 for facts in inside)


def test_what_a_reentrant_checkpoint_computes_again_stands_where_it_was_called():
    """With the same weights and data: the ops between the checkpoint and what it hands on to are those without it."""
    model, x = Checkpointed(reentrant=True), torch.randn(2, 4)
    graph = traced(lambda: model(x).sum().backward(), model).graph(1)
    boxes = [node for node, op in graph.nodes(data="op") if op == "CheckpointFunctionBackward"]
    assert len(boxes) == 2
    again = [facts for facts in graph.nodes.values() if (facts["module"] or "").startswith("block") and facts["call"]]
    assert sorted(facts["op"] for facts in again) == sorted(2 * ["TanhBackward0", "AddmmBackward0", "TBackward0"])
    assert all("checkpoint(" in facts["source"].text for facts in again)

    plain = Checkpointed(reentrant=False)
    plain.load_state_dict(model.state_dict())
    plain_graph = traced(lambda: plain(x).sum().backward(), plain).graph(1)
    for op in ("TanhBackward0", "AddmmBackward0"):
        norms, expected = (
            sorted(facts["grad_norm"] for facts in one.nodes.values() if facts["op"] == op)
            for one in (graph, plain_graph)
        )
        assert norms == pytest.approx(expected, rel=1e-4)
    first, second = boxes
    assert any(first != node and second in graph.successors(node) for node in graph)
    assert all(graph.nodes[target]["op"] == "TanhBackward0" for box in boxes for target in graph.successors(box))
    assert {name for _, name in graph.nodes(data="name") if name} == {name for name, _ in model.named_parameters()}


class Joined(nn.Module):
    """A checkpoint of two inputs that want a gradient, one of them used twice, beside two that want none."""

    def __init__(self, *, checkpointed):
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)
        self.inner = nn.Linear(4, 4)
        self.checkpointed = checkpointed

    def block(self, scale, a, mask, b):
        return (self.inner(a) * b * mask * scale).tanh() + a

    def forward(self, x):
        given = 2.0, self.left(x), torch.ones(4), self.right(x).relu()
        return checkpoint(self.block, *given, use_reentrant=True) if self.checkpointed else self.block(*given)


def without_boxes(graph, op):
    """Ops and edges as they would be had what leads into each box gone straight on to what the box leads to."""
    plain = graph.copy()
    for box in [node for node, name in graph.nodes(data="op") if name == op]:
        for source, _ in list(plain.in_edges(box)):
            plain.add_edges_from((source, target) for _, target in plain.out_edges(box))
        plain.remove_node(box)
    return structure(plain)


def test_a_checkpoint_of_several_inputs_hands_each_its_own_gradient():
    model, plain, x = Joined(checkpointed=True), Joined(checkpointed=False), torch.randn(2, 4)
    plain.load_state_dict(model.state_dict())
    expected = []

    def program():
        loss = plain(x).sum()
        expected.extend(walked(loss))
        loss.backward()

    plain_graph = traced(program, plain).graph(1)
    graph = traced(lambda: model(x).sum().backward(), model).graph(1)
    assert list(without_boxes(graph, "CheckpointFunctionBackward")) == expected
    norms, expected_norms = (
        sorted((facts["op"], round(facts["grad_norm"], 4)) for facts in one.nodes.values() if facts["grad_norm"])
        for one in (graph, plain_graph)
    )
    box = "CheckpointFunctionBackward"
    assert [norm for norm in norms if norm[0] != box] == expected_norms


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")  # the outer one's forward
def test_a_checkpoint_inside_a_checkpoint_and_one_given_the_same_tensor_twice():
    w = nn.Parameter(torch.randn(4))

    def inner(a, b):
        return (a * b).sin()

    def block(a, b):
        return checkpoint(inner, a.exp(), b.cos(), use_reentrant=True).tanh()

    def program():
        hidden = w * 2
        checkpoint(block, hidden, hidden, use_reentrant=True).sum().backward()

    expected = []
    hidden = w * 2
    expected.extend(walked((hidden.exp() * hidden.cos()).sin().tanh().sum()))
    graph = traced(program).graph(1)
    assert list(without_boxes(graph, "CheckpointFunctionBackward")) == expected


def test_a_checkpoint_under_hooks_that_pack_its_inputs_keeps_its_edges():
    """To read them would run the program's hooks."""
    unpacked = []

    def unpack(packed):
        unpacked.append(packed)
        return packed.clone()

    def program():
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
            joined = checkpoint(lambda a, b: a * b, w * 2, w * 3, use_reentrant=True)
        joined.sum().backward()

    w = nn.Parameter(torch.randn(4))
    program()
    without = len(unpacked)
    graph = traced(program).graph(1)
    assert len(unpacked) == 2 * without
    box = only(graph, "CheckpointFunctionBackward")
    assert sorted(graph.nodes[target]["op"] for target in graph.successors(box)) == 3 * ["MulBackward0"]


@pytest.fixture
def mesh():
    """A device mesh of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_tensors_that_stand_for_others_are_traced_as_any(mesh):
    """Distributed ones cannot be read as numbers nor asked for their memory: their parts can."""
    a, b = (nn.Parameter(distribute_tensor(torch.randn(2, 2), mesh, [Shard(0)])) for _ in range(2))
    expected = walked(((a * 2) * b.exp()).tanh().sum())
    graph = traced(
        lambda: checkpoint(lambda x, y: (x * y).tanh(), a * 2, b.exp(), use_reentrant=True).sum().backward()
    ).graph(1)
    assert without_boxes(graph, "CheckpointFunctionBackward") == expected


def test_vmap_is_what_it_was_batched_to():
    w, x = torch.randn(3, 3, requires_grad=True), torch.randn(2, 3)
    expected = []

    def program():
        out = vmap(lambda row: (row @ w).sum())(x).sum()
        expected.extend(walked(out))
        out.backward()

    assert list(structure(traced(program).graph(1))) == expected


def test_functional_call_has_modules_and_the_callers_names():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    own = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}
    graph = traced(lambda: functional_call(model, own, (torch.randn(4, 3),)).sum().backward(), model).graph(1)
    assert {
        facts["module"] for facts in graph.nodes.values() if facts["op"] in ("AddmmBackward0", "TanhBackward0")
    } == {
        "0",
        "1",
    }
    assert {name for _, name in graph.nodes(data="name") if name} == {"own['0.weight']", "own['0.bias']"}


def test_a_transform_of_torch_func_is_let_through():
    """Inside of it tensors stand for many values; what it gives is right and nothing of it is a graph of the run."""
    w = torch.randn(3)

    def square(value):
        return value.pow(2).sum()

    given = []
    trace = traced(lambda: given.append(grad(square)(w)))
    torch.testing.assert_close(given[0], 2 * w)
    assert trace.backwards == 0


def test_a_batch_of_backwards_in_one_is_let_through_and_the_next_one_is_seen():
    w, x, given = nn.Parameter(torch.randn(3, 3)), torch.randn(2, 3), []

    def program():
        out = (x @ w).tanh()
        batch = torch.eye(6).reshape(6, 2, 3)
        given.extend(torch.autograd.grad(out, w, batch, is_grads_batched=True, retain_graph=True))
        given.append(torch.stack([torch.autograd.grad(out, w, one, retain_graph=True)[0] for one in batch]))

    trace = traced(program)
    torch.testing.assert_close(given[0], given[1])
    assert trace.backwards == 6
    assert not trace.recording().events("internal_error")


class Outputs(torch.autograd.Function):
    """Three outputs, of which one cannot have a gradient, and gradients that stay away are None."""

    @staticmethod
    def forward(ctx, a):
        ctx.set_materialize_grads(False)
        place = a.argmax()
        ctx.mark_non_differentiable(place)
        return a * 2, a * 3, place

    @staticmethod
    def backward(ctx, twice, thrice, _):
        return (0 if twice is None else 2 * twice) + (0 if thrice is None else 3 * thrice)


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        ctx.mark_dirty(a)
        return a.mul_(2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 2


class Vmapped(torch.autograd.Function):
    """With `setup_context`, as `torch.func` asks for."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a):
        return a.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


def packed(lstm, x):
    return lstm(nn.utils.rnn.pack_padded_sequence(x, [3, 2], batch_first=True))[0].data.sum()


LOSSES = {
    "one of several outputs": lambda w: Outputs.apply(w * 1)[1].sum(),
    "marked dirty": lambda w: InPlace.apply(w * 1).sum(),
    "vmap of a custom Function": lambda w: vmap(Vmapped.apply)(w).sum(),
    "a gradient of torch.func inside": lambda w: grad(lambda v: (v * w).tanh().sum())(w.detach()).sum(),
    "parts": lambda w: (w.unbind(1)[0] * w.split(2)[0][0]).sum(),
    "complex": lambda w: torch.fft.fft(torch.view_as_complex(torch.stack([w, w], -1))).abs().sum(),
    "sparse": lambda w: nn.functional.embedding(torch.tensor([0, 2]), w, sparse=True).sum(),
    "lstm": lambda w: nn.LSTM(3, 4, 2, batch_first=True)(w[None])[0].sum(),
    "packed": lambda w: packed(nn.LSTM(3, 4, batch_first=True), torch.stack([w, w])),
    "attention": lambda w: nn.functional.scaled_dot_product_attention(w, w, w).sum(),
    "branch": lambda w: torch.cond(torch.tensor(data=True), torch.sin, torch.cos, (w,)).sum(),
    "parametrized": lambda w: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))(w).sum(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_else_autograd_does(loss):
    w, expected = nn.Parameter(torch.randn(3, 3)), []

    def program():
        root = loss(w)
        expected.append(walked(root))
        root.backward(retain_graph=True)
        expected.append(walked(root))
        torch.autograd.backward(torch.autograd.graph.get_gradient_edge(root))

    trace = traced(program)
    assert [structure(trace.graph(number)) for number in (1, 2)] == expected
    leaves = [facts for facts in trace.graph(2).nodes.values() if facts["name"] == "w"]
    assert sum(facts["grad_norm"] for facts in leaves) == pytest.approx((w.grad / 2).norm().item(), rel=1e-4)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors(layout):
    layer, rows = nn.Linear(3, 2), [torch.randn(2, 3), torch.randn(4, 3)]

    def program():
        sum(part.sum() for part in layer(torch.nested.nested_tensor(rows, layout=layout)).unbind()).backward()

    graph = traced(program, layer).graph(1)
    norms = {facts["name"]: facts["grad_norm"] for facts in graph.nodes.values() if facts["kind"] == "parameter"}
    assert norms["weight"] == pytest.approx(layer.weight.grad.norm().item(), rel=1e-5)
    assert norms["bias"] == pytest.approx(layer.bias.grad.norm().item(), rel=1e-5)


def in_threads(work, items):
    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_forwards_in_threads_end_in_one_graph_with_its_modules():
    replicas = nn.ModuleDict({name: nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for name in ("left", "right")})
    x, outputs, expected = torch.randn(2, 3), {}, []

    def forward(name):
        outputs[name] = replicas[name](x).sum()

    def program():
        in_threads(forward, replicas)
        loss = outputs["left"] + outputs["right"]
        expected.extend(walked(loss))
        loss.backward()

    graph = traced(program, replicas).graph(1)
    assert list(structure(graph)) == expected
    guessed = infer_modules(graph)
    assert {guessed.nodes[node]["module"] for node, op in graph.nodes(data="op") if op == "AddmmBackward0"} == {
        "left.0",
        "right.0",
    }
    assert {facts["module"] for facts in fold(graph, depth=1).nodes.values() if facts["kind"] == "module"} == {
        "left",
        "right",
    }


def test_backwards_in_threads_are_each_a_graph():
    replicas = nn.ModuleList(nn.Linear(3, 1) for _ in range(3))
    x = torch.randn(2, 3)
    trace = traced(lambda: in_threads(lambda replica: replica(x).sum().backward(), replicas), replicas)
    assert trace.backwards == 3
    assert all(parameter.grad is not None for parameter in replicas.parameters())


def test_hooks_of_the_programs_own_act_before_we_measure():
    w, x = torch.randn(3, 3, requires_grad=True), torch.randn(2, 3)

    def program():
        hidden = x @ w
        hidden.register_hook(lambda gradient: gradient * 5)
        hidden.sum().backward()

    graph = traced(program).graph(1)
    assert graph.nodes[only(graph, "MmBackward0")]["grad_norm"] == pytest.approx(5 * 6**0.5, rel=1e-5)
    assert graph.nodes[only(graph, "AccumulateGrad")]["grad_norm"] == pytest.approx(w.grad.norm().item(), rel=1e-5)
