"""Which line switched gradients off, read from the source around the running line."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from typing import TYPE_CHECKING, Any

import torch

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gradtrace.capture.sites import SiteTable

_SWITCHES = {"no_grad": None, "inference_mode": False, "set_grad_enabled": True}
"""By name: the argument with which it leaves gradients on."""


@functools.lru_cache(maxsize=256)
def _switches_of(filename: str) -> tuple[tuple[int, int, int, str], ...]:
    """(first line, last line, line of the switch, its name) of each `with` block and decorated function of a file."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:  # a notebook cell with magics, or a file that changed since it was imported
        return ()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.With, ast.AsyncWith)):
            contexts = [item.context_expr for item in node.items]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            contexts = node.decorator_list
        else:
            continue
        for context in contexts:
            name = _switch_name(context)
            if name:
                found.append((node.lineno, node.end_lineno or node.lineno, context.lineno, name))
    return tuple(found)


def _switch_name(context: ast.expr) -> str | None:
    """The name of what switches gradients off; None for anything else, such as `set_grad_enabled(True)`."""
    called = context.func if isinstance(context, ast.Call) else context
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
    given = _literal_argument(context)
    return name if name in _SWITCHES and (given is None or given is not _SWITCHES[name]) else None


def _literal_argument(context: ast.expr) -> object:
    """What a call is given where the source says it: None without arguments, or where one is computed."""
    if not isinstance(context, ast.Call):
        return None
    arguments = [*context.args, *(keyword.value for keyword in context.keywords)]
    return next((argument.value for argument in arguments if isinstance(argument, ast.Constant)), None)


def switch_site(sites: SiteTable, frame: FrameType | None) -> tuple[str, int] | None:
    """Name and site of the innermost `no_grad` (or kin) block or decorator around the user frames at and above
    `frame`."""
    user = sites.user_frame(frame)
    while user is not None:
        around = [switch for switch in _switches_of(user.f_code.co_filename) if switch[0] <= user.f_lineno <= switch[1]]
        if around:
            _, _, line, name = max(around, key=lambda switch: switch[0])
            return name, sites.number(user.f_code, line)
        user = sites.user_frame(user.f_back)
    return None


class GlobalSwitch:
    """Remembers which line of the program last called `torch.set_grad_enabled(False)` as a function."""

    def __init__(self, sites: SiteTable, guard: Callable[[BaseException], None]) -> None:
        self._sites = sites
        self._guard = guard
        self.site: int | None = None

    def patch(self) -> Callable[[], None]:
        """Watch the calls; returns what ends that."""
        return private.patch_attribute(torch.set_grad_enabled, "__init__", self._watching)

    def _watching(self, original: Any) -> Any:
        def init(switch: Any, mode: bool) -> None:
            original(switch, mode)
            try:
                self._note(mode, sys._getframe(1))
            except Exception as error:  # a fault of ours must not reach the user's program
                self._guard(error)

        return init

    def _note(self, mode: bool, caller: FrameType) -> None:
        if self._sites.user_frame(caller) is caller:
            self.site = None if mode else self._sites.number(caller.f_code, caller.f_lineno)
