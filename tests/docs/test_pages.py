"""The code of the documentation, run as a reader would; and its links.

A page is a program: `python` blocks share one namespace, a `{code-block}` with a caption is a file of that name, and in
a `console` block the lines after `$` are run and their output compared with what stands below (`...` for anything).
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\{code-block\} )?(\w+)\n(?::caption: (\S+)\n\n?)?(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
WIDE = {**os.environ, "COLUMNS": "120"}
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    language: str
    caption: str | None
    text: str


def blocks(page):
    return [
        Block(language, caption, text) for _, language, caption, text in BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def written_pages():
    """What people wrote: not the pages generated from rules."""
    return sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "rules" and "_build" not in path.parts)


def runnable_pages():
    """All with code but the one for contributors, whose block lists an interface."""
    pages = [path for path in written_pages() if path.name != "architecture.md"]
    return [path for path in pages if any(block.language in ("python", "console") for block in blocks(path))]


def identify(path):
    return path.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", runnable_pages(), ids=identify)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for number, block in enumerate(blocks(page)):
        if block.caption:
            Path(block.caption).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            file = Path(f"block{number}.py")
            file.write_text(block.text, encoding="utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # findings are shown as warnings, and pages are about findings
                exec(compile(block.text, str(file), "exec"), namespace)
        elif block.language == "console":
            run_console(block.text)


def run_console(text):
    for command, expected in commands(text):
        arguments = shlex.split(command)
        program = {"gradtrace": ["-m", "gradtrace"], "python": []}[arguments[0]]
        run = subprocess.run(
            [sys.executable, *program, *arguments[1:]], capture_output=True, text=True, check=False, env=WIDE
        )
        assert run.returncode in (0, 1), f"{command}\n{run.stderr}"
        if expected:
            assert doctest.OutputChecker().check_output(expected, run.stdout, LOOSE), f"{command}\n{run.stdout}"


def commands(text):
    """Each command of a block, with the output shown below it."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    return zip(parts[::2], parts[1::2], strict=True)


@pytest.mark.parametrize("page", written_pages(), ids=identify)
def test_links_lead_somewhere(page):
    from gradtrace.rules import RULES

    generated = {f"{rule.code}.md" for rule in RULES} | {"index.md"}
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(prose):
        if "://" in target:
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        known = path.name in generated if path.parent == DOCS / "rules" else path.exists()
        assert known, f"{page.name} links to {target}"


def test_every_rule_has_a_page_that_says_what_its_command_says(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from generated import index_page, rule_page

    from gradtrace.rules import RULES

    for rule in RULES:
        assert f"[{rule.code}]({rule.code}.md)" in index_page()
        page = rule_page(rule)
        assert all(f"## {heading}" in page for heading, _ in rule.page.sections())


def test_private_calls_are_listed(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from generated import private_calls

    assert "_engine_run_backward" in private_calls()


def test_pages_are_in_a_table_of_contents():
    listed = "\n".join(block for page in written_pages() for block in toctrees(page))
    for page in written_pages():
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert name == "index" or re.search(rf"^{re.escape(name)}$|^{re.escape(page.stem)}$", listed, re.MULTILINE), (
            name
        )


def toctrees(page):
    return re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_every_public_name_is_in_the_reference():
    import gradtrace
    import gradtrace.testing

    reference = (DOCS / "api.md").read_text(encoding="utf-8")
    wanted = {f"gradtrace.{name}" for name in gradtrace.__all__ if not name.endswith(("Error", "Raised"))}
    wanted |= {name for name in vars(gradtrace.testing) if name.startswith("assert_")}
    assert {name for name in wanted if name not in reference} == set()
