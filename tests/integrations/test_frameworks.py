"""Lightning, Transformers and Accelerate themselves, on tiny random models."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.errors import GradtraceError

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the frameworks' own: few workers, no checkpoint folder, ...
    pytest.mark.timeout(120),
]


@pytest.fixture
def hooks_before():
    """No hook may be left when a test ends."""
    from torch.optim import optimizer

    before = len(optimizer._global_optimizer_post_hooks)
    yield
    assert len(optimizer._global_optimizer_post_hooks) == before


class TestLightning:
    @pytest.fixture
    def lightning(self, hooks_before):
        return pytest.importorskip("lightning.pytorch")

    def module(self, lightning, poison=None):
        class Net(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
                self.norms = []

            def training_step(self, batch, index):
                x = batch[0] * math.inf if index == poison else batch[0]
                return self.layers(x).pow(2).mean()

            def on_before_optimizer_step(self, optimizer):
                self.norms.append(float(nn.utils.get_total_norm([p.grad for p in self.parameters()])))

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.01)

        return Net()

    def fit(self, lightning, folder, *, callback=None, poison=None, ckpt=None, epochs=1, **options):
        from lightning.pytorch.loggers import CSVLogger

        from gradtrace.integrations.lightning import GradtraceCallback

        callback = callback or GradtraceCallback(on_finding="ignore")
        logger = options.pop("logger", None) or CSVLogger(folder, flush_logs_every_n_steps=1)
        trainer = lightning.Trainer(
            max_epochs=epochs, log_every_n_steps=1, callbacks=[callback], logger=logger, default_root_dir=folder,
            accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, **options,
        )  # fmt: skip
        module = self.module(lightning, poison)
        torch.manual_seed(1)
        data = torch.utils.data.TensorDataset(torch.randn(24, 3))
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4), ckpt_path=ckpt)
        return trainer, module, callback.trace

    def logged(self, trainer, tag):
        with Path(trainer.logger.log_dir, "metrics.csv").open(encoding="utf-8") as file:
            return {int(row["step"]): float(row[tag]) for row in csv.DictReader(file) if row.get(tag)}

    @pytest.mark.parametrize(("micro", "updates"), [(1, 6), (3, 2)])
    def test_numbers_reach_the_logger_by_update(self, lightning, tmp_path, micro, updates):
        trainer, module, trace = self.fit(lightning, tmp_path, accumulate_grad_batches=micro)
        norms = self.logged(trainer, "gradtrace/grad_norm")
        assert norms == pytest.approx(dict(enumerate(module.norms)), rel=1e-5)
        assert len(norms) == updates
        assert set(self.logged(trainer, "gradtrace/micro_steps").values()) == {float(micro)}
        assert trainer.callback_metrics["gradtrace/grad_norm"] == pytest.approx(module.norms[-1], rel=1e-5)
        assert trace.backwards == 6
        assert trace.path == tmp_path / "train.gradtrace"
        assert trace.parameters[0] == "layers.0.weight"
        assert trace.recording().closed

    def test_amp_is_unscaled(self, lightning, tmp_path):
        from lightning.pytorch.plugins.precision import MixedPrecision

        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
        trainer, module, _ = self.fit(lightning, tmp_path, plugins=[plugin])
        norms = self.logged(trainer, "gradtrace/grad_norm")
        assert len(norms) == 6
        assert norms == pytest.approx(dict(enumerate(module.norms)), rel=1e-2)

    def test_findings_reach_the_logger_and_its_texts(self, lightning, tmp_path):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        from lightning.pytorch.loggers import TensorBoardLogger

        logger = TensorBoardLogger(tmp_path)
        self.fit(lightning, tmp_path, poison=2, logger=logger)
        events = accumulator.EventAccumulator(logger.log_dir, size_guidance={"tensors": 0}).Reload()
        assert events.Scalars("gradtrace/findings")[-1].value >= 1
        assert max(event.value for event in events.Scalars("gradtrace/nonfinite")) == 4
        texts = [
            event.tensor_proto.string_val[0].decode() for event in events.Tensors("gradtrace/findings/text_summary")
        ]
        assert any("GT204" in text for text in texts)

    def test_a_resumed_training_continues_its_trace(self, lightning, tmp_path):
        trainer, _, first = self.fit(lightning, tmp_path)
        checkpoint = tmp_path / "a.ckpt"
        trainer.save_checkpoint(checkpoint)
        assert first.backwards == 6
        _, _, trace = self.fit(lightning, tmp_path, ckpt=str(checkpoint), epochs=2)
        assert trace.backwards == 12
        assert trace.recording().backwards()["step"].tolist() == list(range(12))
        assert len(trace.parameters) == 4
        assert not trace.gradients("norm").missing.any()

    def test_an_exception_takes_the_hooks_off(self, lightning, tmp_path):
        from gradtrace.errors import FindingRaised
        from gradtrace.integrations.lightning import GradtraceCallback

        callback = GradtraceCallback(on_finding="raise")
        with pytest.raises(FindingRaised):
            self.fit(lightning, tmp_path, callback=callback, poison=1)
        assert gradtrace.load(tmp_path / "train.gradtrace").recording().closed

    def test_a_bad_option_is_told_at_once(self, lightning):
        from gradtrace.integrations.lightning import GradtraceCallback

        with pytest.raises(GradtraceError, match="every=0"):
            GradtraceCallback(every=0)


class TestTransformers:
    @pytest.fixture
    def transformers(self, hooks_before):
        return pytest.importorskip("transformers")

    def train(self, transformers, folder, *, steps, resume=False, **arguments):
        from gradtrace.integrations.transformers import GradtraceCallback

        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        )
        settings = transformers.TrainingArguments(
            output_dir=str(folder), max_steps=steps, per_device_train_batch_size=2, use_cpu=True, disable_tqdm=True,
            **{"logging_steps": 1, "report_to": [], "save_strategy": "no", "max_grad_norm": 1e9, **arguments},
        )  # fmt: skip
        data = [{"input_ids": row, "labels": row} for row in torch.randint(0, 32, (64, 8))]
        callback = GradtraceCallback(on_finding="ignore")
        trainer = transformers.Trainer(
            transformers.GPT2LMHeadModel(config), settings, train_dataset=data, callbacks=[callback]
        )
        trainer.train(resume_from_checkpoint=resume or None)
        return trainer, callback.trace

    @pytest.mark.parametrize("micro", [1, 2])
    def test_numbers_go_with_the_trainers_own(self, transformers, tmp_path, micro):
        trainer, trace = self.train(transformers, tmp_path, steps=4, gradient_accumulation_steps=micro)
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert [entry["step"] for entry in logs] == [1, 2, 3, 4]
        for entry in logs:
            assert entry["gradtrace/grad_norm"] == pytest.approx(entry["grad_norm"], rel=1e-4)
            assert entry["gradtrace/micro_steps"] == micro
        assert trace.backwards == 4 * micro
        assert trace.recording().closed

    def test_they_reach_what_the_trainer_reports_to(self, transformers, tmp_path, monkeypatch):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
        self.train(transformers, tmp_path, steps=3, report_to=["tensorboard"])
        events = accumulator.EventAccumulator(str(tmp_path / "logs"), size_guidance={"scalars": 0}).Reload()
        assert [event.step for event in events.Scalars("train/gradtrace/grad_norm")] == [1, 2, 3]
        assert events.Scalars("train/gradtrace/findings")[-1].value == 0

    def test_findings_reach_the_text_page_and_the_history(self, transformers, tmp_path, monkeypatch):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
        # Steps that change nothing are found while it runs, and hold for the whole run.
        trainer, trace = self.train(transformers, tmp_path, steps=40, report_to=["tensorboard"], learning_rate=1e-12)
        codes = {finding.code for finding in trace.findings if finding.severity != "note"}
        assert codes == {"GT406"}
        assert trainer.state.log_history[-1]["gradtrace/findings"] == 1
        events = accumulator.EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0}).Reload()
        (told,) = events.Tensors("gradtrace/findings/text_summary")
        assert "GT406" in told.tensor_proto.string_val[0].decode()

    def test_bf16(self, transformers, tmp_path):
        trainer, _ = self.train(transformers, tmp_path, steps=2, bf16=True)
        entry = trainer.state.log_history[0]
        assert entry["gradtrace/grad_norm"] == pytest.approx(entry["grad_norm"], rel=1e-3)

    def test_a_resumed_training_continues_its_trace(self, transformers, tmp_path):
        self.train(transformers, tmp_path, steps=3, save_strategy="steps", save_steps=3)
        trainer, trace = self.train(transformers, tmp_path, steps=5, resume=True)
        assert trainer.state.global_step == 5
        assert trace.backwards == 5
        assert trace.recording().backwards()["step"].tolist() == [0, 1, 2, 3, 4]
        assert len(set(trace.parameters)) == len(list(trainer.model.parameters()))

    def test_after_an_exception_close_takes_the_hooks_off(self, transformers, tmp_path):
        from gradtrace.integrations.transformers import GradtraceCallback

        class Stop(transformers.TrainerCallback):
            def on_step_end(self, args, state, control, **_):
                raise KeyboardInterrupt

        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=1)
        )
        settings = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=2, use_cpu=True, disable_tqdm=True, report_to=[], save_strategy="no"
        )
        row = torch.randint(0, 32, (8,))
        callback = GradtraceCallback(on_finding="ignore")
        trainer = transformers.Trainer(
            model, settings, train_dataset=[{"input_ids": row, "labels": row}] * 4, callbacks=[callback, Stop()]
        )
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        callback.close()
        assert callback.trace.recording().closed


class TestAccelerate:
    @pytest.fixture
    def accelerate(self, hooks_before):
        accelerate = pytest.importorskip("accelerate")
        from accelerate.state import AcceleratorState, GradientState

        GradientState._reset_state()  # a Trainer leaves its data loader in it, whose end ends every accumulation
        yield accelerate
        AcceleratorState._reset_state(reset_partial_state=True)

    def train(self, accelerate, folder, *, steps=4, micro=1, scaler=None, mixed=None, **options):
        from gradtrace.integrations.accelerate import trace

        accelerator = accelerate.Accelerator(
            cpu=True, gradient_accumulation_steps=micro, log_with="tensorboard", project_dir=str(folder),
            mixed_precision=mixed,
        )  # fmt: skip
        if scaler:  # as Accelerate itself does on an accelerator
            accelerator.scaler = scaler
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.01))
        accelerator.init_trackers("run")
        norms = []
        with trace(accelerator, model, seconds=0, on_finding="ignore", **options) as traced:
            for _ in range(steps * micro):
                with accelerator.accumulate(model):
                    accelerator.backward(model(torch.randn(8, 3)).float().pow(2).mean())
                    if accelerator.sync_gradients:
                        scale = scaler.get_scale() if scaler else 1.0
                        norms.append(float(accelerator.clip_grad_norm_(model.parameters(), 1e9)) / scale)
                    optimizer.step()
                    optimizer.zero_grad()
        accelerator.end_training()
        return norms, traced

    def logged(self, folder, tag):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = accumulator.EventAccumulator(str(folder / "run"), size_guidance={"scalars": 0}).Reload()
        return {event.step: event.value for event in events.Scalars(tag)}

    @pytest.mark.parametrize("micro", [1, 3])
    def test_numbers_go_through_the_accelerator(self, accelerate, tmp_path, micro):
        norms, traced = self.train(accelerate, tmp_path, micro=micro)
        assert self.logged(tmp_path, "gradtrace/grad_norm") == pytest.approx(dict(enumerate(norms, 1)), rel=1e-5)
        assert set(self.logged(tmp_path, "gradtrace/micro_steps").values()) == {float(micro)}
        assert traced.backwards == 4 * micro
        assert traced.path == tmp_path / "train.gradtrace"

    def test_a_scaled_loss(self, accelerate, tmp_path):
        norms, _ = self.train(accelerate, tmp_path, scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
        assert self.logged(tmp_path, "gradtrace/grad_norm") == pytest.approx(dict(enumerate(norms, 1)), rel=1e-4)

    def test_bf16(self, accelerate, tmp_path):
        norms, _ = self.train(accelerate, tmp_path, mixed="bf16")
        assert self.logged(tmp_path, "gradtrace/grad_norm") == pytest.approx(dict(enumerate(norms, 1)), rel=1e-4)

    def test_resume(self, accelerate, tmp_path):
        self.train(accelerate, tmp_path)
        _, traced = self.train(accelerate, tmp_path, resume=True)
        assert traced.backwards == 8
        assert sorted(self.logged(tmp_path, "gradtrace/grad_norm")) == list(range(1, 9))
