from __future__ import annotations

from pathlib import Path

import pytest
from traces import write_trace

from gradtrace.model import Finding, Source, Where


@pytest.fixture
def chain_trace(tmp_path: Path) -> Path:
    """Forty backwards of six layers, measured four times, with a source file that exists."""
    program = tmp_path / "model.py"
    program.write_text("import torch\n\n\ndef forward(self, x):\n    return self.layer(x)\n")
    source = Source(str(program), 5, "forward", "    return self.layer(x)")
    return write_trace(tmp_path / "chain.gradtrace", backwards=40, layers=6, snapshots=(1, 2, 5, 20), source=source)


@pytest.fixture
def finding(tmp_path: Path) -> Finding:
    """A finding about the second layer of `chain_trace`, from the seventh backward on."""
    source = Source(str(tmp_path / "model.py"), 5, "forward", "    return self.layer(x)")
    return Finding(
        code="GT201",
        name="nan-gradient",
        severity="error",
        message="NaN is born in AddmmBackward0 (layer1)",
        where=Where(module="layer1", op="AddmmBackward0", source=source),
        cause="0 x inf",
        fix="add an epsilon",
        first_backward=7,
        last_backward=40,
        count=34,
        parameters=("layer1.weight",),
    )
