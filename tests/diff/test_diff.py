"""Where two runs part, on traces whose difference is known."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from traces import write_trace

import gradtrace
from gradtrace.cli.diff import command
from gradtrace.differences import Differences, compare_runs
from gradtrace.model import Source


def compared(first: Path, second: Path, tolerance: float | None = None) -> Differences:
    with gradtrace.load(first) as left, gradtrace.load(second) as right:
        return compare_runs(left.recording(), right.recording(), tolerance)


@pytest.fixture
def trace(tmp_path: Path):
    """Writes a trace of 30 backwards and 5 layers; options of `write_trace` change it."""

    def write(file: str, **options) -> Path:
        return write_trace(tmp_path / f"{file}.gradtrace", **{"backwards": 30, "layers": 5, **options})

    return write


def test_equal_runs(trace):
    differences = compared(trace("a"), trace("b"), tolerance=0)
    assert differences.equal
    assert (differences.compared, differences.parameters) == (30, 5)
    assert not differences.settings


def test_first_backward_and_parameter(trace):
    found = compared(trace("a"), trace("b", change=(17, 2, 1.01))).parting
    assert found is not None
    assert found.backward == 17
    assert [departure.parameter for departure in found.departures] == ["layer2.weight"]
    assert found.departures[0].relative == pytest.approx(0.01 / 1.01, rel=1e-4)
    assert found.losses_agree


def test_rounding_is_no_difference_unless_bitwise(trace):
    first, second = trace("a"), trace("b", change=(3, 4, 1 + 8e-6))
    assert compared(first, second).equal
    assert compared(first, second, tolerance=1e-6).parting is not None
    assert compared(first, second, tolerance=0).parting.backward == 3


def test_tolerance_follows_the_coarser_dtype(trace):
    first, second = trace("a"), trace("b", dtype="bfloat16", change=(3, 1, 1.02))
    differences = compared(first, second)
    assert differences.parting is None
    assert [setting.name for setting in differences.settings] == ["dtype"]
    assert compared(first, trace("c", change=(3, 1, 1.02))).parting is not None


def test_noise_of_cancelled_sums_is_no_difference(trace):
    """A gradient that is a thousand-millionth of the backward's largest is what rounding left of zero."""
    first, second = trace("a", change=(1, 0, 1e-9)), trace("b", change=(1, 0, 3e-9))
    assert compared(first, second).equal
    assert not compared(first, second, tolerance=0).equal


def test_missing_and_nonfinite_gradients_differ(trace):
    gone = compared(trace("e"), trace("f", absent=(6, 2))).parting
    assert (gone.backward, gone.departures[0].second) == (6, None)
    infinite = compared(trace("a"), trace("b", change=(4, 3, float("inf")))).parting
    assert infinite.backward == 4
    assert infinite.departures[0].relative is None
    assert compared(trace("c", change=(4, 3, float("inf"))), trace("d", change=(4, 3, float("inf")))).equal


def test_departures_come_in_the_order_of_the_gradient(trace):
    parting = compared(trace("a"), trace("b", seed=1)).parting
    assert parting.backward == 1
    assert [departure.parameter for departure in parting.departures] == [f"layer{at}.weight" for at in (4, 3, 2, 1, 0)]


def test_op_upstream_of_the_parameter(trace):
    source = Source("model.py", 5, "forward", "return self.layer(x)")
    place = compared(trace("a", source=source), trace("b", source=source, change=(9, 2, 2.0))).parting.place
    assert (place.op, place.module, place.source, place.measured) == ("AddmmBackward0", "layer2", source, False)


def test_settings_come_first_and_do_not_differ_by_themselves(trace):
    first = trace("a", meta={"torch": "2.6.0", "seed": 1})
    second = trace("b", learning_rate=0.2, meta={"torch": "2.13.0", "seed": 2})
    differences = compared(first, second)
    assert [(setting.name, setting.first, setting.second) for setting in differences.settings] == [
        ("learning rate", "0.1", "0.2"),
        ("seed", "1", "2"),
        ("torch version", "2.6.0", "2.13.0"),
    ]
    assert differences.equal


def test_structure(trace):
    differences = compared(trace("a"), trace("b", layers=6))
    assert differences.structure[0] == "only in the second run: layer5.weight"
    assert not differences.equal


def test_renamed_parameters_are_matched_by_shape(trace):
    differences = compared(trace("a"), trace("b", name="block", change=(2, 4, 3.0)))
    assert differences.parameters == 5
    departure = differences.parting.departures[0]
    assert (departure.parameter, departure.renamed) == ("layer4.weight", "block4.weight")


def test_runs_of_other_length(trace):
    differences = compared(trace("a"), trace("b", backwards=20))
    assert differences.compared == 20
    assert differences.parting is None
    assert not differences.equal


@pytest.mark.parametrize(("options", "code"), [({}, 0), ({"learning_rate": 0.5}, 0), ({"change": (2, 1, 2.0)}, 1)])
def test_exit_code(trace, options, code):
    result = CliRunner().invoke(command, [str(trace("a")), str(trace("b", **options))], standalone_mode=False)
    assert result.return_value == code


def test_text_says_where_and_what_to_look_at(trace):
    result = CliRunner().invoke(command, [str(trace("a")), str(trace("b", change=(2, 1, 2.0)))], standalone_mode=False)
    assert "gradients part at backward 2, first in layer1.weight" in result.output
    assert "upstream  AddmmBackward0, layer1" in result.output
    assert "compared 30 backwards x 5 parameters, to within 0.035 %" in result.output


def test_json_has_every_key(trace):
    arguments = [str(trace("a")), str(trace("b", change=(2, 1, float("nan")))), "--format", "json"]
    told = json.loads(CliRunner().invoke(command, arguments, standalone_mode=False).output)
    assert set(told) == {
        "schema", "first", "second", "equal", "settings", "structure", "parting", "backwards", "compared",
        "parameters", "tolerance",
    }  # fmt: skip
    assert told["parting"]["departures"][0]["second"] == "nan"
    assert told["parting"]["place"]["op"] == "AddmmBackward0"


def test_picture_shows_the_place(trace, tmp_path):
    target = tmp_path / "diff.svg"
    arguments = [str(trace("a", layers=12)), str(trace("b", layers=12, change=(2, 1, 2.0))), "-o", str(target)]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert result.return_value == 1
    texts = {element.text for element in ET.parse(target).iter() if element.text}
    assert any("parts here" in text for text in texts)
    assert "50 % apart" in texts
    assert "From a.gradtrace to b.gradtrace" in texts
    assert not any("layer9" in text for text in texts), "what is far from the difference is folded"


def test_a_picture_of_other_structure_is_about_structure_alone(trace, tmp_path):
    """With another structure all gradients differ, which nobody needs to be shown."""
    target = tmp_path / "diff.svg"
    arguments = [str(trace("a")), str(trace("b", layers=6, change=(1, 1, 2.0))), "-o", str(target)]
    CliRunner().invoke(command, arguments, standalone_mode=False)
    texts = [element.text for element in ET.parse(target).iter() if element.text]
    assert any(text.startswith("added layer5") for text in texts)
    assert not any("apart" in text or "parts here" in text for text in texts)


def test_bitwise_and_tolerance_exclude_each_other(trace):
    result = CliRunner().invoke(command, [str(trace("a")), str(trace("b")), "--bitwise", "--tolerance", "0.1"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output
