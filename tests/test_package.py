"""What `pip install gradtrace` brings: the package and its licence, known to type checkers, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The names in a wheel that was built from this tree."""
    folder, before = tmp_path_factory.mktemp("wheel"), Path.cwd()
    os.chdir(ROOT)  # a build backend is called in the project's folder
    try:
        wheel = build.build_wheel(str(folder))
    finally:
        os.chdir(before)
    with zipfile.ZipFile(folder / wheel) as archive:
        return set(archive.namelist())


def test_a_wheel_holds_the_package_alone(files):
    assert {re.split("[-/]", name)[0] for name in files} == {"gradtrace"}
    assert not [name for name in files if Path(name).name.startswith(("test_", "conftest"))]


def test_a_wheel_holds_all_of_the_package(files):
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gradtrace").rglob("*") if path.is_file()}
    assert {name for name in own if "__pycache__" not in name} <= files


@pytest.mark.parametrize("needed", ["gradtrace/py.typed", "licenses/LICENSE", "entry_points.txt"])
def test_a_wheel_says_what_it_is(files, needed):
    assert [name for name in files if name.endswith(needed)]


OPTIMISED = """
import torch
import gradtrace
model = torch.nn.Linear(2, 1)
with gradtrace.trace(model, out="t.gradtrace", on_finding="ignore") as trace:
    model(torch.ones(1, 2)).sum().backward()
print(len(trace.recording()))
"""


def test_it_traces_where_python_leaves_assertions_out(tmp_path):
    run = subprocess.run(
        [sys.executable, "-O", "-c", OPTIMISED], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120
    )
    assert (run.returncode, run.stdout) == (0, "1\n"), run.stderr
