"""The evaluation programs are well formed, and the diagnosis is right on a few of them end to end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from evaluate import (
    Case,
    Expectation,
    Verdict,
    evaluate,
    failed,
    find_cases,
    judge,
    marked_lines,
    read_case,
    read_expectation,
    summary,
)

CASES = find_cases([])
FAULTY = [case for case in CASES if case.expectation]
ALLOWED_IMPORTS = {"torch", "numpy", "sklearn"} | {
    "__future__",
    "argparse",
    "collections",
    "copy",
    "io",
    "itertools",
    "math",
    "random",
    "warnings",
}
END_TO_END = [
    "faulty/gt201_where_with_sqrt_branch",
    "faulty/gt301_autoencoder_detached_code",
    "faulty/gt401_no_zero_grad",
    "faulty/gt701_softmax_before_cross_entropy",
    "healthy/gan_two_optimizers",
    "healthy/gradient_accumulation",
]


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
    return modules


def finding(code="GT301", severity="error", line=None, parameter=None, **changes):
    source = {"file": "/x/case.py", "line": line, "function": "f", "text": ""} if line else None
    where = {"parameter": parameter, "module": None, "op": None, "source": source, "optimizer": None, "rank": None}
    base = {"code": code, "severity": severity, "where": where, "parameters": [], "message": "", "cause": None}
    return {**base, "first_backward": 1, **changes}


def case_expecting(marked=(), **expectation):
    return Case(Path("faulty/case.py"), "", Expectation(("GT301",), **expectation), frozenset(marked))


def test_there_are_enough_cases():
    assert len(FAULTY) >= 100
    assert len(CASES) - len(FAULTY) >= 70


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_stands_alone_and_cites_its_source(case):
    assert case.title.endswith(".")
    docstring = ast.get_docstring(ast.parse(case.path.read_text(encoding="utf-8")))
    assert "\nSource: " in docstring
    assert imported_modules(case.path) <= ALLOWED_IMPORTS


@pytest.mark.parametrize("case", FAULTY, ids=lambda case: case.name)
def test_faulty_case_states_what_to_find(case):
    code = case.path.stem[:5].upper()
    assert code in case.expectation.codes
    assert bool(case.marked) >= case.expectation.line


def test_markers_are_comments_not_text():
    assert marked_lines('x = "# <- fault"\ny = 1  # <- fault\n') == {2}


def test_an_expectation_is_read_and_a_misspelt_one_refused():
    assert read_expectation("a.py", 'expect: {"code": "GT301", "where": {"module": "a"}}').places == ({"module": "a"},)
    with pytest.raises(ValueError, match="unknown keys in the expectation: lines"):
        read_expectation("a.py", 'expect: {"code": "GT301", "lines": true}')
    with pytest.raises(ValueError, match=r"expected one line 'expect: \{...\}' in the docstring, found 0"):
        read_expectation("a.py", "A title.")


def test_a_finding_counts_only_with_its_place_and_line():
    case = case_expecting(places=({"parameter": ["a.weight"]},), line=True, marked=[7])
    assert judge(case, [finding(line=7, parameter="a.weight")]).right
    assert judge(case, [finding(line=7, parameters=["a.weight"])]).right
    assert not judge(case, [finding(line=8, parameter="a.weight")]).right
    assert not judge(case, [finding(line=7, parameter="b.weight")]).right
    assert not judge(case, [finding("GT302", line=7, parameter="a.weight")]).right
    assert not judge(case, [finding(severity="note", line=7, parameter="a.weight")]).right


def test_the_line_may_stand_in_the_cause_where_there_is_no_source():
    case = case_expecting(line=True, marked=[7])
    assert judge(case, [finding(cause="cut by detach (case.py:7)")]).right
    assert not judge(case, [finding(cause="cut by detach (case.py:70)")]).right


def test_further_findings_are_listed_unless_allowed():
    case = case_expecting(also=("GT403",))
    verdict = judge(case, [finding(), finding("GT403"), finding("GT101", "warning"), finding("GT105", "note")])
    assert verdict.extra == ["GT101"]


def test_a_healthy_case_accepts_notes_only():
    healthy = Case(Path("healthy/case.py"), "", None)
    assert judge(healthy, [finding(severity="note")]).right
    assert not judge(healthy, [finding(severity="warning")]).right


def test_the_bar_fails_on_a_miss_an_alarm_and_a_failure():
    good = Verdict("a", faulty=True, code=True, place=True, line=True)
    calm = Verdict("b", faulty=False)
    assert summary([good, calm])[1]
    assert not summary([good, Verdict("c", faulty=True, code=True, place=False), calm])[1]
    assert not summary([good, Verdict("d", faulty=False, extra=["GT101"])])[1]
    assert not summary([good, failed(case_expecting(line=True), "no trace")])[1]
    assert not summary([good, failed(Case(Path("healthy/case.py"), "", None), "no trace")])[1]


def test_a_failure_misses_a_line_only_where_one_was_asked_for():
    assert failed(case_expecting(line=True), "no trace").line is False
    assert failed(case_expecting(), "no trace").line is None


@pytest.mark.slow
@pytest.mark.parametrize("name", END_TO_END)
def test_diagnosis_end_to_end(name):
    kind, _, stem = name.partition("/")
    verdict = evaluate(read_case(Path(__file__).parent / kind / f"{stem}.py"))
    assert verdict.right, verdict
    assert not verdict.extra, verdict
