"""Where in the program something is said to have happened."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gradtrace.capture.sites import SiteTable

LIBRARY = Path(sysconfig.get_paths()["purelib"]) / "loops" / "optimizer.py"


@pytest.fixture
def step() -> Callable[[Callable[[FrameType], int]], int]:
    """A function of an installed package that hands its own frame on."""
    module: dict[str, Any] = {}
    exec(compile("import sys\ndef step(note):\n    return note(sys._getframe())", LIBRARY, "exec"), module)
    made: Callable[[Callable[[FrameType], int]], int] = module["step"]
    return made


def test_a_loop_in_an_installed_package_is_placed_where_the_program_calls_it(step: Callable[..., int]) -> None:
    sites = SiteTable()
    inner = sites.source(step(sites.here))
    outer = sites.source(step(sites.own))
    line = sys._getframe().f_lineno - 1
    assert inner is not None
    assert outer is not None
    assert (Path(inner.file).name, inner.line) == ("optimizer.py", 3)
    assert (Path(outer.file).name, outer.line) == (Path(__file__).name, line)


def test_a_program_that_is_installed_as_a_whole_is_placed_in_itself(step: Callable[..., int]) -> None:
    """In a thread of its own nothing but the installed function is on the stack."""
    sites = SiteTable()
    with ThreadPoolExecutor(1) as pool:
        source = sites.source(pool.submit(step, sites.own).result())
    assert source is not None
    assert (Path(source.file).name, source.line) == ("optimizer.py", 3)
