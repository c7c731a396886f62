"""Whatever is wrong with what a command is given, it says so in one line and exits 2."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys

import pytest

from gradtrace.cli import COMMANDS
from gradtrace.launch.destination import TRACE_MARK
from gradtrace.store.schema import APPLICATION_ID

READERS = {name: ["TRACE"] for name in COMMANDS if name not in ("run", "rule", "watch")}
"""Commands that read a trace, with their arguments; `watch` first asks for a terminal."""
READERS["diff"] = ["TRACE", "TRACE"]
READERS["export"] = ["TRACE", "--to", "csv"]


def missing(path):
    return "does not exist"


def empty_folder(path):
    path.mkdir()
    return "holds no .gradtrace file"


def jpeg(path):
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 8)
    return "is no gradtrace trace"


def empty(path):
    path.write_bytes(b"")
    return "is no gradtrace trace"


def other_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    return "is no gradtrace trace"


def truncated(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return "is damaged"


def overwritten(path):
    whole = bytearray(path.read_bytes())
    for start in range(4096, len(whole) - 64, 4096):
        whole[start + 8 : start + 64] = os.urandom(56)
    path.write_bytes(whole)
    return "is damaged"


def newer(path):
    whole = bytearray(path.read_bytes())
    whole[60:64] = struct.pack(">I", 999)  # SQLite's user_version
    path.write_bytes(whole)
    return "newer gradtrace"


MADE = [missing, empty_folder, jpeg, empty, other_database]
SPOILED = [truncated, overwritten, newer]


@pytest.mark.parametrize("spoil", MADE + SPOILED, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("command", READERS)
def test_unreadable_trace(gradtrace_command, healthy_trace, tmp_path, command, spoil):
    path = healthy_trace if spoil in SPOILED else tmp_path / "other.gradtrace"
    expected = spoil(path)
    done = gradtrace_command(command, *(path.name if arg == "TRACE" else arg for arg in READERS[command]))
    assert expected in done.stderr
    assert path.name in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["show", "TRACE", "--backward", "99"], "backward 99 is not in TRACE (recorded: 1 to 20)"),
        (["show", "TRACE", "--backward", "-21"], "backward -21"),
        (["show", "TRACE", "--step", "99"], "fed step 99"),
        (["show", "TRACE", "--step", "1", "--backward", "1"], "exclude each other"),
        (["show", "TRACE", "--sort", "colour"], "'colour' is not one of"),
        (["show", "TRACE", "--rank", "7"], "has no rank 7"),
        (["show", "TRACE", "-o", "no/such/folder.txt"], "cannot be written"),
        (["show"], "Missing argument 'TRACE'"),
        (["check", "TRACE", "--format", "yaml"], "'yaml' is not one of"),
        (["check", "TRACE", "--select", "GT9"], "unknown finding code GT9"),
        (["check", "TRACE", "--threshold", "flow.decades=many"], "not GROUP.NAME=NUMBER"),
        (["check", "TRACE", "--threshold", "flow.speed=1"], "unknown threshold"),
        (["check", "TRACE", "--threshold", "flow.decades=nan"], "must be finite, not nan"),
        (["check", "TRACE", "--threshold", "flow.levels=inf"], "must be finite, not inf"),
        (["check", "TRACE", "-o", "findings.yaml"], "findings.yaml: no format has this ending"),
        (["show", "TRACE", "-o", "layers.xlsx"], "use one of .txt, .json, .csv"),
        (["diff", "TRACE", "-o", "parting.svgg"], "parting.svgg: no format has this ending"),
        (["check"], "Missing argument"),
        (["render", "TRACE", "-o", "graph.docx"], "unknown format 'docx'"),
        (["render", "TRACE", "--format", "docx"], "'docx' is not one of"),
        (["render", "TRACE", "--depth", "deep"], "'deep' is neither"),
        (["render", "TRACE", "--focus", "nowhere"], "nowhere"),
        (["render", "TRACE", "--path", "nowhere"], "nowhere"),
        (["render", "TRACE", "--backward", "99"], "backward 99"),
        (["rule", "GT999"], "GT999"),
        (["shwo"], "No such command 'shwo'"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_usage_errors(gradtrace_command, healthy_trace, args, expected):
    done = gradtrace_command(*(healthy_trace.name if arg == "TRACE" else arg for arg in args))
    assert expected.replace("TRACE", healthy_trace.name, 1 if "(recorded" in expected else 0) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert done.returncode == 2


def test_no_command_prints_help_and_exits_2(gradtrace_command):
    done = gradtrace_command()
    assert "Commands:" in done.stderr
    assert done.returncode == 2


def test_reader_of_the_pipe_goes_away(healthy_trace):
    process = subprocess.Popen(
        [sys.executable, "-m", "gradtrace", "show", str(healthy_trace), "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


NOWHERE = {
    "full": ("exec 1>/dev/full", "standard output cannot be written (No space left on device)"),
    "closed": ("exec 1>&-", "standard output is closed"),
}


@pytest.mark.parametrize("nowhere", NOWHERE)
@pytest.mark.parametrize(
    "args", [["show", "TRACE"], ["check", "TRACE"], ["render", "TRACE"], ["rule"], ["rule", "GT101"]]
)
def test_standard_output_takes_nothing(healthy_trace, args, nowhere):
    redirection, expected = NOWHERE[nowhere]
    command = [sys.executable, "-m", "gradtrace", *(str(healthy_trace) if arg == "TRACE" else arg for arg in args)]
    shell = ["sh", "-c", f'{redirection}; exec "$@"', "sh", *command]
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 2


def test_mark_of_a_trace_is_sqlites_application_id(healthy_trace):
    assert APPLICATION_ID.to_bytes(4, "big") == TRACE_MARK == healthy_trace.read_bytes()[68:72]
