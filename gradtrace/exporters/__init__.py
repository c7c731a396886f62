"""A finished trace in the formats of other tools. Each writer is imported with its library when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gradtrace.errors import GradtraceError, MissingToolError

if TYPE_CHECKING:
    import os

    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

FORMATS = {
    "csv": "one file a table",
    "parquet": "a dataset partitioned by rank",
    "tensorboard": "event files",
    "wandb": "an offline run of Weights & Biases",
    "mlflow": "a run in a local MLflow store",
}

_PACKAGES = {"parquet": "pyarrow", "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""What a format needs; it is also what its extra installs."""

_EXTRAS = {"parquet": "parquet", "tensorboard": "tensorboard"}

_GROWING = ("wandb", "mlflow")
"""Formats whose folder holds many runs; the others get a folder of their own."""

Advance = Callable[[int], object]
"""Told how many backwards were written since the last call."""


def export(
    recordings: Sequence[Recording],
    findings: Sequence[Finding],
    format: str,
    out: str | os.PathLike[str],
    *,
    advance: Advance = lambda backwards: None,
) -> Path:
    """Write all ranks of a trace to the folder `out`.

    Raises GradtraceError for an unknown format or a folder that is not empty, MissingToolError without the library.
    """
    write = _writer(format)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise GradtraceError(f"{folder} is a file; export writes a folder, name another one with -o")
    if format not in _GROWING and folder.is_dir() and any(folder.iterdir()):
        raise GradtraceError(f"{folder} is not empty; name another folder with -o, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    write(recordings, findings, folder, advance)
    return folder


def _writer(format: str) -> Callable[..., object]:
    """The function that writes a format: of our own, or of a plugin."""
    if format not in FORMATS:
        from gradtrace import plugins

        added = plugins.exporters()
        if format not in added:
            known = ", ".join([*FORMATS, *added])
            raise GradtraceError(f"export to {format!r} is not known; choose one of {known}")
        return added[format]
    try:
        write: Callable[..., object] = import_module(f"gradtrace.exporters.{format}_files").write
    except ModuleNotFoundError as error:
        raise _missing(format, error) from error
    return write


def _missing(format: str, error: ModuleNotFoundError) -> Exception:
    package = _PACKAGES.get(format)
    if package is None or (error.name or "").partition(".")[0] == "gradtrace":
        return error
    what = f"gradtrace[{_EXTRAS[format]}]" if format in _EXTRAS else package
    return MissingToolError(f"export to {format} needs {package}; install it with: pip install '{what}'")
