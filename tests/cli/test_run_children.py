"""Python processes that a program under `gradtrace run` starts."""

from __future__ import annotations

import os
import textwrap

import pytest

import gradtrace
from gradtrace.launch.destination import Destination
from gradtrace.launch.environment import SITE, VARIABLE

TRAIN = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(6):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).pow(2).mean().backward()
    optimizer.step()
"""

SWEEP = """
import subprocess, sys
children = [subprocess.Popen([sys.executable, *args]) for args in (["one.py"], ["one.py"], ["-c", "import torch"])]
print([child.wait() for child in children])
"""


@pytest.fixture
def sweep(tmp_path, gradtrace_process):
    (tmp_path / "one.py").write_text(textwrap.dedent(TRAIN))
    (tmp_path / "sweep.py").write_text(textwrap.dedent(SWEEP))
    return lambda *options: gradtrace_process("run", *options, "sweep.py")


def test_each_child_that_trains_has_a_trace_of_its_own(sweep, tmp_path):
    done = sweep()
    assert done.stdout == "[0, 0, 0]\n"
    assert sorted(file.name for file in tmp_path.glob("*.gradtrace")) == ["sweep-1.gradtrace", "sweep-2.gradtrace"]
    for name in ("sweep-1", "sweep-2"):
        recording = gradtrace.load(tmp_path / f"{name}.gradtrace").recording()
        assert len(recording) == int(recording.loop()["step"].max()) == 6
        assert f"gradtrace: {name}.gradtrace: no findings in 6 backwards" in done.stderr
    assert done.stderr.splitlines()[-1] == "gradtrace: next: gradtrace check sweep-1.gradtrace sweep-2.gradtrace"


def test_children_are_left_alone_where_asked(sweep, tmp_path):
    done = sweep("--no-children")
    assert done.stdout == "[0, 0, 0]\n"
    assert not list(tmp_path.glob("*.gradtrace"))


def test_the_programs_own_sitecustomize_still_runs(tmp_path, gradtrace_process):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("import builtins\nbuiltins.mine = 'ran'\n")
    code = "import sys; print(mine, [p for p in sys.path if 'launch' in p])"
    (tmp_path / "parent.py").write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}])\n")
    done = gradtrace_process("run", "-q", "parent.py", env={**os.environ, "PYTHONPATH": str(tmp_path / "own")})
    assert done.stdout == "ran []\n"


def test_environment_after_the_program_is_as_before(tmp_path, monkeypatch):
    from gradtrace.launch.environment import Inheritance

    monkeypatch.setenv("PYTHONPATH", "here")
    undo = Inheritance("run", str(tmp_path), {}, {}).hand_on()
    assert os.environ["PYTHONPATH"] == os.pathsep.join([SITE, "here"])
    assert Inheritance.read() == Inheritance("run", str(tmp_path), {}, {})
    undo()
    assert os.environ["PYTHONPATH"] == "here"
    assert VARIABLE not in os.environ


def test_fewer_ranks_than_before_leave_none_of_the_earlier(tmp_path, write_trace):
    folder = tmp_path / "ranks"
    folder.mkdir()
    for rank in range(4):
        write_trace(folder / f"rank{rank}.gradtrace", rank=rank)
    assert next(Destination(folder).places(0, 2)) == folder / "rank0.gradtrace"
    assert sorted(file.name for file in folder.iterdir()) == ["rank0.gradtrace", "rank1.gradtrace"]


def test_a_folder_of_ranks_is_kept_when_one_process_trains(tmp_path, write_trace):
    folder = tmp_path / "train.gradtrace"
    folder.mkdir()
    write_trace(folder / "rank0.gradtrace", rank=0)
    assert next(Destination(folder).places(None, 1)) == tmp_path / "train-1.gradtrace"


def test_a_program_that_never_trains_leaves_no_file(tmp_path, gradtrace_process):
    (tmp_path / "idle.py").write_text("import torch\nprint(torch.zeros(2).sum().item())\n")
    done = gradtrace_process("run", "idle.py")
    assert done.stdout == "0.0\n"
    assert "never called backward" in done.stderr
    assert not list(tmp_path.glob("*.gradtrace"))
