"""Run by python at the start of each interpreter that a traced program starts (see `launch/environment.py`).

It takes the place of a `sitecustomize` that the user may have, so it runs that one first.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def _run_the_users_own() -> None:
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != _FOLDER]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = sys.modules["sitecustomize"] = module_from_spec(spec)
    spec.loader.exec_module(module)


def _trace() -> None:
    try:
        from gradtrace.launch.child import begin
    except ImportError:  # an interpreter of another environment, without gradtrace
        return
    begin()


try:
    _run_the_users_own()
finally:
    _trace()
