"""What an import brings along is part of the contract: reading a trace needs no torch, and help comes at once."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from gradtrace.cli import COMMANDS

HEAVY = ("torch", "networkx", "numpy", "pandas", "rich", "plotly", "textual", "graphviz")

PROBE = """
import json, sys
{code}
print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)
"""


def loaded(code: str, **options) -> set[str]:
    """Which of HEAVY are loaded after `code`, in a process of its own."""
    program = PROBE.format(code=textwrap.dedent(code), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, **options)
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*args: str) -> str:
    return f"""
    from gradtrace.cli import main
    try:
        main({list(args)!r})
    except SystemExit:
        pass
    """


@pytest.mark.parametrize("code", ["import gradtrace", "import gradtrace.cli", command("--help"), command("--version")])
def test_nothing_heavy(code):
    assert loaded(code) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(name):
    assert loaded(command(name, "--help")) == set()


@pytest.mark.parametrize("code", ["import gradtrace.recorded", "import gradtrace.rules", "import gradtrace.renderers"])
def test_reading_needs_numpy_at_most(code):
    assert loaded(code) <= {"numpy"}


@pytest.mark.parametrize(
    "args",
    [
        ["show"],
        ["show", "--format", "json"],
        ["check"],
        ["check", "--format", "sarif"],
        ["render", "-o", "graph.svg"],
        ["render", "-o", "graph.svg", "--style", "torchviz"],
    ],
)
def test_reading_commands_never_load_torch(healthy_trace, args):
    name, *options = args
    found = loaded(command(name, healthy_trace.name, *options), cwd=healthy_trace.parent)
    assert "torch" not in found
    assert ("networkx" in found) == (name == "render")


def test_a_program_is_started_before_anything_heavy_is_loaded(tmp_path):
    (tmp_path / "program.py").write_text(
        f"import sys\nassert not {set(HEAVY)} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "gradtrace", "run", "-q", "program.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["torch", "networkx", "numpy"])
def test_these_tests_can_fail(name):
    assert name in loaded(f"import {name}")
