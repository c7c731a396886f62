"""Export to TensorBoard: event files that it shows as they are. Neither torch nor tensorflow is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from gradtrace.exporters import Advance
from gradtrace.exporters.scalars import Moment, moments
from gradtrace.exporters.tables import rank_of
from gradtrace.renderers.findings.text import headline, lines

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording


def write(recordings: Sequence[Recording], findings: Sequence[Finding], folder: Path, advance: Advance) -> None:
    """One event file; of several ranks, one each in rankN, shown as runs. Findings go with the first."""
    for position, recording in enumerate(recordings):
        rank = rank_of(recording, position)
        target = folder / f"rank{rank}" if len(recordings) > 1 else folder
        target.mkdir(exist_ok=True)
        started = float(recording.meta.get("started") or 0.0)
        with (target / f"events.out.tfevents.{int(started)}.gradtrace").open("wb") as file:
            writer = RecordWriter(file)
            _add(writer, Event(wall_time=started, file_version="brain.Event:2"))
            if position == 0:
                _add(writer, _text(started, findings, len(recording)))
            for moment in moments(recording):
                _add(writer, _scalars(moment))
                advance(1)


def _add(writer: RecordWriter, event: Event) -> None:
    writer.write(event.SerializeToString())


def _scalars(moment: Moment) -> Event:
    """All numbers of a backward in one event, which is a tenth of the size of one event each."""
    values = [Summary.Value(tag=_encodable(tag), simple_value=value) for tag, value in moment.values.items()]
    return Event(wall_time=moment.time, step=moment.backward, summary=Summary(value=values))


def _text(started: float, findings: Sequence[Finding], backwards: int) -> Event:
    blocks = ["\n".join(f"    {line}" for line in lines(finding)) for finding in findings]
    document = "\n\n".join([f"**{headline(findings, backwards)}**", *blocks])
    tensor = TensorProto(
        dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[document.encode(errors="replace")]
    )
    value = Summary.Value(tag="findings", metadata=create_summary_metadata("findings", None), tensor=tensor)
    return Event(wall_time=started, step=0, summary=Summary(value=[value]))


def _encodable(text: str) -> str:
    """Names may hold lone surrogates, which protocol buffers refuse."""
    return text.encode(errors="replace").decode()
