"""A python program, run in this process as `python` would run it.

The program finds `sys.argv`, `sys.path[0]`, `__main__`, tracebacks and its exit status as it would under plain python,
so that pickling, spawned DataLoader workers and relative imports work.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
import threading
import zipfile
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import NoReturn

from gradtrace.cli.tracebacks import without_tracer
from gradtrace.console import say
from gradtrace.errors import GradtraceError


@dataclass(frozen=True)
class Outcome:
    """How a program ended. `exception` is its text where one was the end, `interrupted` says that Ctrl-C was."""

    exit_code: int = 0
    exception: str | None = None
    interrupted: bool = False

    def leave(self) -> NoReturn:
        """End this process as the program ended."""
        if self.interrupted:
            # Only an unhandled KeyboardInterrupt makes the interpreter end by SIGINT, which is how a shell knows to
            # stop the loop around it. The traceback is printed already.
            sys.excepthook = _silent
            raise KeyboardInterrupt
        sys.exit(self.exit_code)


@dataclass(frozen=True)
class Program:
    """A script, a folder or zip file with a `__main__.py`, or (`is_module`) the dotted name of a module."""

    target: str
    args: tuple[str, ...] = ()
    is_module: bool = False

    @property
    def name(self) -> str:
        """`train` for `src/train.py`, `tool` for the module `tool.__main__`."""
        if self.is_module:
            parts = [part for part in self.target.split(".") if part != "__main__"]
            return parts[-1] if parts else self.target
        return Path(self.target).stem or Path(self.target).resolve().name

    def check(self) -> None:
        """Raise GradtraceError where there is no such script; a module is only looked for when it runs."""
        if not self.is_module and not Path(self.target).exists():
            module = self.target.removesuffix(".py").replace("/", ".")
            raise GradtraceError(f"{self.target}: no such script; for a module use `gradtrace run -m {module}`")

    def execute(self) -> Outcome:
        """Run the program to its end and print its traceback, if any.

        Raises GradtraceError where there is no such program.
        """
        try:
            module, code = self._load()
            exec(code, module.__dict__)  # noqa: S102  running the user's program is the purpose
            _wait_for_threads()
        except GradtraceError as error:
            if _is_own(error.__traceback__):
                raise
            return _failure(error)
        except SystemExit as error:
            return _exit_status(error)
        except BaseException as error:  # noqa: BLE001  whatever ends the program is reported as python reports it
            return _failure(error)
        return Outcome()

    def _load(self) -> tuple[ModuleType, CodeType]:
        if self.is_module:
            _set_path(Path.cwd())
            sys.argv = ["-m", *self.args]
            spec = _find_module(self.target)
            sys.argv[0] = spec.origin or self.target
            return _module_main(spec)
        sys.argv = [self.target, *self.args]
        if Path(self.target).is_dir() or zipfile.is_zipfile(self.target):
            _set_path(Path(self.target).absolute())
            found = PathFinder.find_spec("__main__", [self.target])
            if found is None:
                raise GradtraceError(f"{self.target}: holds no __main__.py; name the script to run")
            return _module_main(found)
        _set_path(Path(self.target).resolve().parent)
        return _script_main(self.target)


def _script_main(script: str) -> tuple[ModuleType, CodeType]:
    # Joined, not normalised: this is the name that python shows in tracebacks.
    path = os.path.join(os.getcwd(), script)  # noqa: PTH109, PTH118
    main = _new_main()
    main.__file__ = path
    main.__loader__ = SourceFileLoader("__main__", path)
    main.__dict__["__cached__"] = None
    with io.open_code(path) as file:
        source = file.read()
    return main, compile(source, path, "exec", dont_inherit=True)


def _module_main(spec: ModuleSpec) -> tuple[ModuleType, CodeType]:
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code else None
    if code is None:
        raise GradtraceError(f"{spec.name}: holds no python code to run; name a module or script that does")
    main = _new_main()
    main.__file__ = spec.origin
    main.__loader__ = spec.loader
    main.__package__ = spec.parent
    main.__spec__ = spec
    main.__dict__["__cached__"] = spec.cached
    return main, code


def _new_main() -> ModuleType:
    main = ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    vars(main)["__annotations__"] = {}
    sys.modules["__main__"] = main
    return main


def _find_module(name: str) -> ModuleSpec:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    if spec is None:
        raise GradtraceError(
            f"no module named {name!r} here; run it from the folder from which `python -m {name}` works"
        )
    if spec.submodule_search_locations is None:
        return spec
    if name.endswith(".__main__") or find_spec(f"{name}.__main__") is None:
        raise GradtraceError(f"{name!r} is a package without __main__; name a module in it")
    return _find_module(f"{name}.__main__")


def _set_path(folder: str | Path) -> None:
    if not getattr(sys.flags, "safe_path", False):  # `python -P` puts no folder there that could be replaced
        sys.path[0] = str(folder)


def _wait_for_threads() -> None:
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    if any(not thread.daemon for thread in others):
        # What the interpreter itself calls next. Joining the threads one by one would hang on the idle workers of a
        # ThreadPoolExecutor, which only this call releases.
        threading._shutdown()  # type: ignore[attr-defined]


def _exit_status(error: SystemExit) -> Outcome:
    if error.code is None:
        return Outcome(0)
    if isinstance(error.code, int):
        return Outcome(error.code & 0xFF)
    sys.stdout.flush()
    say(str(error.code))  # as the interpreter does
    return Outcome(1, exception=f"SystemExit: {error.code}")


def _failure(error: BaseException) -> Outcome:
    trace = error.__traceback__
    while _is_own_frame(trace):
        trace = trace.tb_next if trace else None
    error.__traceback__ = trace
    without_tracer(error)
    sys.stdout.flush()
    sys.excepthook(type(error), error, error.__traceback__)
    text = f"{type(error).__name__}: {error}"
    return Outcome(1, exception=text, interrupted=isinstance(error, KeyboardInterrupt))


def _is_own(trace: TracebackType | None) -> bool:
    while trace is not None and _is_own_frame(trace):
        trace = trace.tb_next
    return trace is None


def _is_own_frame(trace: TracebackType | None) -> bool:
    return trace is not None and trace.tb_frame.f_code.co_filename == __file__


def _silent(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An excepthook for what is printed already."""
