"""The plugin in suites of its own."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
import torch

import gradtrace as package

SUITE = """
import pytest
import torch
from torch import nn


class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.second(self.first(x).detach())


def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(12):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).pow(2).mean().backward()
        optimizer.step()


def test_without_torch():
    pass


def test_cut():
    train(Cut())


def test_sound():
    train(nn.Linear(3, 1))
"""

MARKED = SUITE.replace("def test_cut", "@pytest.mark.gradtrace\ndef test_cut")


@pytest.fixture(scope="session")
def everything_loaded(tmp_path_factory):
    """pytester unloads what a suite imports, and torch does not load twice: so what is loaded on first use is used."""
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    with package.trace(model, on_finding="ignore") as trace:
        model(torch.ones(1)).backward()
        optimizer.step()
    trace.render(tmp_path_factory.mktemp("load") / "graph.svg")


@pytest.fixture
def suite(everything_loaded, pytester):
    def write(text: str = SUITE, ini: str = "") -> pytest.Pytester:
        pytester.makepyfile(test_suite=text)
        pytester.makeini(f"[pytest]\n{ini}")
        return pytester

    return write


def test_nothing_asked_for_nothing_traced(suite):
    result = suite().runpytest()
    result.assert_outcomes(passed=3)
    assert "gradtrace ==" not in result.stdout.str()


@pytest.mark.parametrize(("args", "ini"), [(["--gradtrace"], ""), ([], "gradtrace = true")])
def test_every_test_is_traced_and_none_fails(suite, args, ini):
    result = suite(ini=ini).runpytest(*args)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*traced 3 tests, 24 backwards; findings in 1", "*::test_cut", "  GT301 no-gradient*"])


@pytest.mark.parametrize(
    ("args", "ini"),
    [(["--gradtrace-fail-on=GT1,GT301"], ""), ([], "gradtrace_fail_on = GT1,GT301"), (["--gradtrace-fail-on=gt3"], "")],
)
def test_findings_fail_tests(suite, args, ini):
    result = suite(ini=ini).runpytest("--gradtrace", *args)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["GT301 no-gradient (error): *first.*", "*cause*detach*", "FAILED *::test_cut*"])


@pytest.mark.parametrize(
    ("args", "ini"), [(["--gradtrace-fail-on=GT2"], ""), (["--gradtrace-fail-on=GT2"], "gradtrace_fail_on = GT301")]
)
def test_other_findings_do_not(suite, args, ini):
    suite(ini=ini).runpytest("--gradtrace", *args).assert_outcomes(passed=3)


def test_marker_alone_fails_on_any_finding(suite):
    suite(MARKED).runpytest().assert_outcomes(passed=2, failed=1)


def test_marker_goes_before_the_command_line(suite):
    text = SUITE.replace("def test_cut", "@pytest.mark.gradtrace(fail_on=['GT2'])\ndef test_cut")
    suite(text).runpytest("--gradtrace-fail-on=GT301").assert_outcomes(passed=3)


def test_marker_hands_options_on(suite):
    text = MARKED.replace("mark.gradtrace", "mark.gradtrace(ignore=['GT3', 'GT4'])")
    suite(text).runpytest().assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("args", "text", "expected"),
    [
        (["--gradtrace", "--gradtrace-fail-on=GT9"], SUITE, "unknown finding code GT9"),
        ([], MARKED.replace("mark.gradtrace", "mark.gradtrace(fail_on='GT9')"), "unknown finding code GT9"),
        ([], MARKED.replace("mark.gradtrace", "mark.gradtrace(often=1)"), "not 'often'"),
        ([], MARKED.replace("mark.gradtrace", "mark.gradtrace('GT1')"), "not 'GT1'"),
    ],
)
def test_wrong_options_are_usage_errors(suite, args, text, expected):
    result = suite(text).runpytest(*args)
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.TESTS_FAILED)
    assert expected in result.stdout.str() + result.stderr.str()
    result.stdout.no_fnmatch_line("*settings.py*")


@pytest.mark.parametrize(("args", "ini"), [(["--gradtrace-dir=kept"], ""), ([], "gradtrace_dir = kept")])
def test_trace_and_picture_of_a_failing_test_are_kept(suite, args, ini):
    pytester = suite(ini=ini)
    result = pytester.runpytest("--gradtrace", "--gradtrace-fail-on=GT301", *args)
    (trace,) = (pytester.path / "kept").glob("*.gradtrace")
    (picture,) = (pytester.path / "kept").glob("*.svg")
    assert "test_cut" in trace.name
    assert package.load(trace).backwards == 12
    assert picture.read_text().lstrip().startswith("<")
    assert str(picture) in result.stdout.str()


def test_failure_of_another_kind_keeps_its_trace_too(suite):
    text = SUITE.replace("    train(nn.Linear(3, 1))", "    train(nn.Linear(3, 1))\n    assert False")
    pytester = suite(text)
    result = pytester.runpytest("--gradtrace", "--gradtrace-dir=kept")
    result.assert_outcomes(passed=2, failed=1)
    (trace,) = (pytester.path / "kept").glob("*.gradtrace")
    assert "test_sound" in trace.name
    result.stdout.fnmatch_lines(["*Captured gradtrace call*", f"*{trace.name}*"])


def test_a_skipped_test_keeps_nothing(suite):
    pytester = suite(SUITE.replace("    train(Cut())", "    train(Cut())\n    pytest.skip('late')"))
    pytester.runpytest("--gradtrace", "--gradtrace-dir=kept").assert_outcomes(passed=2, skipped=1)
    assert list((pytester.path / "kept").iterdir()) == []


def test_settings_of_the_project_hold_for_tests(suite):
    pytester = suite(MARKED)
    pytester.makepyprojecttoml("[tool.gradtrace]\nignore = ['GT3', 'GT4']\n")
    pytester.runpytest().assert_outcomes(passed=3)
    pytester.makepyprojecttoml("[tool.gradtrace]\nignores = []\n")
    result = pytester.runpytest()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*unknown key tool.gradtrace.ignores*"])


def test_a_folder_that_is_a_file_is_told_in_one_line(suite):
    result = suite().runpytest("--gradtrace", "--gradtrace-dir=test_suite.py", "-k", "test_sound")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["--gradtrace-dir=*test_suite.py: no folder can be made there (File exists)"])
    result.stdout.no_fnmatch_line("*recorder.py*")


def test_fixture_is_the_live_trace(suite):
    text = (
        SUITE
        + """

