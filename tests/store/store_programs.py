"""Programs under test, run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent

ENDLESS = """
    import itertools, sys
    from gradtrace.store import journaling, writer
    from store_examples import fill, snapshot
    if sys.argv[2] != "WAL":
        journaling.choose = lambda path: sys.argv[2]
    trace = writer.Writer(sys.argv[1], {})
    for number in itertools.count(1):
        fill(trace, 1, 50, first=number)
        trace.put_snapshot(snapshot(number))
        trace.flush()
        print(number, flush=True)
"""


def python(program, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finished(process):
    """Its output, after it has ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out
