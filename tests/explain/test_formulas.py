"""Formulas read from torch's own file, against torch's own node types."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gradtrace.formulas import derivative_of, node_prefix


@pytest.mark.parametrize(
    ("compute", "op"),
    [
        (lambda w: torch.addmm(w[:1, :1], w, w), "addmm"),
        (lambda w: w.sum(), "sum"),
        (lambda w: w.sum(0), "sum.dim_IntList"),
        (lambda w: w.mean(1), "mean.dim"),
        (lambda w: w * w, "mul.Tensor"),
        (lambda w: w**2, "pow.Tensor_Scalar"),
        (lambda w: w.log_softmax(0), "_log_softmax"),
        (lambda w: w[0], "select.int"),
        (lambda w: torch.cat([w, w]), "cat"),
        (lambda w: torch.nn.functional.mse_loss(w, w), "mse_loss"),
        (lambda w: torch.nn.functional.layer_norm(w, (2,)), "native_layer_norm"),
        (lambda w: w.expand(3, 2, 2), "expand"),
    ],
)
def test_node_type_leads_to_its_op(compute, op):
    node = compute(torch.eye(2, requires_grad=True)).grad_fn
    derivative = derivative_of(type(node).__name__)
    assert derivative is not None
    assert derivative.name == op


def test_every_entry_is_a_node_type_that_torch_has():
    from gradtrace.formulas import _derivatives

    known = set(dir(torch._C._functions))
    assert len(_derivatives()) > 500
    assert set(_derivatives()) <= known


def test_arguments_and_formulas():
    derivative = derivative_of("AddmmBackward0")
    assert derivative is not None
    assert derivative.arguments == ("self", "mat1", "mat2", "beta", "alpha")
    assert list(derivative.formulas) == ["self", "mat1", "mat2"]
    assert derivative.formulas["self"] == "maybe_multiply(grad, beta.conj())"
    assert derivative.reading("mat2") == "alpha * mat1.T @ grad"


def test_quoted_formulas_and_dispatch_keys():
    squeezed = derivative_of("MeanBackward0")
    assert squeezed is not None
    assert squeezed.formulas == {"self": "grad.expand_symint(self.sym_sizes()) / self.sym_numel()"}
    multiline = derivative_of("AcoshBackward0")
    assert multiline is not None
    assert multiline.formulas["self"].startswith("self.is_complex() ?")
    assert '"' not in multiline.formulas["self"]


def test_unknown_op_has_no_derivative():
    assert derivative_of("CopySlices") is None


def test_prefix_of_underscored_and_forward_ops():
    assert node_prefix("_log_softmax") == "LogSoftmaxBackward"
    assert node_prefix("nll_loss_forward") == "NllLossBackward"


def test_reading_formulas_does_not_import_torch():
    code = (
        "import sys; from gradtrace.formulas import derivative_of\n"
        "assert derivative_of('MulBackward0'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
