"""Settings of a project: `[tool.gradtrace]` of the nearest pyproject.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gradtrace.errors import GradtraceError
from gradtrace.rules.selection import split_codes
from gradtrace.rules.thresholds import Thresholds

_KEYS = ("select", "ignore", "thresholds")


@dataclass(frozen=True)
class Config:
    """What `diagnose` takes besides the recording. `path` is the file it was read from."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    path: Path | None = None

    def options(self) -> dict[str, Any]:
        """What differs from the defaults, as `diagnose` and `gradtrace.trace` take it."""
        thresholds = {} if self.thresholds == Thresholds() else asdict(self.thresholds)
        given = {"select": self.select, "ignore": self.ignore, "thresholds": thresholds}
        return {name: value for name, value in given.items() if value}


def load_config(folder: str | Path = ".") -> Config:
    """The settings for programs in `folder`: the nearest pyproject.toml upwards that has `[tool.gradtrace]`.

    Keys are `select` and `ignore` (codes or their beginnings) and `thresholds`, tables as in `Thresholds`. Without such
    a file the defaults. Raises GradtraceError where the file does not parse or holds an unknown key.
    """
    here = Path(folder).resolve()
    for parent in (here, *here.parents):
        path = parent / "pyproject.toml"
        table = _table(path) if path.is_file() else None
        if table is not None:
            return _config(table, path)
    return Config()


def _table(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("gradtrace")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GradtraceError(f"{path} is no valid TOML: {error}") from error


def _config(table: Any, path: Path) -> Config:
    if not isinstance(table, Mapping):
        raise GradtraceError(f"{path}: tool.gradtrace must be a table, not {table!r}")
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise GradtraceError(f"{path}: unknown key tool.gradtrace.{unknown[0]}; known here: {', '.join(_KEYS)}")
    try:
        return Config(
            select=_codes(table.get("select", ())),
            ignore=_codes(table.get("ignore", ())),
            thresholds=Thresholds.of(table.get("thresholds")),
            path=path,
        )
    except GradtraceError as error:
        raise GradtraceError(f"{path}: {error}") from error


def _codes(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, (list, tuple)) or not all(isinstance(code, str) for code in given):
        raise GradtraceError(f"select and ignore must be lists of codes, not {given!r}")
    return tuple(split_codes(given))
