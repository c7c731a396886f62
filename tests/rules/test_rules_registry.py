"""The registry, choosing rules, thresholds, settings of a project, and the pages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from builder import Synthetic, found, mlp

from gradtrace.errors import GradtraceError
from gradtrace.model import StepFlag
from gradtrace.rules import RULES, SEVERITIES, Thresholds, check_codes, diagnose, load_config, rule
from gradtrace.rules.precedence import EXPLAINS, ORDER


def broken() -> Synthetic:
    """Raises GT301 and GT401."""
    recording = mlp()
    for _ in range(5):
        recording.backward({2: 1.0})
        recording.step(flags=StepFlag.FRESH | StepFlag.STALE)
    return recording


def codes(**options: object) -> list[str]:
    return sorted({finding.code for finding in found(broken(), **options)})


def test_codes_are_unique_sorted_and_ranked():
    known = [each.code for each in RULES]
    assert known == sorted(set(known))
    assert sorted(ORDER) == known
    explained = {code for explanation in EXPLAINS for code in (explanation.cause, *explanation.effects)}
    assert explained <= set(known)


def test_a_rule_lives_in_the_file_of_its_code_and_name():
    for each in RULES:
        assert type(each).__module__ == f"gradtrace.rules.{each.code.lower()}_{each.name.replace('-', '_')}"


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.code)
def test_every_page_is_complete_and_its_program_parses(each):
    sections = dict(each.page.sections())
    assert all(len(text) > 20 for text in sections.values())
    assert "\n" in each.page.example, "one line would be printed as prose"
    ast.parse(each.page.example.replace("\n    ...", "\n    pass"))


def test_a_rule_is_found_in_any_case_and_an_unknown_one_refused_in_one_line():
    assert rule("gt301").name == "no-gradient"
    assert rule("no-gradient").code == "GT301"
    with pytest.raises(GradtraceError, match="unknown finding code GT999"):
        rule("GT999")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["GT301", "GT401"]),
        ({"select": ["GT3"]}, ["GT301"]),
        ({"select": "gt301, GT401"}, ["GT301", "GT401"]),
        ({"ignore": ["GT30"]}, ["GT401"]),
        ({"select": ["GT301"], "ignore": ["GT3"]}, ["GT301"]),
        ({"select": ["GT3"], "ignore": ["GT301"]}, []),
        ({"ignore": ["GT"]}, []),
    ],
)
def test_codes_are_chosen_by_prefix_and_the_longer_one_wins(options: dict[str, object], expected: list[str]):
    assert codes(**options) == expected


@pytest.mark.parametrize("options", [{"select": ["GT9"]}, {"ignore": ["nonsense"]}])
def test_unknown_codes_are_refused(options: dict[str, list[str]]):
    with pytest.raises(GradtraceError, match="unknown finding code"):
        diagnose(broken().finished(), **options)


def test_codes_can_be_checked_without_a_recording():
    check_codes(["GT1", "GT301"])
    with pytest.raises(GradtraceError, match="GT9"):
        check_codes("GT1,GT9")


def test_thresholds_can_be_overridden():
    assert codes(thresholds={"loop": {"steps": 50}}) == ["GT301"]
    assert codes(thresholds=Thresholds.of({"loop": {"steps": 50}})) == ["GT301"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loops": {}}, "unknown threshold thresholds.loops"),
        ({"loop": {"step": 3}}, "unknown threshold thresholds.loop.step"),
        ({"loop": {"steps": "many"}}, "must be a number"),
        ({"loop": {"steps": 2.5}}, "must be a whole number"),
        ({"loop": {"steps": True}}, "must be a number"),
        ({"loop": 3}, "must be a table"),
    ],
)
def test_bad_thresholds_are_refused_in_one_line(given: dict[str, object], words: str):
    with pytest.raises(GradtraceError, match=re.escape(words)) as raised:
        Thresholds.of(given)
    assert "\n" not in str(raised.value)


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def test_settings_come_from_the_nearest_pyproject_that_has_some(tmp_path: Path):
    write(
        tmp_path,
        '[tool.gradtrace]\nselect = ["gt1"]\nignore = ["GT103"]\n[tool.gradtrace.thresholds.flow]\ndecades = 5\n',
    )
    inner = tmp_path / "package" / "inner"
    inner.mkdir(parents=True)
    write(inner, "[project]\nname = 'other'\n")
    config = load_config(inner)
    assert (config.select, config.ignore) == (("GT1",), ("GT103",))
    assert config.thresholds.flow.decades == 5.0
    assert config.path == tmp_path / "pyproject.toml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.gradtrace]\nselects = []\n", "unknown key tool.gradtrace.selects"),
        ("[tool.gradtrace]\nselect = [1]\n", "lists of codes"),
        ("[tool.gradtrace.thresholds.flow]\ndepth = 1\n", "unknown threshold thresholds.flow.depth"),
        ("[tool]\ngradtrace = 3\n", "must be a table"),
        ("[tool.gradtrace\n", "no valid TOML"),
    ],
)
def test_bad_settings_name_the_file(tmp_path: Path, text: str, words: str):
    with pytest.raises(GradtraceError, match=re.escape(words)) as raised:
        load_config(write(tmp_path, text))
    assert "pyproject.toml" in str(raised.value)


def test_without_settings_the_defaults(tmp_path: Path):
    config = load_config(tmp_path)
    assert (config.select, config.thresholds) == ((), Thresholds())


def test_an_empty_recording_has_no_findings():
    assert not found(Synthetic())
    assert not found(mlp(closed=False))


def test_findings_come_worst_first():
    severities = [SEVERITIES.index(finding.severity) for finding in found(broken())]
    assert severities == sorted(severities)
