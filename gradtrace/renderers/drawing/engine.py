"""The program that lays a drawing out and writes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from gradtrace.errors import GradtraceError, MissingToolError

BUNDLED = "graphviz-pure"
VARIABLE = "GRADTRACE_DOT"
"""Environment variable that names a system graphviz to use instead of the bundled one, such as "dot"."""


class LayoutTimeoutError(GradtraceError):
    """The engine did not finish within its time."""


def program(format: str, engine: str | None) -> str:
    """The path of the engine for `format`. MissingToolError where it is not installed.

    The bundled one is looked for beside the running Python first, so that it is found in a virtual environment that is
    not activated. It writes no PDF: that takes a system graphviz.
    """
    wanted = engine or os.environ.get(VARIABLE) or ("dot" if format == "pdf" else BUNDLED)
    beside = Path(sys.executable).parent / wanted
    found = str(beside) if wanted == BUNDLED and beside.exists() else shutil.which(wanted)
    if found is None:
        raise MissingToolError(_missing(wanted, format))
    if format == "pdf" and Path(found).name.startswith(BUNDLED):
        raise MissingToolError(f"{BUNDLED} writes no PDF; install graphviz (its `dot`) or render to SVG")
    return found


def _missing(wanted: str, format: str) -> str:
    if wanted == BUNDLED:
        return f"cannot find {BUNDLED}, which draws the graph; run `pip install {BUNDLED}`"
    purpose = "PDF needs a system graphviz" if format == "pdf" else "it was asked for as layout engine"
    return f"cannot find {wanted!r} ({purpose}); install graphviz, or render to SVG with the bundled engine"


def run(dot: str, format: str, *, engine: str | None = None, placed: bool = False, seconds: float = 60.0) -> bytes:
    """Lay `dot` out and return the picture; with `placed` nodes stay where their `pos` is.

    Raises LayoutTimeoutError after `seconds`, GradtraceError where the engine fails.
    """
    command = [program(format, engine), f"-T{format}", *(["-Kneato", "-n2"] if placed else ["-Kdot"])]
    try:
        done = subprocess.run(command, input=dot.encode(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise LayoutTimeoutError(
            f"the layout took more than {seconds:.0f} s; fold the graph (--depth, --focus)"
        ) from error
    except OSError as error:
        raise MissingToolError(f"cannot start {command[0]}: {error.strerror}") from error
    if done.returncode or not done.stdout:
        reason = next(
            (line for line in done.stderr.decode(errors="replace").splitlines() if "rror" in line), "no reason given"
        )
        raise GradtraceError(f"{Path(command[0]).name} failed with exit status {done.returncode}: {reason}")
    return done.stdout
