"""The table of layers for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields

from gradtrace.renderers.findings import Verdict
from gradtrace.renderers.findings.json import to_dict
from gradtrace.renderers.jsonable import dumps
from gradtrace.renderers.layers import Layer

_COLUMNS = tuple(item.name for item in fields(Layer) if item.name != "history")


def to_csv(layers: Sequence[Layer]) -> str:
    """One line a layer; what is not known is empty."""
    output = io.StringIO()
    writer = csv.DictWriter(output, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(layer.to_dict() for layer in layers)
    return output.getvalue()


def to_json(verdict: Verdict, layers: Sequence[Layer]) -> str:
    """The verdict as `gradtrace check --format json` has it, with one key more: `layers`."""
    return dumps(to_dict(verdict) | {"layers": [layer.to_dict() for layer in layers]})
