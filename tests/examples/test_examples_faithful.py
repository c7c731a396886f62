"""The examples train the same to the bit with and without a tracer."""

from __future__ import annotations

import hashlib
import io
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import gradtrace

EXAMPLES = Path(__file__).parents[2] / "examples"

SHORT = {
    "digits": ["--epochs", "1"],
    "house_prices": ["--epochs", "1"],
    "image_recognition": ["--epochs", "1"],
    "recommender": ["--epochs", "1"],
    "tune_hyperparameters": ["--rounds", "2"],
}


def trained(script: Path, options: list[str]) -> tuple[str, list[str]]:
    """What an example prints, and a digest of parameters, gradients, optimizer state and random state at each step."""
    digests: list[str] = []

    def note(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        state = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
        for parameter in (each for group in optimizer.param_groups for each in group["params"]):
            kept = [value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor)]
            for tensor in (parameter, parameter.grad, *kept):
                state.update(b"" if tensor is None else tensor.detach().to_dense().numpy().tobytes())
        digests.append(state.hexdigest())

    handle = register_optimizer_step_post_hook(note)
    printed = io.StringIO()
    before = sys.argv
    sys.argv = [str(script), *options]
    try:
        with redirect_stdout(printed):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before
        handle.remove()
    return printed.getvalue(), digests


@pytest.mark.parametrize("name", SHORT)
def test_an_example_trains_bit_for_bit(name: str, tmp_path: Path) -> None:
    script = EXAMPLES / f"{name}.py"
    expected, steps = trained(script, SHORT[name])
    assert steps
    for mode in ({}, {"replay": True}, {"replay": True, "graph": 7}):
        with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore", **mode):
            printed, traced = trained(script, SHORT[name])
        assert traced == steps
        assert printed == expected
