"""Judges the diagnosis on the programs of `faulty/` and `healthy/`.

Each program is traced with `gradtrace run` and checked with `gradtrace check --format json`, in processes of their
own. A faulty program states in its docstring what is to be found, on one line:

    expect: {"code": "GT301", "where": {"parameter": ["encoder.weight"]}, "line": true}

`code` is the finding's code or a list of codes that are equally right. `where` maps keys of the finding's `where` to
the accepted values (`parameter` may also stand in the finding's `parameters`); a list of such maps holds alternatives.
`line` asks for one of the lines marked `# <- fault`. `backward` is the finding's first backward. `also` lists codes
that are true of the program besides. A healthy program expects nothing above a note.

Usage: evaluate.py [NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import sys
import tempfile
import tokenize
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MARKER = "# <- fault"
ALARMING = ("error", "warning")
PROCESSES = 2
TIMEOUT = 180.0
"""Seconds for one traced program; all of them end in a few, most of which is `import torch`."""
BAR = 95.0
"""Percent of the faulty programs whose code and place, and whose line, must be right."""

JSON = dict[str, Any]


@dataclass(frozen=True)
class Expectation:
    """What the diagnosis of a faulty program must say."""

    codes: tuple[str, ...]
    places: tuple[JSON, ...] = ()
    line: bool = False
    backward: int | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A program under test; `expectation` is None for a healthy one."""

    path: Path
    title: str
    expectation: Expectation | None
    marked: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"


@dataclass
class Verdict:
    """How the diagnosis did on one case; `extra` lists what else was raised above a note."""

    name: str
    faulty: bool
    code: bool | None = None
    place: bool | None = None
    line: bool | None = None
    extra: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def right(self) -> bool:
        if self.failure is not None:
            return False
        return bool(self.place) and self.line is not False if self.faulty else not self.extra


def read_case(path: Path) -> Case:
    """The case at `path`. Raises ValueError where a faulty program states no expectation, or a malformed one."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    title = docstring.partition("\n")[0]
    if path.parent.name != "faulty":
        return Case(path, title, None)
    return Case(path, title, read_expectation(path.name, docstring), marked_lines(text))


def read_expectation(name: str, docstring: str) -> Expectation:
    lines = [line.removeprefix("expect: ") for line in docstring.splitlines() if line.startswith("expect: ")]
    if len(lines) != 1:
        raise ValueError(f"{name}: expected one line 'expect: {{...}}' in the docstring, found {len(lines)}")
    data = json.loads(lines[0])
    unknown = set(data) - {"code", "where", "line", "backward", "also"}
    if unknown:
        raise ValueError(f"{name}: unknown keys in the expectation: {', '.join(sorted(unknown))}")
    return Expectation(
        codes=tuple(as_list(data["code"])),
        places=tuple(as_list(data.get("where", []))),
        line=data.get("line", False),
        backward=data.get("backward"),
        also=tuple(data.get("also", [])),
    )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def marked_lines(text: str) -> frozenset[int]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return frozenset(token.start[0] for token in tokens if token.type == tokenize.COMMENT and token.string == MARKER)


def find_cases(filters: list[str]) -> list[Case]:
    """All cases whose name contains one of the filters; every case without filters."""
    cases = [read_case(path) for kind in ("faulty", "healthy") for path in sorted((HERE / kind).glob("*.py"))]
    return [case for case in cases if not filters or any(part in case.name for part in filters)]


def diagnose(script: Path, folder: Path) -> list[JSON]:
    """The findings of the traced program. Raises RuntimeError with one line where tracing or checking failed."""
    trace = folder / "case.gradtrace"
    run = gradtrace("run", "-o", str(trace), str(script), folder=folder)
    broken = [line for line in run.stderr.splitlines() if line.startswith("gradtrace: internal error")]
    if broken or not trace.exists():
        raise RuntimeError(broken[0] if broken else f"no trace was written: {last_line(run.stderr)}")
    check = gradtrace("check", str(trace), "--format", "json", folder=folder)
    if check.returncode not in {0, 1} or not check.stdout:
        raise RuntimeError(f"check exited {check.returncode}: {last_line(check.stderr)}")
    findings: list[JSON] = json.loads(check.stdout)["findings"]
    return findings


def gradtrace(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradtrace", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=folder, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"gradtrace {arguments[0]} did not end in {TIMEOUT:.0f} s") from error


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "(nothing on stderr)")


def judge(case: Case, findings: list[JSON]) -> Verdict:
    """Compares the findings with what the case expects."""
    raised = [finding for finding in findings if finding["severity"] in ALARMING]
    verdict = Verdict(case.name, faulty=case.expectation is not None, found=[describe(f) for f in findings])
    expectation = case.expectation
    if expectation is None:
        verdict.extra = sorted({finding["code"] for finding in raised})
        return verdict
    coded = [finding for finding in raised if finding["code"] in expectation.codes]
    placed = [finding for finding in coded if is_placed(finding, expectation)]
    verdict.code, verdict.place = bool(coded), bool(placed)
    if expectation.line:
        verdict.line = any(names_line(finding, case) for finding in placed)
    allowed = {*expectation.codes, *expectation.also}
    verdict.extra = sorted({finding["code"] for finding in raised} - allowed)
    return verdict


def describe(finding: JSON) -> str:
    where = finding["where"]
    source = where["source"]
    line = f":{source['line']}" if source else ""
    place = where["parameter"] or where["module"] or where["op"] or where["optimizer"] or ""
    return f"{finding['code']} {finding['severity']} {place}{line} | {finding['message']}"


def is_placed(finding: JSON, expectation: Expectation) -> bool:
    if expectation.backward is not None and finding["first_backward"] != expectation.backward:
        return False
    return not expectation.places or any(matches(finding, place) for place in expectation.places)


def matches(finding: JSON, place: JSON) -> bool:
    return all(values_of(finding, key).intersection(as_list(accepted)) for key, accepted in place.items())


def values_of(finding: JSON, key: str) -> set[str]:
    named = {finding["where"][key]}
    return named | set(finding["parameters"]) if key == "parameter" else named


def names_line(finding: JSON, case: Case) -> bool:
    """Whether the finding's source, or a `file.py:LINE` in its text where it has no source, is a marked line."""
    source = finding["where"]["source"]
    if source:
        return Path(source["file"]).name == case.path.name and source["line"] in case.marked
    text = f"{finding['message']} {finding['cause']} "
    return any(f"{case.path.name}:{line}{end}" in text for line in case.marked for end in " ,.;:)")


