"""What is exported, read back by the tools that it is for."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from traces import write_trace

import gradtrace
from gradtrace.cli.export import command
from gradtrace.errors import GradtraceError, MissingToolError
from gradtrace.exporters import FORMATS, export
from gradtrace.model import Finding

FINDING = Finding("GT102", "exploding-gradient", "error", "it grows", first_backward=4, parameters=("layer2.weight",))


@pytest.fixture
def trace(tmp_path: Path):
    """Twenty backwards of three layers; from the fourth on the gradient of the last one is not finite."""
    path = write_trace(
        tmp_path / "run.gradtrace", backwards=20, layers=3, change=(4, 2, math.inf), meta={"started": 1e9}
    )
    with gradtrace.load(path) as loaded:
        yield loaded


@pytest.fixture
def ranks(tmp_path: Path):
    """Two ranks of five backwards and two layers."""
    folder = tmp_path / "ranks"
    folder.mkdir()
    for rank in (0, 1):
        write_trace(
            folder / f"{rank}.gradtrace", backwards=5, layers=2, seed=rank, meta={"rank": rank, "world_size": 2}
        )
    with gradtrace.load(folder) as loaded:
        yield loaded


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_every_number(trace, tmp_path):
    folder = export(trace.recordings, [FINDING], "csv", tmp_path / "out")
    rows = read_csv(folder / "gradients.csv")
    norms = np.array([float(row["norm"]) for row in rows], np.float32).reshape(20, 3)
    np.testing.assert_array_equal(norms, trace.recording().statistic("norm"))
    assert rows[0]["parameter"] == "layer0.weight"
    backwards = read_csv(folder / "backwards.csv")
    assert [float(row["loss"]) for row in backwards] == [1 / number for number in range(1, 21)]
    assert read_csv(folder / "updates.csv")[0]["update_norm"] == str(float(np.float32(0.01)))
    assert json.loads(read_csv(folder / "findings.csv")[0]["parameters"]) == ["layer2.weight"]
    assert read_csv(folder / "parameters.csv")[2]["shape"] == "4x8"


def test_missing_gradients_are_no_rows(tmp_path):
    path = write_trace(tmp_path / "run.gradtrace", backwards=6, layers=2, absent=(5, 1))
    with gradtrace.load(path) as trace:
        folder = export(trace.recordings, [], "csv", tmp_path / "out")
    rows = read_csv(folder / "gradients.csv")
    assert len(rows) == 11
    assert ("5", "layer1.weight") not in {(row["backward"], row["parameter"]) for row in rows}


def test_parquet_is_read_as_a_dataset(ranks, tmp_path):
    folder = export(ranks.recordings, [FINDING], "parquet", tmp_path / "out")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(folder / "gradients").to_pandas()
    assert len(table) == 20
    assert set(table["rank"].astype(int)) == {0, 1}
    own = table[table["rank"].astype(int) == 1]["norm"].to_numpy().reshape(5, 2)
    np.testing.assert_array_equal(own, ranks.recording(1).statistic("norm"))
    assert pq.read_table(folder / "findings").to_pylist()[0]["code"] == "GT102"


def test_parquet_of_several_runs_is_one_dataset(ranks, trace, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    export(ranks.recordings, [], "parquet", tmp_path / "all" / "run=a")
    export(trace.recordings, [], "parquet", tmp_path / "all" / "run=b")
    # Spark takes a path for partitions only where no other folder lies between the first and the last of them.
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("gradients/*")}
    assert names == {
        f"all/run={file}.parquet" for file in ("a/gradients/rank0", "a/gradients/rank1", "b/gradients/rank0")
    }
    duckdb = pytest.importorskip("duckdb")
    query = f"SELECT DISTINCT run, rank FROM '{tmp_path}/all/*/gradients/*.parquet' ORDER BY ALL"
    assert duckdb.sql(query).fetchall() == [("a", 0), ("a", 1), ("b", 0)]
    assert pq.read_schema(tmp_path / "all/run=a/gradients/rank1.parquet").field("rank").type == "int64"


def test_parquet_in_duckdb_and_polars(ranks, tmp_path):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    folder = export(ranks.recordings, [], "parquet", tmp_path / "out")
    query = f"SELECT rank, count(*) FROM '{folder}/gradients/*.parquet' GROUP BY rank ORDER BY rank"
    assert duckdb.sql(query).fetchall() == [(0, 10), (1, 10)]
    frame = polars.read_parquet(folder / "backwards")
    assert frame["rank"].to_list() == [0] * 5 + [1] * 5
    assert frame["loss"].to_list() == 2 * [1 / number for number in range(1, 6)]


def test_parquet_tells_nan_from_null(trace, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    folder = export(trace.recordings, [], "parquet", tmp_path / "out")
    norms = pq.read_table(folder / "gradients")["norm"]
    assert norms.null_count == 0
    assert not np.isfinite(norms.to_numpy()).all()
    assert pq.read_table(folder / "backwards")["file"].null_count == 20


def test_tensorboard_shows_scalars_and_findings(trace, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = export(trace.recordings, [FINDING], "tensorboard", tmp_path / "out")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    scalars = events.Scalars("gradient_norm/layer1.weight")
    assert [scalar.step for scalar in scalars] == list(range(1, 21))
    assert scalars[0].wall_time == 1e9 + 1 / 8
    np.testing.assert_allclose([scalar.value for scalar in scalars], trace.recording().statistic("norm")[:, 1])
    assert [scalar.step for scalar in events.Scalars("update_ratio/layer0.weight")] == [10, 20]
    text = events.Tensors("findings")[0].tensor_proto.string_val[0].decode()
    assert "GT102" in text


def test_tensorboard_has_a_run_for_each_rank(ranks, tmp_path):
    pytest.importorskip("tensorboard")
    folder = export(ranks.recordings, [], "tensorboard", tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["rank0", "rank1"]


def test_wandb_offline_run(trace, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = export(trace.recordings, [FINDING], "wandb", tmp_path / "out")
    runs = list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 1
    assert _holds_soon(runs[0], b"gradient_norm/layer1.weight")


def _holds_soon(file: Path, content: bytes) -> bool:
    """Whether a file holds `content` within seconds: W&B writes it in a process of its own, which may outlast
    `finish()`."""
    end = time.monotonic() + 20.0
    while content not in file.read_bytes() and time.monotonic() < end:
        time.sleep(0.1)
    return content in file.read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, about what MLflow asks it for
def test_mlflow_store_is_read_by_its_client(trace, tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    folder = export(trace.recordings, [FINDING], "mlflow", tmp_path / "out")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("gradtrace")
    run = client.search_runs([experiment.experiment_id])[0]
    history = client.get_metric_history(run.info.run_id, "gradient_norm/layer1.weight")
    assert sorted(metric.step for metric in history) == list(range(1, 21))
    assert run.data.tags["verdict"] == "1 error in 20 backwards"


@pytest.mark.parametrize("format", ["csv", "parquet", "tensorboard"])
def test_an_empty_trace_can_be_exported(format, tmp_path):
    pytest.importorskip({"parquet": "pyarrow"}.get(format, format))
    path = write_trace(tmp_path / "run.gradtrace", backwards=0, layers=2, snapshots=())
    with gradtrace.load(path) as trace:
        folder = export(trace.recordings, [], format, tmp_path / "out")
    assert any(folder.rglob("*.*"))


@pytest.mark.parametrize("format", ["csv", "parquet", "tensorboard"])
def test_awkward_names(format, tmp_path):
    pytest.importorskip({"parquet": "pyarrow"}.get(format, format))
    path = write_trace(tmp_path / "run.gradtrace", backwards=2, layers=2, name='a "b",\n🙂')
    with gradtrace.load(path) as trace:
        folder = export(trace.recordings, [], format, tmp_path / "out")
    if format == "csv":
        assert read_csv(folder / "gradients.csv")[0]["parameter"] == 'a "b",\n🙂0.weight'


def test_a_folder_with_something_in_it_is_left_alone(trace, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(GradtraceError, match="is not empty; name another folder"):
        export(trace.recordings, [], "csv", tmp_path / "out")
    with pytest.raises(GradtraceError, match="is a file"):
        export(trace.recordings, [], "csv", tmp_path / "out" / "precious.txt")


@pytest.mark.parametrize(
    ("format", "module", "install"),
    [
        ("parquet", "pyarrow", r"gradtrace\[parquet\]"),
        ("tensorboard", "tensorboard", r"gradtrace\[tensorboard\]"),
        ("wandb", "wandb", "wandb"),
        ("mlflow", "mlflow", "mlflow"),
    ],
)
def test_a_missing_library_is_one_clear_line(trace, tmp_path, monkeypatch, format, module, install):
    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(sys.modules, f"gradtrace.exporters.{format}_files", raising=False)

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(MissingToolError, match=f"export to {format} needs .*pip install '{install}'"):
        export(trace.recordings, [], format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_counts_backwards(ranks, tmp_path):
    counted: list[int] = []
    export(ranks.recordings, [], "csv", tmp_path / "out", advance=counted.append)
    assert sum(counted) == 10


def test_unknown_format(trace, tmp_path):
    with pytest.raises(GradtraceError, match="choose one of csv, parquet"):
        export(trace.recordings, [], "excel", tmp_path / "out")


def test_command_names_every_format():
    assert list(command.params[0].type.choices) == list(FORMATS)
    assert "Example: gradtrace export" in CliRunner().invoke(command, ["--help"]).output


def test_command_without_torch(tmp_path):
    path = write_trace(tmp_path / "run.gradtrace", backwards=3, layers=2)
    program = (
        "import sys; from gradtrace.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", str(path), "--to", "csv"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run-csv\n"
    assert (tmp_path / "run-csv" / "gradients.csv").exists()
