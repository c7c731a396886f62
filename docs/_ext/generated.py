"""Pages made from the code itself: one a finding, and the table of private torch calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradtrace.rules import RULES
from gradtrace.rules.base import Rule

DOCS = Path(__file__).parents[1]
PACKAGE = DOCS.parent / "gradtrace"

FAMILIES = {
    "1": "Magnitude",
    "2": "Not finite",
    "3": "Reach",
    "4": "The training loop",
    "5": "Several ranks",
    "6": "Correctness",
    "7": "The graph",
}
"""The digit after GT, and what its findings are about."""


def rule_page(rule: Rule) -> str:
    """The page of one code, as `gradtrace rule CODE` prints it."""
    parts = [f"# {rule.code} {rule.name}"]
    for heading, text in rule.page.sections():
        parts += [f"## {heading}", _body(text)]
    return "\n\n".join(parts) + "\n"


def _body(text: str) -> str:
    """What has line breaks of its own is code."""
    text = text.strip("\n")
    return f"```python\n{text}\n```" if "\n" in text else _escaped(text)


def _escaped(text: str) -> str:
    """Markdown's own characters outside of code, such as `|W|` and `a_b * c`, stay as they are."""
    outside = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>|\[\]{}$])", r"\\\1", part) for part in outside)


def index_page() -> str:
    """All codes by family."""
    parts = [
        "# Findings",
        "Each finding has a code that never changes its meaning. `gradtrace rule CODE` prints its page.",
    ]
    for family, title in FAMILIES.items():
        found = [rule for rule in RULES if rule.code[2] == family]
        if found:
            parts += [f"## GT{family}: {title}", "\n".join(_table(found))]
    listed = "\n".join(rule.code for rule in RULES)
    parts.append(f"```{{toctree}}\n:hidden:\n\n{listed}\n```")
    return "\n\n".join(parts) + "\n"


def _table(found: list[Rule]) -> Iterator[str]:
    yield "| code | name | what it means |"
    yield "| --- | --- | --- |"
    for rule in found:
        yield f"| [{rule.code}]({rule.code}.md) | {rule.name} | {_escaped(' '.join(rule.page.meaning.split()))} |"


def private_calls() -> str:
    """The table in the docstring of `capture/private.py`."""
    module = ast.parse((PACKAGE / "capture" / "private.py").read_text(encoding="utf-8"))
    docstring = ast.get_docstring(module) or ""
    return "\n".join(line for line in docstring.splitlines() if line.startswith("|"))


def write_rule_pages(folder: Path) -> None:
    """Every rule's page and their index."""
    folder.mkdir(exist_ok=True)
    pages = {"index": index_page()} | {rule.code: rule_page(rule) for rule in RULES}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for stale in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in pages}:
        stale.unlink()


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry point."""
    write_rule_pages(DOCS / "rules")
    app.config.myst_substitutions["private_calls"] = private_calls()
    return {"parallel_read_safe": True, "parallel_write_safe": True}