def evaluate(case: Case) -> Verdict:
    """Traces, checks and judges one case in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="gradtrace-case-") as folder:
        try:
            return judge(case, diagnose(case.path, Path(folder)))
        except (RuntimeError, ValueError, KeyError) as error:
            return failed(case, f"{type(error).__name__}: {error}")


def failed(case: Case, failure: str) -> Verdict:
    """The verdict where there is no diagnosis to judge: everything that was expected is missed."""
    if case.expectation is None:
        return Verdict(case.name, faulty=False, failure=failure)
    line = False if case.expectation.line else None
    return Verdict(case.name, faulty=True, code=False, place=False, line=line, failure=failure)


def percent(verdicts: list[Verdict], key: str) -> tuple[float, int, int]:
    """Share of the verdicts to which `key` applies where it is true; with nothing to judge the share is 100."""
    judged = [verdict for verdict in verdicts if getattr(verdict, key) is not None]
    good = sum(bool(getattr(verdict, key)) for verdict in judged)
    return (100.0 * good / len(judged) if judged else 100.0), good, len(judged)


def row(verdict: Verdict) -> str:
    marks = {True: "yes", False: "NO", None: "-"}
    cells = [marks[verdict.code], marks[verdict.place], marks[verdict.line]] if verdict.faulty else ["", "", ""]
    note = verdict.failure or " ".join(verdict.extra)
    return f"{verdict.name:<58} {cells[0]:<5} {cells[1]:<6} {cells[2]:<5} {note}".rstrip()


def summary(verdicts: list[Verdict]) -> tuple[list[str], bool]:
    """The totals as lines, and whether they pass the bar."""
    faulty = [verdict for verdict in verdicts if verdict.faulty]
    healthy = [verdict for verdict in verdicts if not verdict.faulty]
    lines, shares = [], {}
    for key, words in (("code", "right code"), ("place", "right code and place"), ("line", "right line")):
        shares[key], good, total = percent(faulty, key)
        lines.append(f"{words:<34} {good:>4} of {total:<4} {shares[key]:5.1f} %")
    extra = sum(bool(verdict.extra) for verdict in faulty)
    alarms = sum(not verdict.right for verdict in healthy)
    lines.append(f"{'faulty with a further finding':<34} {extra:>4} of {len(faulty)}")
    lines.append(f"{'healthy with a false alarm':<34} {alarms:>4} of {len(healthy)}")
    return lines, shares["place"] >= BAR and shares["line"] >= BAR and not alarms


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge the diagnosis on known faults and healthy programs.")
    parser.add_argument("names", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict with its findings here")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the findings of each case that is not right")
    options = parser.parse_args(arguments)
    cases = find_cases(options.names)
    if not cases:
        parser.error(f"no case is named like {' or '.join(options.names)}")

    print(f"{'case':<58} {'code':<5} {'place':<6} {'line':<5} further or false")
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(PROCESSES) as pool:
        for verdict in pool.map(evaluate, cases):
            verdicts.append(verdict)
            print(row(verdict), flush=True)
            if options.verbose and verdict.found and (not verdict.right or verdict.extra):
                print(*(f"    {line}" for line in verdict.found), sep="\n")
    lines, passed = summary(verdicts)
    print("", *lines, sep="\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=2), encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
