"""Findings on the text pages of a framework's loggers: pages grow, and nothing else of a run is touched."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gradtrace.integrations.text_pages import TextPages

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the loggers' own dependencies


class Page:
    def __init__(self):
        self.texts = []

    def text(self, tag, text, step):
        self.texts.append((tag, text, step))


@pytest.fixture
def made():
    return []


@pytest.fixture
def pages(made):
    def page_of(logger):
        if not logger.ready:
            return None
        made.append(Page())
        return made[-1]

    return TextPages(page_of)


def test_a_page_is_made_once_and_grows(pages, made):
    loggers = [SimpleNamespace(ready=True), SimpleNamespace(ready=True)]
    pages.tell(loggers, [("tag", "first")], 1)
    pages.tell(loggers, [("tag", "second")], 2)
    assert [page.texts for page in made] == [[("tag", "first", 1), ("tag", "second", 2)]] * 2


def test_a_logger_that_is_set_up_later_gets_what_comes_then(pages, made):
    logger = SimpleNamespace(ready=False)
    pages.tell([logger], [("tag", "first")], 1)
    logger.ready = True
    pages.tell([logger], iter([("tag", "second"), ("tag", "third")]), 2)
    assert [page.texts for page in made] == [[("tag", "second", 2), ("tag", "third", 2)]]


def test_nothing_is_set_up_where_there_is_nothing_to_tell(pages, made):
    pages.tell([SimpleNamespace(ready=True)], [], 1)
    assert not made


def test_lightning_keeps_every_finding_in_mlflow(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    pytest.importorskip("mlflow")
    from lightning.pytorch.loggers import MLFlowLogger

    from gradtrace.integrations.lightning import GradtraceCallback

    logger = MLFlowLogger(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_location=(tmp_path / "artifacts").as_uri()
    )
    callback = GradtraceCallback(tmp_path / "a.gradtrace")
    trainer = lightning.Trainer(logger=logger, default_root_dir=tmp_path, enable_model_summary=False)
    trainer.strategy._lightning_module = lightning.LightningModule()
    callback._training.texts = lambda: [("gradtrace/findings", next(told))]
    told = iter(["GT301 first", "GT201 second"])
    callback._log(trainer, {"gradtrace/findings": 1.0})
    callback._log(trainer, {"gradtrace/findings": 2.0})
    (page,) = (tmp_path / "artifacts").rglob("findings.md")
    text = page.read_text()
    assert text.index("GT301 first") < text.index("GT201 second")


def test_texts_alone_leave_the_axes_of_a_wandb_run_as_they_are():
    pytest.importorskip("wandb")
    from gradtrace.integrations.wandb import STEP, WandB

    axes, rows = [], []
    run = SimpleNamespace(
        define_metric=lambda name, **_: axes.append(name), log=lambda row, **_: rows.append(row), summary={}
    )
    logger = WandB(run)
    logger.text("gradtrace/findings", "GT301", 1)
    assert not axes
    assert STEP not in rows[0]
    logger.scalars({"gradtrace/grad_norm": 1.0}, 1)
    assert {STEP, "gradtrace/*"} <= set(axes)
    assert rows[1][STEP] == 1