def test_fixture(gradtrace):
    train(Cut())
    assert gradtrace.backwards == 12
    assert [finding.code for finding in gradtrace.findings] == ["GT301"]
    assert gradtrace.gradients("norm").missing.sum() == 24


@pytest.mark.parametrize("times", [1, 2])
def test_again(gradtrace, times):
    assert gradtrace.backwards == 0
    train(nn.Linear(3, 1))
    assert gradtrace.parameters == ("weight", "bias")
"""
    )
    suite(text).runpytest().assert_outcomes(passed=6)


def test_other_fixtures_are_traced(suite):
    text = (
        SUITE
        + """

@pytest.fixture
def trained():
    train(Cut())

@pytest.mark.gradtrace
def test_fixture(trained):
    pass
"""
    )
    suite(text).runpytest().assert_outcomes(passed=3, failed=1)


def test_expected_failures_and_unittest(suite):
    text = (
        MARKED.replace("@pytest.mark.gradtrace", "@pytest.mark.xfail(strict=True)\n@pytest.mark.gradtrace")
        + """

import unittest

class TestOld(unittest.TestCase):
    @pytest.mark.gradtrace
    def test_cut(self):
        train(Cut())
"""
    )
    suite(text).runpytest().assert_outcomes(passed=2, failed=1, xfailed=1)


def test_workers_of_xdist_say_the_same(suite):
    pytester = suite()
    args = ["--gradtrace", "--gradtrace-fail-on=GT301", "--gradtrace-dir=kept"]
    result = pytester.runpytest("-n", "2", *args)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*traced 3 tests, 24 backwards; findings in 1", "*::test_cut", "  GT301 no-gradient*"])
    assert len(list((pytester.path / "kept").glob("*.gradtrace"))) == 1


def test_junit_properties(suite):
    pytester = suite()
    pytester.runpytest("--gradtrace", "--junit-xml=out.xml", "-o", "junit_family=xunit1")
    cases = {case.get("name"): case for case in ET.parse(pytester.path / "out.xml").iter("testcase")}
    properties = {item.get("name"): item.get("value") for item in cases["test_cut"].iter("property")}
    assert properties["gradtrace_finding"].startswith("GT301 no-gradient (error)")
    assert properties["gradtrace_backwards"] == "12"
    assert {item.get("name") for item in cases["test_sound"].iter("property")} == {"gradtrace_backwards"}


def test_junit_names_what_was_kept(suite):
    pytester = suite()
    args = ["--gradtrace", "--gradtrace-fail-on=GT301", "--gradtrace-dir=kept", "--junit-xml=out.xml"]
    pytester.runpytest(*args, "-o", "junit_family=xunit1")
    properties = {item.get("name"): item.get("value") for item in ET.parse(pytester.path / "out.xml").iter("property")}
    assert package.load(properties["gradtrace_trace"]).backwards == 12
    assert properties["gradtrace_picture"].endswith(".svg")


def test_nothing_is_left_behind(suite):
    text = (
        SUITE
        + """

def test_after():
    from torch.nn.modules import module
    from torch.optim import optimizer
    assert not module._global_forward_hooks and not module._global_forward_pre_hooks
    assert not optimizer._global_optimizer_pre_hooks and not optimizer._global_optimizer_post_hooks
"""
    )
    text = text.replace("def test_cut", "@pytest.mark.gradtrace(fail_on='GT2')\ndef test_cut")
    suite(text).runpytest().assert_outcomes(passed=4)


def test_importing_the_plugin_imports_neither_torch_nor_networkx():
    code = "import sys, gradtrace.pytest_plugin; print(sorted({'torch', 'networkx', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_suite_without_traced_tests_imports_neither(suite):
    text = "import sys\n\ndef test_it():\n    assert not {'torch', 'networkx', 'numpy'} & set(sys.modules)\n"
    suite(text).runpytest_subprocess().assert_outcomes(passed=1)


COUNTING = """
import sys

calls = []

def note(frame, event, argument):
    if event == "call" and "gradtrace" in frame.f_globals.get("__name__", ""):
        calls.append(frame.f_code.co_name)

def pytest_sessionstart(session):
    sys.setprofile(note)

def pytest_sessionfinish(session):
    sys.setprofile(None)
    print("calls:", len(calls), "others:", {"torch", "networkx", "numpy"} & set(sys.modules))
"""


def test_a_thousand_empty_tests_cost_a_few_calls_each(pytester):
    pytester.makeconftest(COUNTING)
    pytester.makepyfile(test_empty="\n".join(f"def test_{number}(): pass" for number in range(1000)))
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1000)
    (line,) = [line for line in result.outlines if "calls:" in line]
    count = int(line.split("calls:")[1].split()[0])
    assert 1000 <= count <= 4100  # a call is a tenth of a microsecond, an empty test costs pytest a thousand times that
    assert line.endswith("others: set()")
