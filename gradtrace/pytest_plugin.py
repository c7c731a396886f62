"""The pytest plugin: traces tests, and fails those whose gradients are not as they should be.

Importing it imports neither torch nor networkx; both come in when a test is traced.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from gradtrace.pytest_support.settings import Settings, add_options, wanted

if TYPE_CHECKING:
    from gradtrace.capture.live import LiveTrace
    from gradtrace.pytest_support.recorder import Recorder
    from gradtrace.pytest_support.snapshots import GradientSnapshots

_RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()
_MARKER = (
    "gradtrace(fail_on=CODES, **options): trace this test and fail it on these findings; options are those of trace"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    Settings.of_config(config).check()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    everything = Settings.of_config(config).everything
    for item in items:
        if isinstance(item, pytest.Function) and wanted(item, everything=everything):
            # A list of its own: parametrized tests share theirs. First, so that what other fixtures do is traced too.
            item.fixturenames = ["gradtrace", *(name for name in item.fixturenames if name != "gradtrace")]


@pytest.fixture
def gradtrace(request: pytest.FixtureRequest) -> Generator[LiveTrace, None, None]:
    """The trace of this test while it runs: `findings`, `graph()`, `gradients()` and all else of `gradtrace.Trace`."""
    from gradtrace.errors import GradtraceError
    from gradtrace.pytest_support.recorder import Recorder

    try:
        recorder = Recorder(request.node, Settings.of_item(request.node))
        trace = recorder.start()
    except (pytest.UsageError, GradtraceError) as error:
        pytest.fail(str(error), pytrace=False)
    request.node.stash[_RECORDER] = recorder
    try:
        yield trace
    finally:
        recorder.close()


@pytest.fixture
def gradtrace_snapshot(request: pytest.FixtureRequest) -> GradientSnapshots:
    """Compares the gradients of a loss with those kept beside the test: `gradtrace_snapshot(model, loss)`."""
    from gradtrace.pytest_support.snapshots import GradientSnapshots

    return GradientSnapshots(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        result = yield
    except pytest.skip.Exception:
        raise  # neither passed nor failed: nothing is noted or kept
    except BaseException:
        if _RECORDER in item.stash:
            item.stash[_RECORDER].end(failed=True)
        raise
    if _RECORDER in item.stash:
        problem = item.stash[_RECORDER].end(failed=False)
        if problem:
            pytest.fail(problem, pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from gradtrace.pytest_support.summary import write_summary

    write_summary(terminalreporter)
