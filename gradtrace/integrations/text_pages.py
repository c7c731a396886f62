"""The text pages of the loggers that a framework holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradtrace.integrations.live import Logger

Texts = Iterable[tuple[str, str]]
"""Tags, and a text under each."""


class TextPages:
    """Puts texts on the pages of those loggers of a framework that have one.

    Each logger's page is made once and kept, since W&B's table and MLflow's artifact grow by what they held before.
    `page_of` makes the page of a logger; None where it has none, or is not set up yet.
    """

    def __init__(self, page_of: Callable[[Any], Logger | None]) -> None:
        self._page_of = page_of
        self._pages: list[tuple[Any, Logger]] = []

    def tell(self, loggers: Iterable[Any], texts: Texts, step: int) -> None:
        """Add each text to the page of each logger, at optimizer update `step`."""
        texts = list(texts)
        if not texts:
            return
        for page in filter(None, map(self._page, loggers)):
            for tag, text in texts:
                page.text(tag, text, step)

    def _page(self, logger: Any) -> Logger | None:
        known = next((page for owner, page in self._pages if owner is logger), None)
        if known is None and (made := self._page_of(logger)) is not None:
            self._pages.append((logger, made))
            return made
        return known


def tensorboard_page(writer: Any) -> Logger:
    """ "Text" of a `SummaryWriter`."""
    from gradtrace.integrations.tensorboard import TensorBoard

    return TensorBoard(writer)


def wandb_page(run: Any) -> Logger:
    """The table `gradtrace/texts` of a W&B run."""
    from gradtrace.integrations.wandb import WandB

    return WandB(run)


def mlflow_page(run_id: str, client: Any = None) -> Logger:
    """The artifact `gradtrace/findings.md` of a run, by default over a client of the program's tracking URI."""
    from mlflow.tracking import MlflowClient

    from gradtrace.integrations.mlflow import MLflow

    return MLflow(client or MlflowClient(), run_id)
