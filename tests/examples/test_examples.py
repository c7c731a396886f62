"""Each example as a reader runs it: a sensible score where it is right, the right diagnosis where it is broken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SCORES = {
    "image_recognition": (r"unseen digits: ([\d.]+)%", 94, 100),
    "house_prices": (r"unseen sales: ([\d.]+)%", 0, 9),
    "recommender": (r"unseen ratings: ([\d.]+) stars", 0.8, 0.88),
    "tune_hyperparameters": (r"after tuning: ([\d.]+)%", 95, 100),
}
"""What the script prints, and between which bounds a run that learned ends."""

DIAGNOSES = {
    "image_recognition": ("GT701", "softmax(dim=1)", ["--epochs", "1"]),
    "house_prices": ("GT704", "criterion(model(features[batch]), target[batch])", ["--epochs", "1"]),
    "recommender": ("GT302", "self.tastes(users) * self.traits(films)", ["--epochs", "1"]),
    "tune_hyperparameters": ("GT301", ".exp().item()", []),
}
"""Code, the line it must point at, and options that make the broken run short."""


def trace(tmp_path, name, *options):
    """Run an example under `gradtrace run`; returns what it printed and the findings."""
    path = tmp_path / f"{name}.gradtrace"
    script = str(EXAMPLES / f"{name}.py")
    run = command("run", "-o", path, script, *options, folder=tmp_path)
    assert run.returncode == 0, run.stderr
    return run.stdout, findings(path, tmp_path)


def findings(path, folder):
    check = command("check", path, "--format", "json", folder=folder)
    return [finding for finding in json.loads(check.stdout)["findings"] if finding["severity"] != "note"]


def command(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "gradtrace", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", SCORES)
def test_example_learns_and_raises_nothing(tmp_path, name):
    pattern, low, high = SCORES[name]
    printed, found = trace(tmp_path, name)
    score = re.search(pattern, printed)
    assert score is not None, printed
    assert low <= float(score[1]) <= high
    assert found == []


@pytest.mark.parametrize("name", DIAGNOSES)
def test_broken_example_is_diagnosed(tmp_path, name):
    code, text, options = DIAGNOSES[name]
    _, found = trace(tmp_path, name, "--broken", *options)
    assert [finding["code"] for finding in found] == [code]
    assert text in found[0]["where"]["source"]["text"]


@pytest.mark.parametrize(("options", "codes"), [([], []), (["--broken"], ["GT401"])])
def test_linear_regression(tmp_path, options, codes):
    script = str(EXAMPLES / "linear_regression.py")
    run = subprocess.run([sys.executable, script, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(re.findall(r"^Epoch \d+, Loss: \d+\.\d{4}$", run.stdout, re.MULTILINE)) == 5
    assert [finding["code"] for finding in findings(tmp_path / "linear_regression.gradtrace", tmp_path)] == codes


def test_every_example_says_what_it_does():
    for script in EXAMPLES.glob("*.py"):
        assert script.read_text(encoding="utf-8").startswith('"""'), script
