"""`gradtrace run` leaves a program as plain python would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import pytest

SCRIPT = """
import os, pickle, sys

class Thing:
    pass

def fail():
    raise ValueError("as asked")

print(sys.argv, sys.path[0], os.getcwd())
print(__name__, __file__, __package__, __doc__, sorted(globals()))
print(sys.modules["__main__"].Thing is type(pickle.loads(pickle.dumps(Thing()))))
ending = sys.argv[1] if len(sys.argv) > 1 else "return"
if ending == "raise":
    fail()
if ending == "raise from":
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("chained") from error
if ending == "interrupt":
    raise KeyboardInterrupt
if ending.startswith("exit"):
    sys.exit(eval(ending[4:]))
"""

ENDINGS = [
    "return",
    "raise",
    "raise from",
    "interrupt",
    "exit(None)",
    "exit(7)",
    "exit(-1)",
    "exit(True)",
    "exit('bye')",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "script.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "wrong.py").write_text("x = = 3\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("import sys\nprint(sys.argv, sys.path[0], __package__)\n")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("VALUE = 42\n")
    (package / "__main__.py").write_text("import sys\nfrom .helper import VALUE\nprint(VALUE, sys.argv[1:])\n")
    return tmp_path


def both(folder, *args):
    """The same program under python and under gradtrace."""
    plain = [sys.executable, *args]
    traced = [sys.executable, "-m", "gradtrace", "run", "--quiet", *args]
    return [subprocess.run(command, cwd=folder, capture_output=True, text=True) for command in (plain, traced)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_script_ends_as_under_python(folder, ending):
    plain, traced = both(folder, "sub/script.py", ending, "-o", "--quiet", "--", "x")
    assert traced.stdout == plain.stdout
    assert traced.stderr == plain.stderr
    assert traced.returncode == plain.returncode


@pytest.mark.parametrize("args", [["wrong.py"], ["./sub/script.py", "raise"], ["app", "a"], ["-m", "package", "-m"]])
def test_forms_of_programs(folder, args):
    plain, traced = both(folder, *args)
    assert (traced.stdout, traced.stderr, traced.returncode) == (plain.stdout, plain.stderr, plain.returncode)


def test_zip_file(folder):
    with zipfile.ZipFile(folder / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", "import sys\nprint(sys.argv, sys.path[0])\n")
    plain, traced = both(folder, "app.pyz", "a")
    assert traced.stdout == plain.stdout != ""


def test_module_raising_shows_no_frame_of_ours(folder):
    (folder / "package" / "bad.py").write_text("1 / 0\n")
    _, traced = both(folder, "-m", "package.bad")
    assert traced.returncode == 1
    assert "ZeroDivisionError" in traced.stderr
    assert "gradtrace" not in traced.stderr


def test_spawned_workers_find_the_main_module(folder):
    (folder / "workers.py").write_text(
        textwrap.dedent("""
        import multiprocessing

        def square(x):
            return x * x

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                print(pool.map(square, range(4)))
        """)
    )
    plain, traced = both(folder, "workers.py")
    assert traced.stdout == plain.stdout == "[0, 1, 4, 9]\n"


def test_threads_that_outlive_the_main_module_are_waited_for(folder):
    (folder / "threads.py").write_text(
        textwrap.dedent("""
        import atexit, threading, time
        from concurrent.futures import ThreadPoolExecutor

        def work():
            time.sleep(0.2)
            print("worked")

        atexit.register(print, "at exit")
        executor = ThreadPoolExecutor(1)
        executor.submit(print, "in a pool")
        threading.Thread(target=work).start()
        """)
    )
    plain, traced = both(folder, "threads.py")
    assert traced.stdout == plain.stdout
    assert traced.stdout.splitlines() == ["in a pool", "worked", "at exit"]


def test_forked_child_does_not_end_the_trace(folder):
    (folder / "fork.py").write_text(
        "import os, sys\nif os.fork():\n    os.wait()\nelse:\n    sys.exit(3)\nprint('parent')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "gradtrace", "run", "fork.py"], cwd=folder, capture_output=True, text=True
    )
    assert done.stdout == "parent\n"
    assert done.stderr.count("nothing was traced") == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_as_they_end_python(folder, sent):
    (folder / "wait.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    codes = []
    for command in ([], ["-m", "gradtrace", "run"]):
        process = subprocess.Popen(
            [sys.executable, *command, "wait.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        os.kill(process.pid, sent)
        _, errors = process.communicate(timeout=20)
        codes.append(process.returncode)
        assert "gradtrace/cli" not in errors
    assert codes == [-sent, -sent]


def test_excepthook_of_the_program_is_called(folder):
    (folder / "hook.py").write_text("import sys\nsys.excepthook = lambda *_: print('hooked')\n1 / 0\n")
    plain, traced = both(folder, "hook.py")
    assert (traced.stdout, traced.returncode) == (plain.stdout, plain.returncode) == ("hooked\n", 1)


def test_program_without_torch_says_that_nothing_was_traced(folder, gradtrace_process):
    done = gradtrace_process("run", "sub/script.py")
    assert "never imported torch" in done.stderr
    assert not list(folder.glob("*.gradtrace"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["none.py"], "none.py: no such script; for a module use `gradtrace run -m none`"),
        (["-m", "no_such_module"], "no module named 'no_such_module'"),
        (["-m", "package.none"], "no module named 'package.none'"),
        (["-m", "xml"], "'xml' is a package without __main__"),
        (["sub"], "holds no __main__.py"),
        ([], "Missing argument 'PROGRAM'"),
        (["--graph", "often", "sub/script.py"], "'often' is neither"),
        (["--every", "0", "sub/script.py"], "0 is not in the range"),
        (["--threshold", "flow.decades", "sub/script.py"], "is not GROUP.NAME=NUMBER"),
        (["--threshold", "flow.no=1", "sub/script.py"], "unknown threshold"),
        (["--select", "GT9", "sub/script.py"], "GT9"),
        (["-o", "sub/script.py", "sub/script.py"], "exists and is no trace"),
        (["-o", "sub", "sub/script.py"], "is a folder"),
        (["--no-such", "sub/script.py"], "No such option"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(folder, gradtrace_process, args, expected):
    done = gradtrace_process("run", *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
