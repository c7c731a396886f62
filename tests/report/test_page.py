"""The report page as a document: what it holds, how large it is, and that no name can break out of it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from traces import write_trace

import gradtrace
from gradtrace.errors import GradtraceError, MissingToolError
from gradtrace.model import ABSENT, STATISTICS, Finding, Parameter
from gradtrace.renderers.page import library, report
from gradtrace.renderers.page.layout import Outline, lay_out
from gradtrace.renderers.page.series import CODES, encode, read_ratios, read_series
from gradtrace.store.writer import Writer

pytest.importorskip("bokeh")

HOSTILE = "</script><img src=x onerror=alert(1)><!--"


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of each script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def parsed(page: Path) -> Elements:
    elements = Elements()
    elements.feed(page.read_text(encoding="utf-8"))
    return elements


def data_of(page: Path) -> dict:
    return json.loads(parsed(page).scripts[0])


def decoded(matrix: dict, shape: tuple[int, int]) -> np.ndarray:
    """What data.js makes of the codes."""
    codes = np.frombuffer(base64.b64decode(matrix["codes"]), "<u2").reshape(shape)
    values = 10 ** (matrix["low"] + (codes.astype(float) - 3) * (matrix["high"] - matrix["low"]) / (CODES - 1))
    return np.select([codes == 0, codes == 1, codes == 2], [np.nan, 0, np.inf], values)


def test_a_page_names_nothing_outside_of_itself(chain_trace, tmp_path):
    page = report(gradtrace.load(chain_trace), tmp_path / "page.html")
    elements = parsed(page)
    loading = [
        value for tag, attributes in elements.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(value.startswith(("#", "data:")) for value in loading)
    policy = next(attributes["content"] for tag, attributes in elements.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert len(elements.scripts) == 3


def test_findings_lead_to_rows_and_source(chain_trace, finding, tmp_path):
    data = data_of(report(gradtrace.load(chain_trace), tmp_path / "page.html", findings=[finding]))
    told = data["findings"][0]
    assert told["rows"] == [1]
    assert data["rows"][1]["name"] == "layer1.weight"
    file, line, function = data["sources"]["places"][told["source"]]
    assert (line, function) == (5, "forward")
    assert data["sources"]["files"][file]["4"] == "def forward(self, x):"


def test_names_cannot_break_out(tmp_path):
    path = write_trace(
        tmp_path / "hostile.gradtrace", backwards=3, layers=2, name=HOSTILE, meta={"argv": [HOSTILE, "\udc80"]}
    )
    evil = Finding("GT101", HOSTILE, "error", HOSTILE, cause=HOSTILE)
    page = report(gradtrace.load(path), tmp_path / "page.html", findings=[evil])
    elements = parsed(page)
    assert not [tag for tag, _ in elements.tags if tag == "img"]
    assert len(elements.scripts) == 3
    assert json.loads(elements.scripts[0])["findings"][0]["message"] == HOSTILE


def test_budget_of_a_long_run(tmp_path):
    path = write_trace(tmp_path / "long.gradtrace", backwards=1000, layers=200, snapshots=(1, 10, 100))
    page = report(gradtrace.load(path), tmp_path / "page.html")
    assert page.stat().st_size < 6e6
    data = data_of(page)
    assert len(data["columns"]["number"]) == 1000
    assert len(data["rows"]) == 200
    assert not any("coarsened" in note for note in data["notes"])


def test_a_column_shows_the_largest_loss_that_is_known(tmp_path, monkeypatch):
    trace = gradtrace.load(write_trace(tmp_path / "long.gradtrace", backwards=9000, layers=100))
    known = trace.recording().backwards().copy()
    known["loss"][::3] = np.nan
    known["loss"][1::3] = np.inf
    monkeypatch.setattr(type(trace.recording()), "backwards", lambda self: known)
    losses = data_of(report(trace, tmp_path / "page.html"))["columns"]["loss"]
    assert losses == pytest.approx(known["loss"][2::3], rel=1e-4)


def test_longer_runs_are_coarsened_and_say_so(tmp_path):
    path = write_trace(tmp_path / "long.gradtrace", backwards=9000, layers=100, change=(4322, 7, 1e6))
    trace = gradtrace.load(path)
    page = report(trace, tmp_path / "page.html")
    data = data_of(page)
    assert "coarsened: 9,000 backwards in 3,000 columns of 3; each shows the largest value in it" in data["notes"]
    assert page.stat().st_size < 6e6
    norms = decoded(data["statistics"]["norm"], (3000, 100))
    column = next(at for at, number in enumerate(data["columns"]["number"]) if number > 4322) - 1
    assert norms[column, 7] > 1e4 * norms[column - 1, 7]


def test_codes_keep_three_digits_and_every_special_value(chain_trace):
    values = np.array([[ABSENT, 0, np.inf], [1e-30, 3.14159, 2.5e20]], np.float32)
    found = decoded(encode(values), values.shape)
    assert np.isnan(found[0, 0])
    assert found[0, 1] == 0
    assert np.isinf(found[0, 2])
    np.testing.assert_allclose(found[1], values[1], rtol=1e-3)


def test_series_are_what_was_recorded(chain_trace):
    recording = gradtrace.load(chain_trace).recording()
    series = read_series(recording)
    np.testing.assert_array_equal(series.statistics["norm"], recording.statistic("norm"))
    coarse = read_series(recording, cells=60)
    np.testing.assert_array_equal(coarse.statistics["norm"], recording.statistic("norm").reshape(10, 4, 6).max(axis=1))


def test_update_ratios_of_optimizers_that_take_turns(tmp_path):
    path = write_trace(tmp_path / "turns.gradtrace", backwards=9, layers=2)
    writer = Writer(tmp_path / "own.gradtrace", {"version": "0.1.0", "argv": []})
    with gradtrace.load(path) as source, closing(writer):
        recording = source.recording()
        writer.put_parameters(recording.parameters)
        writer.put_block(
            recording.backwards(),
            recording.loop(),
            np.stack([recording.statistic(name) for name in STATISTICS], axis=1),
        )
        for step, row in ((2, [0.5, np.nan]), (4, [np.nan, 0.25]), (6, [1.0, np.nan])):
            writer.put_sample("update_norm", step, np.array(row, np.float32))
            writer.put_sample("weight_norm", step, np.array([2.0, 2.0], np.float32))
    with gradtrace.load(tmp_path / "own.gradtrace") as trace:
        at, ratios = read_ratios(trace.recording(), read_series(trace.recording()))
    assert at == [1, 3, 5]
    np.testing.assert_array_equal(ratios, np.array([[0.25, ABSENT], [0.25, 0.125], [0.5, 0.125]], np.float32))


def test_many_parameters_become_modules(tmp_path, monkeypatch):
    monkeypatch.setattr("gradtrace.renderers.page.series.ROWS", 3)
    path = write_trace(tmp_path / "wide.gradtrace", backwards=4, layers=6, name="block.layer")
    data = data_of(report(gradtrace.load(path), tmp_path / "page.html"))
    assert [row["name"] for row in data["rows"]] == ["block"]
    assert "coarsened: 6 parameters in 1 rows, by module" in data["notes"]
    norms = gradtrace.load(path).recording().statistic("norm")
    np.testing.assert_allclose(
        decoded(data["statistics"]["norm"], (4, 1))[:, 0], np.linalg.norm(norms, axis=1), rtol=1e-3
    )


def test_graph_goes_down_to_single_ops(chain_trace, tmp_path):
    graph = data_of(report(gradtrace.load(chain_trace), tmp_path / "page.html"))["graphs"][0]
    top, inner = graph["views"][""], graph["views"]["layer3"]
    assert {box["title"] for box in top["boxes"] if box["kind"] == "module"} == {f"layer{at}" for at in range(6)}
    assert {box["title"] for box in inner["boxes"]} == {"Addmm", "weight", "from layer4", "to layer2"}
    addmm = next(box for box in inner["boxes"] if box["title"] == "Addmm")
    assert graph["measured"] == [1, 2, 5, 20]
    assert addmm["flow"] == [0.125, 0.0625, 0.025, 0.00625]


def test_modules_built_alike_share_a_layout(chain_trace, tmp_path):
    data = data_of(report(gradtrace.load(chain_trace), tmp_path / "page.html"))
    views = data["graphs"][0]["views"]
    assert views["layer2"]["layout"] == views["layer3"]["layout"]
    assert len(data["layouts"]) < len(views)


@pytest.mark.parametrize("boxes", [4, 300])
def test_layouts_keep_boxes_apart_and_on_the_sheet(boxes):
    edges = tuple((at, at + 1) for at in range(boxes - 1))
    layout = lay_out([Outline(((96, 56),) * boxes, edges)])[0]
    assert len(layout.edges) == len(edges)
    assert len(set(layout.centres)) == boxes
    assert all(48 <= x <= layout.size[0] - 47 and 28 <= y <= layout.size[1] - 27 for x, y in layout.centres)


def test_layout_without_the_engine(monkeypatch):
    def fail(*args, **options):
        raise MissingToolError("no engine")

    monkeypatch.setattr("gradtrace.renderers.page.layout.engine.run", fail)
    assert len(lay_out([Outline(((96, 56), (96, 56)), ((0, 1),))])[0].centres) == 2


@pytest.mark.parametrize("layers", [0, 3])
def test_a_trace_without_backwards_has_a_page(tmp_path, layers):
    path = write_trace(tmp_path / "empty.gradtrace", backwards=0, layers=layers, snapshots=())
    data = data_of(report(gradtrace.load(path), tmp_path / "page.html"))
    assert data["headline"] == "no backward was recorded"
    assert "no graph was recorded" in data["no_graph"]


def test_an_unfinished_trace_says_so(tmp_path):
    path = write_trace(tmp_path / "open.gradtrace", backwards=3, layers=2, close=False)
    notes = data_of(report(gradtrace.load(path), tmp_path / "page.html"))["notes"]
    assert any("still being written" in note for note in notes)


def test_ranks(tmp_path):
    for rank in (0, 1):
        write_trace(
            tmp_path / f"rank{rank}.gradtrace", backwards=3 + rank, layers=2, meta={"rank": rank, "world_size": 2}
        )
    data = data_of(report(gradtrace.load(tmp_path), tmp_path / "page.html", rank=1, findings=[]))
    assert len(data["columns"]["number"]) == 4
    assert any("rank 1" in note for note in data["notes"])


def test_without_bokeh_one_line_says_what_to_install(chain_trace, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"pip install 'gradtrace\[report\]'"):
        report(gradtrace.load(chain_trace), tmp_path / "page.html")


def test_an_unwritable_page_is_one_clear_line(chain_trace, tmp_path):
    with pytest.raises(GradtraceError, match="cannot be written"):
        report(gradtrace.load(chain_trace), tmp_path / "missing" / "page.html")


def test_command(chain_trace, tmp_path):
    program = (
        "import sys; from gradtrace.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "assert 'torch' not in sys.modules and 'bokeh' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "report", str(chain_trace)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report.html\n"
    assert re.match(r"<!doctype html>", (tmp_path / "report.html").read_text(encoding="utf-8"))


def test_parameters_of_one_row_know_their_shape(chain_trace, tmp_path):
    row = data_of(report(gradtrace.load(chain_trace), tmp_path / "page.html"))["rows"][0]
    assert row["size"] == Parameter(0, "", shape=(4, 8)).numel
    assert row["shape"] == "4×8"
