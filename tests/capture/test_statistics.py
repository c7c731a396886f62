"""The three numbers a gradient is recorded by, against torch's own arithmetic, for small and large tensors of each
type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtrace
from gradtrace.capture import statistics
from gradtrace.capture.statistics import MANY, SMALL, Meter, Row

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@st.composite
def gradients(draw):
    """Gradients with a drawn share of zeros, on both sides of the size from which they are measured one by one."""
    found = []
    for size, dtype, share, seed in draw(
        st.lists(
            st.tuples(
                st.sampled_from([1, 7, SMALL, SMALL + 1, 3 * SMALL]),
                st.sampled_from(TYPES),
                st.floats(0.0, 1.0),
                st.integers(0, 9),
            ),
            min_size=1,
            max_size=6,
        )
    ):
        source = torch.Generator().manual_seed(seed)
        values = torch.randn(size, generator=source)
        values[torch.rand(size, generator=source) < share] = 0.0
        found.append(values.to(dtype))
    return found


@given(gradients())
@settings(deadline=None, max_examples=60)
def test_norm_maximum_and_zeros_are_those_of_torch(tensors):
    row = Meter().measure(len(tensors), list(range(len(tensors))), tensors, device_zeros=False).values()
    exact = [tensor.double() for tensor in tensors]
    np.testing.assert_allclose(row[0], [tensor.norm() for tensor in exact], rtol=1e-5)
    np.testing.assert_allclose(row[1], [tensor.abs().max() for tensor in exact], rtol=1e-6)
    np.testing.assert_allclose(row[2], [(tensor == 0).double().mean() for tensor in exact], rtol=1e-6)


@pytest.mark.parametrize("count", [3, MANY + 1])
@pytest.mark.parametrize("dtype", TYPES)
def test_norms_of_few_and_of_many_are_those_of_torch(count, dtype):
    tensors = [torch.full((number + 1, 2), number / 4).to(dtype) for number in range(count)]
    exact = [float(tensor.double().norm()) for tensor in tensors]
    assert statistics.norms_of(tensors).tolist() == pytest.approx(exact, rel=1e-5)
    odd = [*tensors, torch.ones(4, dtype=torch.float64), torch.ones(2 * SMALL)]
    assert statistics.norms_of(odd).tolist() == pytest.approx([*exact, 2.0, (2 * SMALL) ** 0.5], rel=1e-5)


def test_zeros_behind_a_lazy_minus_are_counted():
    """The imaginary part of a conjugate is a view that torch negates when it is read, and numpy cannot read."""
    values = torch.zeros(2 * SMALL, dtype=torch.complex64)
    values[:SMALL] = 1j
    row = Meter().measure(1, [0], [values.conj().imag], device_zeros=False).values()
    assert row[2].tolist() == [0.5]


def test_a_program_that_has_numpy_raise_is_measured_all_the_same():
    value = torch.tensor([1e-30, 100.0], requires_grad=True)  # the square of the first is below all numbers
    with np.errstate(all="raise"):
        graph = gradtrace.graph(value.tanh().sum())
    (tanh,) = [facts for _, facts in graph.nodes(data=True) if facts["op"] == "TanhBackward0"]
    assert tanh["attributes"]["saturated"] == 0.5


@pytest.mark.parametrize("counted", [True, False])
def test_an_accelerator_counts_zeros_only_where_asked(counted):
    """The accelerator's arithmetic, on tensors of the host."""
    tensors = [torch.tensor([3.0, 0.0, -4.0, 0.0]), torch.tensor([0.0])]
    row = Row(2)
    statistics._on_device(row, list(enumerate(tensors)), zeros=counted)
    norms, largest, zeros = row.values()
    assert norms.tolist() == [5.0, 0.0]
    assert largest.tolist() == [4.0, 0.0]
    assert zeros.tolist() == [0.5, 1.0] if counted else np.isnan(zeros).all()


def test_zeros_of_a_large_tensor_are_counted_at_every_backward(tmp_path):
    """Far beyond the first backwards, which are looked at closely."""
    weight = torch.nn.Parameter(torch.ones(3 * SMALL))
    with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for backward in range(1, 31):
            weight.grad = None
            weight[: backward * SMALL // 10].sum().backward()
    covered = [backward * SMALL // 10 / (3 * SMALL) for backward in range(1, 31)]
    assert trace.gradients("zeros")[:, 0] == pytest.approx([1 - share for share in covered], abs=1e-6)
