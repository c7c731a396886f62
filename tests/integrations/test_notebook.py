"""What a notebook shows: the example is executed by a real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradtrace.model import Finding, Source, Where

EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of Jupyter's own


@pytest.fixture(scope="module")
def executed():
    """The outputs of each code cell, by its first line."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLE, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return {cell.source.splitlines()[0]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def bundle(outputs):
    (data,) = [output["data"] for output in outputs if "data" in output]
    return data


def test_a_traced_cell_shows_its_trace(executed):
    shown = bundle(executed["%%gradtrace healthy"])
    assert shown["text/plain"].startswith("no findings in 30 backwards")
    assert "<pre" in shown["text/html"]


def test_a_graph_draws_itself(executed):
    assert "<svg" in bundle(executed["healthy.graph()"])["image/svg+xml"]


def test_a_finding_shows_the_line_of_its_cell(executed):
    assert "GT704" in bundle(executed["%%gradtrace broken"])["text/plain"]
    shown = bundle(executed["broken.findings[0]"])
    assert "error = model(inputs) - targets[:, 0]" in shown["text/plain"]
    assert "GT704" in shown["text/html"]


def test_the_example_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    assert all(not cell.get("outputs") for cell in nbformat.read(EXAMPLE, as_version=4).cells)


@pytest.fixture
def shell():
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "gradtrace")
    yield shell
    InteractiveShell.clear_instance()


def test_an_error_in_the_cell_reaches_the_user_and_the_trace_stays(shell, capsys):
    shell.run_cell("import torch")
    cell = (
        "%%gradtrace t --graph first\nw = torch.ones(2, requires_grad=True)\nw.sum().backward()\nraise KeyError('mine')"
    )
    assert isinstance(shell.run_cell(cell).error_in_exec, KeyError)
    assert shell.user_ns["t"].backwards == 1
    assert shell.user_ns["t"].recording().closed


@pytest.mark.parametrize("options", ["--every 0", "--graph often", "-o /dev/null/t.gradtrace"])
def test_a_bad_option_is_one_line(shell, capsys, options):
    result = shell.run_cell(f"%%gradtrace {options}\npass")
    assert result.error_in_exec is not None
    shown = capsys.readouterr()
    assert len((shown.out + shown.err).splitlines()) == 1
    assert "UsageError: " in shown.out + shown.err


def test_one_graph_in_so_many(shell, capsys):
    assert shell.run_cell("%%gradtrace few --graph 3\npass").success
    assert shell.user_ns["few"].recording().meta["options"]["graph"] == 3


def test_other_graphs_stay_as_they_are(shell):
    import networkx as nx

    from gradtrace.integrations.notebook import draw_graph

    assert draw_graph(nx.MultiDiGraph([(1, 2)])) is None


def test_unloading(shell):
    shell.run_line_magic("unload_ext", "gradtrace")
    assert "gradtrace" not in shell.magics_manager.magics["cell"]


def test_a_finding_is_escaped():
    where = Where(source=Source("<script>.py", 3, "f", "x < y"))
    shown = Finding("GT201", "nan-gradient", "error", "NaN in <lambda>", where)._repr_mimebundle_()
    assert "NaN in <lambda>" in shown["text/plain"]
    assert "NaN in &lt;lambda&gt;" in shown["text/html"]
    assert "<script>" not in shown["text/html"]
