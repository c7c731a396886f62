"""Recorded numbers as numpy arrays that know their rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradtrace.errors import GradtraceError, MissingToolError

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd

    from gradtrace.store.recording import Recording


class Labelled(np.ndarray[Any, np.dtype[np.float32]]):
    """float32 of shape (rows, parameters). Parts of it and results of arithmetic are plain arrays."""

    parameters: tuple[str, ...] = ()
    """Dotted names, one a column."""

    def __getitem__(self, key: Any) -> Any:
        return self.view(np.ndarray)[key]

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return np.asarray(array)[()] if return_scalar else np.asarray(array)

    @classmethod
    def _of(cls, values: npt.NDArray[np.float32], recording: Recording) -> Self:
        array = np.asarray(values, np.float32).view(cls)
        array.parameters = tuple(parameter.name for parameter in recording.parameters)
        return array

    def _frame(self, numbers: npt.NDArray[np.int64], name: str) -> pd.DataFrame:
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingToolError(
                "to_pandas needs pandas; install it with: pip install 'gradtrace[pandas]'"
            ) from error
        return pd.DataFrame(np.asarray(self), index=pd.Index(numbers, name=name), columns=list(self.parameters))


class Gradients(Labelled):
    """One statistic, float32 of shape (backwards, parameters).

    NaN where a parameter got no gradient, and where the gradient held a NaN; `missing` tells the two apart. Parts of it
    and results of arithmetic are plain arrays.
    """

    backwards: npt.NDArray[np.int64] = np.empty(0, np.int64)
    """Numbers of the backwards, one a row."""
    missing: npt.NDArray[np.bool_] = np.empty((0, 0), np.bool_)
    """True where there was no gradient; of the same shape."""

    @classmethod
    def of(cls, recording: Recording, statistic: str) -> Gradients:
        """One of `model.STATISTICS`."""
        values, missing = recording.statistic(statistic), recording.statistic("norm") < 0
        array = cls._of(np.where(missing, np.float32(np.nan), values), recording)
        array.backwards = recording.backwards()["number"].astype(np.int64)
        array.missing = missing
        return array

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with the backwards as index and the parameters as columns.

        Raises MissingToolError without pandas.
        """
        return self._frame(self.backwards, "backward")


class Updates(Labelled):
    """How far optimizer steps moved the weights, float32 of shape (steps, parameters).

    A row for each step that was measured: every one of a model of at most 16,384 elements, of a larger one the first
    five and then every tenth, above 2,097,152 elements every fiftieth. NaN where the step did not belong to the
    parameter's optimizer.
    """

    steps: npt.NDArray[np.int64] = np.empty(0, np.int64)
    """Numbers of the steps, from 1, one a row."""

    @classmethod
    def of(cls, recording: Recording, quantity: str) -> Updates:
        """`ratio`, `update` or `weight`. Raises GradtraceError for another."""
        if quantity not in ("ratio", "update", "weight"):
            raise GradtraceError(f"{quantity!r} is not known of updates; choose ratio, update or weight")
        steps, update = recording.samples("update_norm")
        _, weight = recording.samples("weight_norm")
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {"ratio": update / weight, "update": update, "weight": weight}[quantity]
        array = cls._of(values, recording)
        array.steps = steps
        return array

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with the steps as index and the parameters as columns. Raises MissingToolError without
        pandas."""
        return self._frame(self.steps, "step")
