"""Gradients kept beside the tests, to compare the next run with."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradtrace.pytest_support.names import plain_file_name
from gradtrace.renderers.jsonable import dumps
from gradtrace.rules.wording import listed

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = "__gradients__"
"""Beside the test file; to be committed."""

_UPDATE = "run pytest with --gradtrace-update to keep it, and look at the difference before you commit it"


class GradientSnapshots:
    """The fixture `gradtrace_snapshot`: call it with a model and a loss."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._update = bool(item.config.getoption("gradtrace_update"))
        self._calls = 0

    def __call__(self, model: nn.Module, loss: Tensor, *, rtol: float = 1e-3, name: str | None = None) -> None:
        """Compare the gradients of `loss` with those kept under the test's name (and `name`, or a running number).

        The graph must have the same ops, and each parameter's gradient the same norm within `rtol`. Norms are kept, not
        gradients: they fit a text file, and survive another order of summation. Fails the test where they differ, or
        where nothing is kept yet; with --gradtrace-update keeps what is there now.
        """
        __tracebackhide__ = True
        self._calls += 1
        path = self._path(name or (str(self._calls) if self._calls > 1 else ""))
        now = _measure(model, loss)
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dumps(now), "utf-8")
            return
        if not path.exists():
            pytest.fail(f"no gradients are kept in {path}; {_UPDATE}", pytrace=False)
        problems = list(_differences(json.loads(path.read_text("utf-8")), now, rtol))
        if problems:
            pytest.fail("\n  ".join([f"gradients differ from {path}; {_UPDATE}", *problems]), pytrace=False)

    def _path(self, suffix: str) -> Path:
        file = Path(self._item.path)
        parts = [file.stem, self._item.nodeid.partition("::")[2], suffix]
        return file.parent / FOLDER / f"{plain_file_name('-'.join(filter(None, parts)))}.json"


def _measure(model: nn.Module, loss: Tensor) -> dict[str, Any]:
    from gradtrace.testing.measure import measure_gradients, norm

    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    found, snapshot = measure_gradients(model, loss, list(parameters.values()))
    ops = Counter(node.op for node in snapshot.nodes if node.op)
    norms = {
        name: None if gradient is None else float(f"{norm(gradient):.8g}")
        for name, gradient in zip(parameters, found, strict=True)
    }
    return {"ops": dict(sorted(ops.items())), "norms": norms}


def _differences(kept: Mapping[str, Any], now: Mapping[str, Any], rtol: float) -> Iterator[str]:
    ops = [
        f"{op} {kept['ops'].get(op, 0)} -> {now['ops'].get(op, 0)}"
        for op in sorted(kept["ops"].keys() | now["ops"].keys())
        if kept["ops"].get(op, 0) != now["ops"].get(op, 0)
    ]
    if ops:
        yield f"the graph has other ops: {listed(ops)}"
    gone, new = kept["norms"].keys() - now["norms"].keys(), now["norms"].keys() - kept["norms"].keys()
    if gone or new:
        yield f"the model has other parameters: {listed([*(f'- {n}' for n in gone), *(f'+ {n}' for n in new)])}"
    for name, before in kept["norms"].items():
        if name in now["norms"] and not _close(before, now["norms"][name], rtol):
            yield f"{name}: norm {before} -> {now['norms'][name]}"


def _close(before: float | str | None, now: float | None, rtol: float) -> bool:
    if before is None or now is None:
        return before is now
    # Not finite is kept as text, which float reads: a NaN equals a NaN here, it is the same gradient as before.
    value = float(before)
    return math.isclose(value, now, rel_tol=rtol) or (math.isnan(value) and math.isnan(now))
