"""Assertions about gradients that fail with the place in the graph, not only with a number."""

from gradtrace.testing.correct import assert_gradient_correct
from gradtrace.testing.flow import assert_gradients_flow
from gradtrace.testing.match import assert_gradients_match

__all__ = ["assert_gradient_correct", "assert_gradients_flow", "assert_gradients_match"]
