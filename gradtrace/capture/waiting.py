"""Notice that a process begins to train, at next to no cost to one that never does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.autograd.graph as autograd_graph
from torch import nn
from torch.nn.modules import module as module_hooks

from gradtrace.capture import private


def when_training_begins(begin: Callable[[], None]) -> None:
    """Call `begin` once, before the first backward, or the first forward of a module that wants gradients, or when the
    first optimizer is made."""
    _Waiting(begin).install()


class _Waiting:
    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._process = os.getpid()
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        self._undo = [
            module_hooks.register_module_forward_pre_hook(self._entered).remove,
            self._before(torch.optim.Optimizer, "__init__"),
            self._before(torch, "compile"),
            private.patch_engine(self._before_engine),
        ]

    def _over(self) -> None:
        while self._undo:
            self._undo.pop()()
        begin, self._begin = self._begin, _nothing
        if os.getpid() == self._process:
            begin()

    def _entered(self, module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in module.parameters()):
            self._over()

    def _before(self, owner: Any, name: str) -> Callable[[], None]:
        """Begin at a call of `owner.name`, which then goes to what has begun where that listens to it, too."""

        def patched(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                self._over()
                current = getattr(owner, name)
                return (original if current is wrapper else current)(*args, **kwargs)

            return wrapper

        return private.patch_attribute(owner, name, patched)

    def _before_engine(self, engine: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            self._over()
            current = autograd_graph._engine_run_backward
            return engine(*args, **kwargs) if current is run else current(*args, **kwargs)

        return run


def _nothing() -> None:
    """What begins once has begun."""
