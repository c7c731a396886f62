"""How a traced program's python processes learn that they are to be traced: two environment variables.

`PYTHONPATH` leads each new interpreter to `site/sitecustomize.py`, which python runs at its start, and `GRADTRACE_RUN`
holds what that needs to know. Interpreters that are told to ignore the environment (`python -I`, `-E`) are not traced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "GRADTRACE_RUN"

SITE = str(Path(__file__).with_name("site"))


@dataclass(frozen=True)
class Inheritance:
    """What a process of a traced program is told: the run that it belongs to, where traces go, the options of the
    tracer, and what `cli.options.RuleOptions` holds."""

    run: str
    path: str
    options: dict[str, Any]
    rules: dict[str, Any]

    @classmethod
    def read(cls) -> Inheritance | None:
        """That of this process; None where it is no child of a traced program."""
        text = os.environ.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    def hand_on(self) -> Callable[[], None]:
        """Have every python started from now on traced; returns what ends that."""
        before = {name: os.environ.get(name) for name in (VARIABLE, "PYTHONPATH")}
        os.environ[VARIABLE] = json.dumps(asdict(self))
        path = before["PYTHONPATH"]
        os.environ["PYTHONPATH"] = os.pathsep.join([SITE, path] if path else [SITE])
        return lambda: _restore(before)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
