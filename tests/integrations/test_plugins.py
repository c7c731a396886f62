"""The example plugin, installed as a user would, and plugins that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from traces import write_trace

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--target", target, PLUGIN],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.fixture
def trace(tmp_path):
    return write_trace(tmp_path / "run.gradtrace", backwards=40, layers=2)


def gradtrace(*args, site=None, folder=None):
    path = [str(site)] if site else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "gradtrace", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=folder)


def test_a_rule(installed, trace, tmp_path):
    page = gradtrace("rule", "EX101", site=installed)
    assert "higher at the end of the run" in page.stdout
    assert "EX101" in gradtrace("rule", site=installed).stdout
    assert gradtrace("rule", "EX101").returncode == 2  # without the plugin
    assert gradtrace("check", trace, "--select", "EX", site=installed).returncode == 0
    rising = _rising(tmp_path / "rising.gradtrace")
    found = gradtrace("check", rising, "--select", "EX", "--format", "json", site=installed)
    assert [finding["code"] for finding in json.loads(found.stdout)["findings"]] == ["EX101"]
    assert found.returncode == 1


def _rising(path):
    """A trace whose loss is its backward's number."""
    import numpy as np

    from gradtrace.model import BACKWARD, LOOP, STATISTICS, Parameter
    from gradtrace.store.writer import Writer

    writer = Writer(path, {})
    writer.put_parameters([Parameter(0, "weight")])
    records = np.zeros(40, BACKWARD)
    records["number"] = records["loss"] = np.arange(1, 41)
    writer.put_block(records, np.zeros(0, LOOP), np.ones((40, len(STATISTICS), 1), np.float32))
    writer.close()
    return path


def test_formats_and_an_exporter(installed, trace, tmp_path):
    assert gradtrace("check", trace, "--format", "markdown", site=installed).stdout.startswith("| trace | code |")
    edges = gradtrace("render", trace, "--format", "edges", site=installed)
    assert "AddmmBackward0 -> AccumulateGrad" in edges.stdout
    exported = gradtrace("export", trace, "--to", "jsonl", "-o", "out", site=installed, folder=tmp_path)
    assert exported.returncode == 0, exported.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "backwards.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert set(rows[0]["norms"]) == {"layer0.weight", "layer1.weight"}


@pytest.mark.parametrize(
    ("args", "word"),
    [(("check", "--format"), "markdown"), (("render", "--format"), "edges"), (("export", "--to"), "jsonl")],
)
def test_without_the_plugin_its_words_are_unknown(trace, args, word):
    command, option = args
    done = gradtrace(command, trace, option, word)
    assert done.returncode == 2
    assert f"'{word}' is not one of" in done.stderr


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (None, "ModuleNotFoundError: No module named 'broken_plugin'"),
        ("from gradtrace.plugins import hookimpl\n@hookimpl\ndef gradtrace_rulez(): return []\n", "unknown hook"),
    ],
    ids=["missing", "misspelt"],
)
def test_a_broken_plugin_is_left_out(trace, tmp_path, module, complaint):
    site = _plugin(tmp_path / "site", module)
    done = gradtrace("check", trace, "--select", "GT2", site=site)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("gradtrace: plugin broken (broken_plugin) is left out") == 1
    assert complaint in done.stderr


def test_a_rule_cannot_take_a_code_of_ours(trace, tmp_path):
    site = _plugin(
        tmp_path / "site",
        "from gradtrace.plugins import hookimpl\n"
        "@hookimpl\ndef gradtrace_rules():\n    from gradtrace.rules import RULES\n    return RULES[:1]\n",
    )
    done = gradtrace("check", trace, site=site)
    assert done.returncode == 2
    assert "has the code GT101, which is taken" in done.stderr


FAILING_RULE = """
from gradtrace.plugins import hookimpl
from gradtrace.rules import Rule
from gradtrace.rules.base import Page

class Failing(Rule):
    code, name, page = "ACME1", "failing", Page("m", "r", "m", "e", "f", "s")
    def check(self, run):
        raise ZeroDivisionError("as asked")

@hookimpl
def gradtrace_rules():
    return [Failing()]
"""

FAILING_FUNCTIONS = """
from gradtrace.plugins import hookimpl

def fail(*args):
    raise ZeroDivisionError("as asked")

def give():
    return {"bad": fail}

gradtrace_graph_formats = hookimpl(give, specname="gradtrace_graph_formats")
"""


def test_a_rule_that_fails_is_one_line(trace, tmp_path):
    done = gradtrace("check", trace, site=_plugin(tmp_path / "site", FAILING_RULE))
    line = "rule ACME1 of a plugin failed (ZeroDivisionError: as asked); leave it out with --ignore ACME1"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"gradtrace: {line}\n")


@pytest.mark.parametrize(
    ("hook", "args"),
    [
        ("gradtrace_finding_formats", ("check", "--format", "bad")),
        ("gradtrace_graph_formats", ("render", "--format", "bad")),
        ("gradtrace_exporters", ("export", "--to", "bad", "-o", "out")),
    ],
)
def test_a_function_that_fails_is_one_line(trace, tmp_path, hook, args):
    site = _plugin(tmp_path / "site", FAILING_FUNCTIONS.replace("gradtrace_graph_formats", hook))
    command, *options = args
    done = gradtrace(command, trace, *options, site=site, folder=tmp_path)
    line = "plugin broken failed (ZeroDivisionError: as asked); repair or uninstall it"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"gradtrace: {line}\n")


def test_a_hook_that_fails_names_its_plugin(trace, tmp_path):
    module = "from gradtrace.plugins import hookimpl\n@hookimpl\ndef gradtrace_rules():\n    return 1 / 0\n"
    done = gradtrace("check", trace, site=_plugin(tmp_path / "site", module))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "plugin broken failed (ZeroDivisionError: division by zero)" in done.stderr


def _plugin(site, module):
    facts = site / "broken-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[gradtrace]\nbroken = broken_plugin\n")
    if module is not None:
        (site / "broken_plugin.py").write_text(module)
    return site


def test_help_loads_no_plugin(tmp_path):
    site = _plugin(tmp_path / "site", "raise SystemExit('it was loaded')\n")
    for command in ((), ("check",), ("render",), ("export",)):
        done = gradtrace(*command, "--help", site=site)
        assert (done.returncode, done.stderr) == (0, "")
