"""Everything in a process that a tracer could leave changed behind itself."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Landscape(NamedTuple):
    """The state of the process; `differences` compares two of them."""

    attributes: dict[tuple[str, str], Any]
    """Every callable of every torch module and of every class in it, by identity."""
    hook_counts: dict[tuple[str, str], int]
    """Sizes of the registries of global hooks."""
    settings: dict[str, Any]
    threads: set[str]
    files: set[str]


def survey() -> Landscape:
    """The present state."""
    attributes: dict[tuple[str, str], Any] = {}
    hook_counts: dict[tuple[str, str], int] = {}
    for name, module in list(sys.modules.items()):
        if name == "torch" or name.startswith("torch."):
            _survey_module(name, module, attributes, hook_counts)
    return Landscape(attributes, hook_counts, _settings(), _threads(), _files())


def _survey_module(
    name: str, module: Any, attributes: dict[tuple[str, str], Any], hooks: dict[tuple[str, str], int]
) -> None:
    for key, value in list(vars(module).items()):
        if "hook" in key and issubclass(type(value), dict):
            hooks[name, key] = len(value)
        if issubclass(type(value), type) and value.__module__ == name:
            for attribute, member in list(vars(value).items()):
                if callable(member) or isinstance(member, (classmethod, staticmethod, property)):
                    attributes[f"{name}.{key}", attribute] = member
        elif callable(value):
            attributes[name, key] = value


def _saved_tensor_hooks() -> Any:
    """The innermost default hooks; torch before 2.7 does not tell."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return None if top is None else top(False)


def _settings() -> dict[str, Any]:
    return {
        "function modes": len(torch.overrides._get_current_function_mode_stack()),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "saved tensor hooks": _saved_tensor_hooks(),
        "trace": sys.gettrace(),
        "profile": sys.getprofile(),
        "excepthook": sys.excepthook,
        "filters": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "recursion": sys.getrecursionlimit(),
        "folder": str(Path.cwd()),
    }


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("gradtrace")}


def _files() -> set[str]:
    opened = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)}
    temporary = {str(path) for path in Path(tempfile.gettempdir()).glob("gradtrace-*")}
    return {path for path in opened if "gradtrace" in path} | temporary


def differences(before: Landscape, after: Landscape) -> list[str]:
    """What changed, in words; empty where nothing was left behind."""
    found = [
        f"{owner}.{name} was replaced"
        for (owner, name), value in before.attributes.items()
        if (owner, name) in after.attributes and after.attributes[owner, name] is not value
    ]
    found += [
        f"{key} had {count} hooks, has {after.hook_counts[key]}"
        for key, count in before.hook_counts.items()
        if after.hook_counts.get(key) != count
    ]
    found += [
        f"{key}: {value!r} became {after.settings[key]!r}"
        for key, value in before.settings.items()
        if after.settings[key] != value
    ]
    found += [f"thread {name} is left" for name in after.threads - before.threads]
    found += [f"file {name} is left" for name in after.files - before.files]
    return found
