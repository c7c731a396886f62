"""Programs that use `torch.compile` train on as they would."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import gradtrace

PROGRAM = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
compiled = torch.compile(model, backend=sys.argv[1])
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(12):
    x = torch.randn(32, 8)
    loss = (compiled(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_training_goes_on_bit_for_bit(tmp_path, gradtrace_process, backend):
    (tmp_path / "compiled.py").write_text(textwrap.dedent(PROGRAM))
    traced = gradtrace_process("run", "compiled.py", backend)
    command = [sys.executable, "compiled.py", backend]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (traced.returncode, plain.returncode) == (0, 0)
    assert traced.stdout == plain.stdout
    assert "no findings in 12 backwards" in traced.stderr
    trace = gradtrace.load(tmp_path / "compiled.gradtrace")
    assert len(trace.recording().events("compiled")) == 1
    assert (trace.gradients() > 0).all()
