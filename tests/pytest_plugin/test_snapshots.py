"""Gradients kept beside a test."""

from __future__ import annotations

import json
import re

import pytest
import torch

from gradtrace.pytest_support.names import plain_file_name
from gradtrace.pytest_support.snapshots import FOLDER, GradientSnapshots


class Net(torch.nn.Module):
    def __init__(self, scale=1.0, activation=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
        self.scale, self.activation = scale, activation

    def forward(self, x):
        return self.second(self.activation(self.first(x))) * self.scale


def loss_of(model):
    return model(torch.ones(5, 3)).pow(2).mean()


@pytest.fixture
def snapshot(request, tmp_path, monkeypatch):
    """The fixture on a test in an empty folder; `update` as if with --gradtrace-update."""

    def make(*, update=False):
        monkeypatch.setattr(request.config.option, "gradtrace_update", update)
        monkeypatch.setattr(request.node, "path", tmp_path / "test_it.py")
        return GradientSnapshots(request.node)

    return make


def kept_files(tmp_path):
    return sorted(path.name for path in (tmp_path / FOLDER).glob("*.json"))


def test_kept_once_equal_ever_after(snapshot, tmp_path):
    keep = snapshot(update=True)
    for _ in range(2):
        model = Net()
        keep(model, loss_of(model))
    keep(model, loss_of(model), name="other")
    assert len(kept_files(tmp_path)) == 3
    again = snapshot()
    for _ in range(2):
        model = Net()
        again(model, loss_of(model))
    again(model, loss_of(model), name="other")


def test_tests_that_file_names_do_not_tell_apart_keep_their_own():
    names = [
        "test_it[1]",
        "test_it[a-b]",
        "test_it[a/b]",
        "test_it[a b]",
        f"test_it[{'x' * 300}1]",
        f"test_it[{'x' * 300}2]",
    ]
    files = [plain_file_name(name) for name in names]
    assert files[:2] == ["test_it-1-", "test_it-a-b-"]
    assert len(set(files)) == len(names)
    assert all(len(file) < 150 and re.fullmatch(r"[\w.=-]+", file) for file in files)


def test_nothing_kept_yet_fails_and_says_how(snapshot, tmp_path):
    model = Net()
    with pytest.raises(pytest.fail.Exception, match=r"no gradients are kept in .* --gradtrace-update"):
        snapshot()(model, loss_of(model))
    assert kept_files(tmp_path) == []


def test_another_norm_is_named(snapshot):
    model, other = Net(), Net(scale=1.01)
    snapshot(update=True)(model, loss_of(model))
    with pytest.raises(pytest.fail.Exception) as caught:
        snapshot()(other, loss_of(other))
    assert "first.weight: norm " in str(caught.value)
    assert "other ops" not in str(caught.value)
    snapshot()(other, loss_of(other), rtol=0.1)


def test_another_graph_is_named(snapshot):
    model, other = Net(), Net(activation=torch.sigmoid)
    snapshot(update=True)(model, loss_of(model))
    with pytest.raises(pytest.fail.Exception, match=r"SigmoidBackward0 0 -> 1 and TanhBackward0 1 -> 0"):
        snapshot()(other, loss_of(other), rtol=1e9)


def test_none_and_nan_are_kept_as_such(snapshot, tmp_path):
    model = Net(activation=lambda x: (x * float("nan")).detach())
    snapshot(update=True)(model, loss_of(model))
    (file,) = (tmp_path / FOLDER).glob("*.json")
    norms = json.loads(file.read_text())["norms"]
    assert (norms["first.weight"], norms["second.weight"]) == (None, "nan")
    snapshot()(model, loss_of(model))


SUITE = """
import torch

def test_it(gradtrace_snapshot):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    gradtrace_snapshot(model, (model(torch.ones(2, 3)) * SCALE).sum())
"""


def test_kept_by_the_option_and_compared_without_it(pytester):
    def run(scale, *options):
        pytester.makepyfile(test_it=SUITE.replace("SCALE", scale))
        return pytester.runpytest(*options)

    run("1.0").assert_outcomes(failed=1)
    run("1.0", "--gradtrace-update").assert_outcomes(passed=1)
    run("1.0").assert_outcomes(passed=1)
    result = run("2.0")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gradients differ from *test_it.json; run pytest with --gradtrace-update*"])
