"""What other packages add to gradtrace: rules, formats and exporters.

A package names a module under the entry point group "gradtrace", and the module has functions marked with `hookimpl`:

    # pyproject.toml
    [project.entry-points.gradtrace]
    mine = "my_package.gradtrace_plugin"

    # my_package/gradtrace_plugin.py
    from gradtrace.plugins import hookimpl

    @hookimpl
    def gradtrace_rules():
        return [MyRule()]

Plugins are loaded when rules, formats or exporters are first asked for, never by `gradtrace --help`.
"""

from __future__ import annotations

from functools import cache, wraps
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from gradtrace.console import say
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    GraphFormat = Callable[[Any], str | bytes]
    FindingFormat = Callable[[Sequence[Any]], str]
    Exporter = Callable[[Sequence[Any], Sequence[Any], Path, Callable[[int], object]], object]

GROUP = "gradtrace"
"""Of the entry points, and of the hooks."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """What a plugin may have. Each is called once, without arguments."""

    @hookspec
    def gradtrace_rules(self) -> Iterable[Any]:  # type: ignore[empty-body]
        """`gradtrace.rules.Rule`s with codes of your own, such as ACME101; "GT" is taken."""

    @hookspec
    def gradtrace_graph_formats(self) -> Mapping[str, GraphFormat]:  # type: ignore[empty-body]
        """For `gradtrace render --format NAME`: from a graph, as `Trace.graph` gives it, to text or bytes."""

    @hookspec
    def gradtrace_finding_formats(self) -> Mapping[str, FindingFormat]:  # type: ignore[empty-body]
        """For `gradtrace check --format NAME`: from `renderers.findings.Verdict`s, one a trace, to text."""

    @hookspec
    def gradtrace_exporters(self) -> Mapping[str, Exporter]:  # type: ignore[empty-body]
        """For `gradtrace export --to NAME`: called with recordings (one a rank), findings, an empty folder and a
        function that is to be told how many backwards were written."""


@cache
def manager() -> pluggy.PluginManager:
    """All plugins that are installed. One that cannot be loaded is left out, which is said once."""
    plugins = pluggy.PluginManager(GROUP)
    plugins.add_hookspecs(Hooks)
    for entry in entry_points(group=GROUP):
        try:
            plugins.register(entry.load(), name=entry.name)
            plugins.check_pending()
        except Exception as error:  # noqa: BLE001  a plugin's fault must not take the rest along
            say(f"gradtrace: plugin {entry.name} ({entry.value}) is left out: {type(error).__name__}: {error}")
            if plugins.has_plugin(entry.name):
                plugins.unregister(name=entry.name)
    return plugins


def rules() -> list[Any]:
    """The rules of all plugins."""
    return [rule for _, found in _answers(manager().hook.gradtrace_rules) for rule in found]


def graph_formats() -> dict[str, GraphFormat]:
    """By name."""
    return _merged(manager().hook.gradtrace_graph_formats)


def finding_formats() -> dict[str, FindingFormat]:
    """By name."""
    return _merged(manager().hook.gradtrace_finding_formats)


def exporters() -> dict[str, Exporter]:
    """By name."""
    return _merged(manager().hook.gradtrace_exporters)


def _merged(hook: Any) -> dict[str, Any]:
    return {name: _blaming(plugin, value) for plugin, found in _answers(hook) for name, value in found.items()}


def _answers(hook: Any) -> Iterator[tuple[str, Any]]:
    """Each plugin's name and what it gives, the last installed first, as pluggy calls them."""
    for implementation in reversed(hook.get_hookimpls()):
        plugin = implementation.plugin_name
        yield plugin, _blaming(plugin, implementation.function)()


def _blaming(plugin: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose exceptions become one line that names the plugin."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise blame(f"plugin {plugin}", error, "repair or uninstall it") from error

    return call


def blame(what: str, error: Exception, remedy: str) -> GradtraceError:
    """The error to raise in the place of one that a plugin raised; one of ours as it is."""
    if isinstance(error, GradtraceError):
        return error
    return GradtraceError(f"{what} failed ({type(error).__name__}: {error}); {remedy}")
