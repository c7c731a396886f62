"""Drawings as they were when somebody last looked at them.

After a wanted change run `GRADTRACE_UPDATE_GOLDEN=1 pytest tests/renderers/test_renderers_golden.py` and look at them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tape

from gradtrace.graphs import to_networkx
from gradtrace.model import Finding, Where
from gradtrace.renderers import render_graph

GOLDEN = Path(__file__).parent / "golden"

FINDING = Finding("GT101", "vanishing-gradient", "error", "fades", Where(parameter="embed.weight"))

DRAWINGS = {
    "mlp": (tape.mlp, {}),
    "mlp-across": (tape.mlp, {"rankdir": "LR"}),
    "mlp-unmeasured": (lambda: tape.mlp(measured=False), {}),
    "transformer-vanishing": (lambda: tape.transformer(12, lambda _: 0.6), {"findings": [FINDING]}),
    "transformer-healthy": (lambda: tape.transformer(12, lambda _: 0.9), {}),
    "transformer-focus": (lambda: tape.transformer(12, lambda _: 0.9), {"focus": "encoder.layers.3"}),
    "transformer-path": (lambda: tape.transformer(3, lambda _: 0.9), {"path": "loss:embed.weight"}),
    "transformer-gain": (lambda: tape.transformer(12, lambda _: 0.9), {"color": "gain", "depth": 3}),
    "nan": (tape.poisoned, {"depth": 3}),
    "exploding": (lambda: tape.mlp(12, gain=3.0), {}),
    "resnet-time": (tape.resnet, {"color": "time", "depth": 2}),
    "unet": (tape.unet, {}),
    "recurrent": (tape.recurrent, {}),
    "recurrent-apart": (lambda: tape.recurrent(6), {"calls": "apart", "depth": 1}),
    "gan": (tape.gan, {}),
    "hub": (lambda: tape.hub(20), {"depth": "full"}),
}


@pytest.mark.parametrize("ending", ["dot", "svg"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_golden(name, ending):
    make, options = DRAWINGS[name]
    drawn = render_graph(to_networkx(make()), format=ending, **options)
    path = GOLDEN / f"{name}.{ending}"
    if os.environ.get("GRADTRACE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")
