"""Windows over units: which stay without gradient, and which get the same as their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradtrace.capture.updates import ALIKE, LEAST, UnitWindow


def window(*gradients: torch.Tensor, either: bool = False) -> dict[str, float]:
    """The samples of parameter 0 over these gradients, repeated until there are enough."""
    units = UnitWindow()
    for turn in range(LEAST * len(gradients)):
        units.add([(0, gradients[turn % len(gradients)], either)])
    report = units.report(2).values()
    assert all(np.isnan(values[1]) for values in report.values()), "parameter 1 was never seen"
    return {name: float(values[0]) for name, values in report.items()}


def test_units_without_a_gradient_in_every_backward_are_dead():
    first, second = torch.ones(4, 3), torch.ones(4, 3)
    first[:3], second[2:] = 0.0, 0.0
    assert window(first, second)["dead_units"] == 1.0


@pytest.mark.parametrize("shape", [(12, 3), (12, 3, 2, 2)])
def test_rows_that_are_alike_in_blocks(shape: tuple[int, ...]):
    blocks = torch.arange(1.0, 5.0).repeat_interleave(3).view(12, *[1] * (len(shape) - 1))
    samples = window(blocks.expand(shape))
    assert samples["identical_rows"] == pytest.approx(8 / 11)
    assert "identical_columns" not in samples


def test_columns_are_looked_at_where_they_may_be_units():
    gradient = torch.randn(5, 1).expand(5, 8).clone()
    gradient[:, 7] = 0.0
    samples = window(gradient, either=True)
    assert (samples["columns"], samples["dead_columns"]) == (8.0, 1.0)
    assert samples["identical_columns"] == pytest.approx(6 / 7)
    assert samples["identical_rows"] == 0.0


def test_zeros_are_not_alike():
    assert window(torch.zeros(4, 3))["identical_rows"] == 0.0


def test_a_gradient_of_zeros_hides_no_likeness():
    """Behind a constant head the first one is zero: the classes' shares add up to nothing."""
    assert window(torch.zeros(4, 3), torch.ones(4, 3))["identical_rows"] == 1.0
    few = [torch.zeros(4, 3)] * 20
    few[3] = torch.ones(4, 3)
    units = UnitWindow()
    for gradient in few:
        units.add([(0, gradient, False)])
    assert units.report(1).values()["identical_rows"][0] == 0.0, "one look is no proof"


def test_too_few_backwards_say_nothing():
    units = UnitWindow()
    units.add([(0, torch.ones(4, 3), False)])
    assert not units.report(1)
    assert units.windows == 0


def test_a_short_run_tells_identical_units_and_not_yet_dead_ones():
    units, gradient = UnitWindow(), torch.ones(4, 3)
    gradient[0] = 0.0
    for _ in range(ALIKE):
        units.add([(0, gradient, False)])
    report = units.report(1).values()
    assert report["identical_rows"][0] == pytest.approx(2 / 3)
    assert np.isnan([report["dead_units"][0], report["units"][0]]).all()


def test_a_window_that_the_run_cuts_short_after_others_says_nothing():
    units = UnitWindow()
    for count in (LEAST, ALIKE):
        for _ in range(count):
            units.add([(0, torch.ones(4, 3), False)])
        report = units.report(1)
    assert not report


def test_one_element_makes_a_unit_alive_and_another_than_its_neighbour():
    gradient = torch.zeros(6, 64)
    gradient[0, 40] = -1.0
    gradient[2:] = torch.randn(64)
    gradient[3, 50] += 1.0
    samples = window(gradient)
    assert (samples["units"], samples["dead_units"]) == (6.0, 1.0)
    assert samples["identical_rows"] == pytest.approx(1 / 5)


def test_complex_units_die_and_look_alike_in_both_parts():
    gradient = torch.complex(torch.zeros(4, 3), torch.zeros(4, 3))
    gradient[0, 1] = 1j
    gradient[2:] = torch.complex(torch.ones(3), torch.arange(3.0))
    samples = window(gradient, either=True)
    assert (samples["units"], samples["dead_units"]) == (4.0, 1.0)
    assert samples["identical_rows"] == pytest.approx(1 / 3)
    assert (samples["columns"], samples["dead_columns"]) == (3.0, 0.0)
