"""Reading a trace."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gradtrace.errors import GradtraceError, UnreadableTraceError
from gradtrace.model import ABSENT, STATISTICS, BackwardFlag, Event, Finding, Module, Optimizer, Parameter
from gradtrace.store import nouns, queries
from gradtrace.store.blocks import Chunk, filler
from gradtrace.store.naming import Naming
from gradtrace.store.queries import SnapshotRef
from gradtrace.store.reading import TraceFile
from gradtrace.store.schema import SPARE

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterator
    from typing import Self

    import numpy.typing as npt

    from gradtrace.model import Snapshot, Source
    from gradtrace.store.blocks import BlockRow, Records, Values

__all__ = ["Chunk", "Recording", "SnapshotRef"]

_T = TypeVar("_T")


class Recording:
    """A trace as rules and renderers read it: the state of the file at the last `refresh`.

    Everything is read when first asked for, and kept. The file may still be written, by this or another process.
    Opening and reading raise UnreadableTraceError, one line that says what to do. Not for several threads at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = TraceFile(self.path)
        self._first = 0
        self._meta: dict[str, Any] = {}
        self._nouns: dict[str, Any] = {}
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """The number of backwards."""
        return self._stop - self._first

    def __repr__(self) -> str:
        return f"<Recording of {len(self)} backwards in {str(self.path)!r}>"

    def close(self) -> None:
        """Let go of what was read. The file itself is open only while something is read."""
        self._nouns = {}
        self._arrays = {}

    def refresh(self) -> None:
        """See what was written since. Raises UnreadableTraceError where another run has replaced the file."""
        with self._transaction() as connection:
            self._meta = queries.read_meta(connection)
            rows = self._block_rows(connection)
            known = len(queries.read_items(connection, "parameter", str))
        self._nouns = {}
        self._arrays.pop("loop", None)
        self._stop = sum(row.rows for row in rows)
        self._loop_stop = sum(row.loop_rows for row in rows)
        self._width = max([known, *(row.parameters for row in rows)])

    @property
    def meta(self) -> dict[str, Any]:
        """Facts about the run."""
        return self._meta

    @property
    def closed(self) -> bool:
        """Whether the tracer ended in order."""
        return bool(self._meta["closed"])

    @property
    def parameters(self) -> list[Parameter]:
        """Index is `Parameter.id`, the column in every statistic."""
        return self._items("parameter", nouns.decode_parameter)

    @property
    def modules(self) -> list[Module]:
        """In the order in which they became known."""
        return self._cached("modules", lambda: self._naming.modules(self._items("module", nouns.decode_module)))

    @property
    def optimizers(self) -> list[Optimizer]:
        """Index is `Optimizer.id`."""
        return self._items("optimizer", nouns.decode_optimizer)

    @property
    def sources(self) -> list[Source | None]:
        """Index is the site that records hold; the first is None, as is any that was never named."""
        return self._cached("sources", self._read_sources)

    @property
    def structures(self) -> list[str]:
        """Digests; index is what backward records hold."""
        return self._items("structure", nouns.decode_text)

    @property
    def snapshots(self) -> list[SnapshotRef]:
        """What snapshots there are, by backward."""
        return self._cached("snapshots", lambda: self._read(queries.read_refs))

    def events(self, kind: str | None = None) -> list[Event]:
        """In the order in which they happened; of one kind if given."""
        events = self._items("event", nouns.decode_event)
        return [self._naming.event(event) for event in events if kind in {None, event.kind}]

    def findings(self) -> list[Finding]:
        """As stored with the trace."""
        return self._items("finding", nouns.decode_finding)

    def snapshot(self, backward: int) -> Snapshot:
        """The snapshot recorded at `backward`, or else the nearest of the same structure, earlier ones first.

        A negative number counts from the last backward. Raises GradtraceError where there is none.
        """
        if backward < 0 and len(self) + backward >= 0:
            backward = int(self.backwards()["number"][backward])
        number = self._nearest(backward)
        return self._naming.snapshot(self._read(lambda connection: queries.read_snapshot(connection, number)))

    @property
    def _naming(self) -> Naming:
        return self._cached("naming", lambda: Naming(self.parameters, self._items("module", nouns.decode_module)))

    def backwards(self) -> Records:
        """One record of dtype BACKWARD a backward."""
        return self._grown("backwards", self._read_backwards)

    def loop(self) -> Records:
        """Records of dtype LOOP, in program order."""
        if "loop" not in self._arrays:
            self._arrays["loop"] = self._read_loop()
        return self._arrays["loop"]

    def statistic(self, name: str, start: int | None = None, stop: int | None = None) -> Values:
        """One of STATISTICS as float32 (backwards, parameters), unscaled where a GradScaler was at work.

        No gradient is ABSENT in "norm" and NaN in the others. `start` and `stop` are rows, as in a slice; a part is
        read without the rest. Raises GradtraceError for an unknown name.
        """
        if name not in STATISTICS:
            raise GradtraceError(f"no statistic is called {name!r}; there are {', '.join(STATISTICS)}")
        low, high, _ = slice(start, stop).indices(len(self))
        if name in self._arrays or (low, high) == (0, len(self)):
            records = self.backwards()
            return self._grown(name, lambda low, high: self._read_values(name, low, records[low:high]))[low:high]
        return self._read_values(name, low, self._read_backwards(low, max(low, high)))

    def samples(self, name: str) -> tuple[npt.NDArray[np.int64], Values]:
        """One of SAMPLES: the steps or backwards (K,) at which it was taken, and float32 (K, parameters).

        NaN where a parameter was not known yet.
        """
        return self._cached(
            f"sample {name}",
            lambda: self._read(lambda connection: queries.read_samples(connection, name, self._width)),
        )

    def chunks(self, rows: int = 4096) -> Iterator[Chunk]:
        """All backwards in order with all statistics, `rows` at a time, in memory for one chunk."""
        for low in range(0, len(self), rows):
            records = self._read_backwards(low, min(low + rows, len(self)))
            yield Chunk(low, records, {name: self._read_values(name, low, records) for name in STATISTICS})

    def tail(self, rows: int) -> Recording:
        """The same over the last `rows` backwards; events, snapshots and samples stay complete."""
        tail = copy.copy(self)
        tail._first = max(self._stop - rows, self._first)
        tail._arrays = {}
        return tail

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._file.transaction() as connection:
            run = queries.read_run(connection)
            if self._meta and run != self._meta["id"]:
                raise UnreadableTraceError(f"{self.path} now holds another run; load it again")
            yield connection

    def _read(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._transaction() as connection:
            return read(connection)

    def _block_rows(self, connection: sqlite3.Connection) -> list[BlockRow]:
        return queries.read_block_rows(connection, self.path.stat().st_size + SPARE)

    def _cached(self, name: str, read: Callable[[], _T]) -> _T:
        if name not in self._nouns:
            self._nouns[name] = read()
        found: _T = self._nouns[name]
        return found

    def _items(self, table: str, decode: Callable[[str], _T]) -> list[_T]:
        return self._cached(table, lambda: self._read_items(table, decode))

    def _read_items(self, table: str, decode: Callable[[str], _T]) -> list[_T]:
        with self._transaction() as connection:
            found = queries.read_items(connection, table, decode)
            if list(found) != list(range(len(found))):
                raise ValueError(f"a {table} is missing")
            return list(found.values())

    def _read_sources(self) -> list[Source | None]:
        found = self._read(lambda connection: queries.read_items(connection, "source", nouns.decode_source))
        return [found.get(site) for site in range(max(found, default=0) + 1)]

    def _grown(self, name: str, read: Callable[[int, int], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """An array over all backwards; only rows written since it was last asked for are read."""
        known = self._arrays.get(name)
        if known is None:
            self._arrays[name] = read(0, len(self))
        elif len(known) < len(self):
            fresh = read(len(known), len(self))
            self._arrays[name] = np.concatenate([_widened(known, name, fresh.shape[1:]), fresh])
        return self._arrays[name]

    def _read_backwards(self, low: int, high: int) -> Records:
        if "backwards" in self._arrays and high <= len(self._arrays["backwards"]):
            return self._arrays["backwards"][low:high]
        with self._transaction() as connection:
            wanted = range(self._first + low, self._first + high)
            return queries.read_backwards(connection, self._block_rows(connection), wanted)

    def _read_values(self, name: str, low: int, records: Records) -> Values:
        """A statistic from row `low` on, for these backward records."""
        wanted = range(self._first + low, self._first + low + len(records))
        with self._transaction() as connection:
            values = queries.read_values(connection, self._block_rows(connection), name, wanted, self._width)
        if name != "zeros":
            _unscale(values, records)
        return values

    def _read_loop(self) -> Records:
        with self._transaction() as connection:
            rows = self._block_rows(connection)
            records = queries.read_loop(connection, rows, self._first)
        written_since = sum(row.loop_rows for row in rows) - self._loop_stop
        records = records[: len(records) - written_since]
        return records[records["backward"] >= self.backwards()["number"][0]] if self._first and len(self) else records

    def _nearest(self, backward: int) -> int:
        """The backward whose snapshot shows the graph of `backward`."""
        known = [ref.backward for ref in self.snapshots]
        if backward in known:
            return backward
        structure = self._structure_of(backward)
        fitting = [ref.backward for ref in self.snapshots if structure in {None, ref.structure}]
        if not fitting:
            there = f"there are {', '.join(map(str, known[:8]))}" if known else "there is none at all"
            raise GradtraceError(
                f"{self.path} has no snapshot for backward {backward} ({there}); record with graph='all' to have each"
            )
        return max((number for number in fitting if number < backward), default=fitting[0])

    def _structure_of(self, backward: int) -> str | None:
        """The digest of the structure walked at `backward`; None where no walk was due."""
        records = self.backwards()
        index = records["structure"][records["number"] == backward]
        return self.structures[index[0]] if len(index) and index[0] >= 0 else None


def _widened(known: npt.NDArray[Any], name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Rows from before some parameters became known, padded to the width of later ones."""
    missing = shape[0] - known.shape[1] if shape else 0
    return np.pad(known, ((0, 0), (0, missing)), constant_values=filler(name)) if missing else known


def _unscale(values: Values, backwards: Records) -> None:
    """Divide by the loss scale, in place, where the loss was multiplied by it."""
    scale = backwards["loss_scale"]
    scaled = ((backwards["flags"] & BackwardFlag.SCALED) != 0) & np.isfinite(scale) & (scale > 0)
    if scaled.any():
        rows = values[scaled]
        values[scaled] = np.where(rows == ABSENT, rows, rows / scale[scaled, None])
