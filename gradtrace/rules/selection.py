"""Choosing rules by code or by the beginning of one: GT3 is the whole family, GT301 one rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from gradtrace.errors import GradtraceError
from gradtrace.rules.base import Rule

_R = TypeVar("_R", bound=Rule)


def split_codes(given: str | Iterable[str]) -> list[str]:
    """`"GT1,GT301"` and `["gt1", "GT301"]` alike, as upper-case codes or prefixes."""
    parts = [given] if isinstance(given, str) else list(given)
    return [code.upper() for part in parts for code in re.split(r"[,\s]+", part) if code]


def chosen(rules: Sequence[_R], select: str | Iterable[str], ignore: str | Iterable[str]) -> list[_R]:
    """The rules that `select` names (all where it is empty) less those that `ignore` names.

    The longer prefix wins, so that `select=["GT301"], ignore=["GT3"]` is GT301 alone. Raises GradtraceError on a code
    that no rule begins with.
    """
    wanted, unwanted = split_codes(select), split_codes(ignore)
    for code in (*wanted, *unwanted):
        _check_known(code, rules)
    everything = 0 if not wanted else -1
    return [rule for rule in rules if _depth(rule, wanted, everything) > _depth(rule, unwanted, -1)]


def _depth(rule: Rule, prefixes: Iterable[str], otherwise: int) -> int:
    """Length of the longest prefix of the rule's code."""
    return max((len(prefix) for prefix in prefixes if rule.code.startswith(prefix)), default=otherwise)


def _check_known(code: str, rules: Sequence[Rule]) -> None:
    if not any(rule.code.startswith(code) for rule in rules):
        known = ", ".join(sorted({rule.code for rule in rules}))
        raise GradtraceError(f"unknown finding code {code}; known are {known}, or the beginning of one such as GT1")
