"""Live logging into the real TensorBoard, W&B and MLflow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.errors import GradtraceError
from gradtrace.integrations.live import Live

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the loggers' own dependencies


class Memory:
    """A logger that remembers."""

    def __init__(self):
        self.points, self.texts = [], []

    def scalars(self, values, step):
        self.points.append((step, dict(values)))

    def text(self, tag, text, step):
        self.texts.append((step, tag, text))

    def series(self, tag):
        return {step: values[tag] for step, values in self.points if tag in values}


def train(logger, *, steps=6, micro=1, poison=(), scaler=None, seconds=0.0, **options):
    """`steps` updates of `micro` backwards each; the inputs of the backwards in `poison` hold an infinity."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms, backward = [], 0
    with gradtrace.trace(model, on_finding="ignore", **options) as trace, Live(trace, logger, seconds=seconds):
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(micro):
                backward += 1
                x = torch.randn(8, 3)
                loss = model(x * math.inf if backward in poison else x).pow(2).mean() / micro
                (scaler.scale(loss) if scaler else loss).backward()
            if scaler:
                scaler.unscale_(optimizer)
            norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
            if scaler:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
    return norms, trace


@pytest.mark.parametrize("micro", [1, 3])
def test_points_are_optimizer_updates(micro):
    memory = Memory()
    norms, trace = train(memory, micro=micro)
    assert memory.series("gradtrace/grad_norm") == pytest.approx(dict(enumerate(norms, 1)), rel=1e-5)
    assert set(memory.series("gradtrace/micro_steps").values()) == {micro}
    assert memory.series("gradtrace/backward")[6] == 6 * micro
    assert all(0 < ratio < 1 for ratio in memory.series("gradtrace/update_ratio").values())
    recorded = trace.gradients("norm")[-1]
    last = [memory.points[-1][1][f"gradient_norm/{name}"] for name in trace.parameters]
    assert last == pytest.approx(recorded.tolist())
    assert "update_ratio/0.weight" in memory.points[0][1]


def test_numbers_are_unscaled():
    memory = Memory()
    norms, _ = train(memory, scaler=torch.amp.GradScaler("cpu", init_scale=4096.0))
    assert memory.series("gradtrace/grad_norm") == pytest.approx(dict(enumerate(norms, 1)), rel=1e-4)


def test_what_is_not_finite_is_counted_and_told_though_the_rate_is_limited():
    memory = Memory()
    train(memory, steps=4, micro=2, poison=(3,), scaler=torch.amp.GradScaler("cpu"), seconds=3600)
    assert len(memory.series("gradtrace/nonfinite")) == 2  # the first update, and what is left at the end
    assert max(memory.series("gradtrace/nonfinite").values()) == 4
    tags = [tag for _, tag, _ in memory.texts]
    assert "gradtrace/nonfinite" in tags
    assert any("0.weight" in text for _, tag, text in memory.texts if tag == "gradtrace/nonfinite")
    assert "gradtrace/findings" in tags


def test_a_finding_is_logged_once_as_it_stands():
    memory = Memory()
    train(memory, steps=6, poison=(2,))
    found = [text for _, tag, text in memory.texts if tag == "gradtrace/findings"]
    assert sum("GT204" in text for text in found) == 1
    assert memory.series("gradtrace/findings")[6] >= 1


def test_a_logger_that_fails_is_left_out(capsys):
    class Broken(Memory):
        def scalars(self, values, step):
            raise ConnectionError("no network")

    norms, _ = train(Broken())
    assert len(norms) == 6
    assert capsys.readouterr().err.count("Broken failed (ConnectionError: no network); it is left out") == 1


def test_a_resumed_trace_goes_on_in_the_charts(tmp_path):
    train(Memory(), out=tmp_path / "a.gradtrace", steps=4)
    memory = Memory()
    train(memory, out=tmp_path / "a.gradtrace", steps=2, resume=True)
    assert list(memory.series("gradtrace/grad_norm")) == [5, 6]


def test_nothing_is_left_behind():
    from torch.optim import optimizer

    before = dict(optimizer._global_optimizer_post_hooks)
    train(Memory())
    assert optimizer._global_optimizer_post_hooks == before


def test_no_logger():
    with gradtrace.trace() as trace, pytest.raises(GradtraceError, match="no logger given"):
        Live(trace)


def test_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from torch.utils.tensorboard import SummaryWriter

    from gradtrace.integrations.tensorboard import TensorBoard

    with SummaryWriter(tmp_path) as writer:
        norms, _ = train(TensorBoard(writer), poison=(3,))
    events = accumulator.EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    points = events.Scalars("gradtrace/grad_norm")
    assert [point.step for point in points] == [1, 2, 3, 4, 5, 6]
    assert points[0].value == pytest.approx(norms[0], rel=1e-5)
    assert not math.isfinite(points[2].value)
    assert [point.value for point in events.Scalars("gradtrace/nonfinite")][1:3] == [0, 4]
    texts = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("gradtrace/findings/text_summary")]
    assert any("GT204" in text for text in texts)
    assert events.Tensors("gradtrace/nonfinite/text_summary")


def history(folder):
    """The rows of an offline run, from its file: a LevelDB log of protocol buffers."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # what its own process still holds is written then
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, whole, rows = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 0x8000 - at % 0x8000 < 7:  # the rest of a block that no header fits in
            at += 0x8000 - at % 0x8000
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # all of a record, or its last part
            record = wandb_internal_pb2.Record.FromString(whole)
            rows.append({item.key or "/".join(item.nested_key): item.value_json for item in record.history.item})
            whole = b""
    return rows


@pytest.mark.parametrize("own", [False, True], ids=["rides_along", "commits"])
def test_wandb_offline(tmp_path, own):
    wandb = pytest.importorskip("wandb")
    from gradtrace.integrations.wandb import WandB

    settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
    with wandb.init(mode="offline", dir=str(tmp_path), settings=settings) as run:
        norms, _ = train(WandB(run, commit=own), poison=(3,))
        if not own:
            assert run.step == 0  # the program's own count stays as it was
            run.log({"loss": 1.0}, step=7)
        assert "GT204" in run.summary["gradtrace/findings/last"]
    rows = [row for row in history(tmp_path) if "gradtrace/grad_norm" in row]
    if own:
        assert [int(row["gradtrace/step"]) for row in rows][:3] == [1, 2, 3]
        assert float(rows[0]["gradtrace/grad_norm"]) == pytest.approx(norms[0], rel=1e-5)
        assert rows[2]["gradtrace/grad_norm/nonfinite"] in ('"inf"', '"nan"')
    assert float(rows[-1]["gradtrace/findings"]) >= 1


def test_mlflow(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from gradtrace.integrations.mlflow import MLflow

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    norms, _ = train(MLflow(client, run), poison=(3,))
    points = {metric.step: metric.value for metric in client.get_metric_history(run, "gradtrace/grad_norm")}
    assert points[1] == pytest.approx(norms[0], rel=1e-5)
    assert sorted(points) == [1, 2, 3, 4, 5, 6]
    assert not points[3] < 1e300  # NaN, or the largest float for an infinity
    found = client.get_run(run).data
    assert found.metrics["gradtrace/nonfinite"] == 4
    assert "GT204" in found.tags["gradtrace.findings"]
    (page,) = (tmp_path / "artifacts").rglob("findings.md")
    assert "GT204" in page.read_text()
