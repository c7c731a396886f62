"""`gradtrace run` on programs that train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import gradtrace

TRAIN = """
import sys, torch
from torch import nn

class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x):
        hidden = self.first(x)
        return self.second(hidden.detach() if "cut" in sys.argv else hidden)

model = Cut()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(12):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 3)).pow(2).mean()
    loss.backward()
    optimizer.step()
    if "fail" in sys.argv and step == 5:
        raise RuntimeError("as asked")
    if "wait" in sys.argv and step == 5:
        import time
        print("ready", flush=True)
        time.sleep(60)
print("trained")
if "exit" in sys.argv:
    sys.exit(7)
"""


@pytest.fixture
def train(tmp_path, gradtrace_process):
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))

    def run(*args, options=(), **settings):
        return gradtrace_process("run", *options, "train.py", *args, **settings)

    return run


def events(path):
    return [event.payload for event in gradtrace.load(path).recording().events("program")]


def test_verdict_and_next_command(train, tmp_path):
    done = train("cut")
    assert (done.stdout, done.returncode) == ("trained\n", 0)
    lines = done.stderr.splitlines()
    assert all(line.startswith("gradtrace: ") for line in lines)
    assert any(line.startswith("gradtrace: 1 error in 12 backwards") for line in lines)
    assert lines[-1] == "gradtrace: next: gradtrace show train.gradtrace"
    assert [finding.code for finding in gradtrace.load(tmp_path / "train.gradtrace").findings] == ["GT301"]
    assert events(tmp_path / "train.gradtrace") == [{"exit_code": 0, "exception": None}]


def test_check_gates_on_findings_and_never_hides_the_programs_code(train):
    assert train(options=["--check", "-q"]).returncode == 0
    assert train("cut", options=["--check", "-q"]).returncode == 1
    assert train("cut", "exit", options=["--check", "-q"]).returncode == 7
    assert train("cut", options=["--check", "--ignore", "GT3,GT4"]).returncode == 0


def test_what_could_not_be_traced_does_not_pass_a_check(train):
    plain, checked = (train(options=["-o", "/dev/null/t.gradtrace", *check]) for check in ([], ["--check"]))
    assert (plain.returncode, checked.returncode) == (0, 2)
    assert plain.stdout == checked.stdout == "trained\n"
    assert checked.stderr.splitlines()[-1] == "gradtrace: not checked: the tracing ended before the program did"


def test_a_program_that_raises(train, tmp_path):
    done = train("fail")
    plain = subprocess.run([sys.executable, "train.py", "fail"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == plain.returncode == 1
    assert done.stderr.startswith(plain.stderr)
    (event,) = events(tmp_path / "train.gradtrace")
    assert event == {"exit_code": 1, "exception": "RuntimeError: as asked"}
    assert gradtrace.load(tmp_path / "train.gradtrace").backwards == 6


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)])
def test_what_was_recorded_outlives_the_program(train, tmp_path, sent, code):
    command = [sys.executable, "-m", "gradtrace", "run", "train.py", "wait"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    train  # noqa: B018  wrote the program
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.5)
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert process.returncode == code
    trace = gradtrace.load(tmp_path / "train.gradtrace")
    assert trace.backwards == 6
    assert trace.recording().closed == (sent == signal.SIGINT)


RAISING = """
import torch
weight = torch.ones(2, 3, requires_grad=True)

def forward(x):
    return torch.mm(x, weight)

def train(x):
    try:
        forward(x).sum().backward()
    except RuntimeError as error:
        raise ValueError("no step") from error

x = torch.ones(4, 2)
train(x)
try:
    forward(x).detach().sum().backward()
except RuntimeError:
    train(x.T)
"""


def test_tracebacks_are_those_of_plain_python(tmp_path, gradtrace_process):
    (tmp_path / "raising.py").write_text(RAISING)
    plain = subprocess.run([sys.executable, "raising.py"], cwd=tmp_path, capture_output=True, text=True)
    traced = gradtrace_process("run", "-q", "--on-finding", "ignore", "raising.py")
    notes = [line for line in traced.stderr.splitlines() if line.startswith("gradtrace: ")]
    assert len(notes) == 1  # on the detached loss
    assert [line for line in traced.stderr.splitlines() if line not in notes] == plain.stderr.splitlines()


def test_an_error_of_gradtrace_keeps_its_frames(tmp_path, gradtrace_process):
    (tmp_path / "wrong.py").write_text("import torch, gradtrace\ngradtrace.graph(torch.ones(1))\n")
    done = gradtrace_process("run", "-q", "wrong.py")
    assert done.returncode == 1
    assert "oneshot.py" in done.stderr


def test_without_standard_error(train, tmp_path):
    """A daemon may have closed it; findings, warnings and progress then have nowhere to go."""
    train("cut")
    shell = ["sh", "-c", 'exec 2>&-; exec "$@"', "sh", sys.executable, "-m", "gradtrace"]
    for args, expected in (
        [["run", "train.py", "cut"], "trained\n"],
        [["export", "train.gradtrace", "--to", "csv"], "train-csv\n"],
    ):
        done = subprocess.run([*shell, *args], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, expected)


def test_options_reach_the_tracer(train, tmp_path):
    options = ["-o", "deep/er.gradtrace", "--every", "3", "--graph", "off", "--no-source", "--select", "GT2"]
    assert train("cut", options=options).stderr.splitlines()[-1] == "gradtrace: next: gradtrace show deep/er.gradtrace"
    recording = gradtrace.load(tmp_path / "deep" / "er.gradtrace").recording()
    recorded = recording.meta["options"]
    assert (recorded["every"], recorded["graph"], recorded["source"], recorded["select"]) == (3, "off", False, ["GT2"])
    assert recording.snapshots == []
    assert len(recording) == 4


def test_settings_of_the_project(train, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.gradtrace]\nignore = ["GT3", "GT4"]\n')
    assert "no findings in 12 backwards" in train("cut").stderr


def test_a_second_run_replaces_the_trace_and_a_foreign_file_is_left_alone(train, tmp_path):
    train()
    first = gradtrace.load(tmp_path / "train.gradtrace").recording().meta["id"]
    train()
    assert gradtrace.load(tmp_path / "train.gradtrace").recording().meta["id"] != first
    (tmp_path / "train.gradtrace").write_text("mine")
    done = train()
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no trace" in done.stderr
    assert (tmp_path / "train.gradtrace").read_text() == "mine"


def test_ranks_share_a_folder(train, tmp_path):
    for rank in range(2):
        done = train(env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)})
        assert done.returncode == 0
        assert ("next:" in done.stderr) == (rank == 0)
        assert "Error" not in done.stderr
    trace = gradtrace.load(tmp_path / "train.gradtrace")
    assert [recording.meta["rank"] for recording in trace.recordings] == [0, 1]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(tmp_path, gradtrace_process, start):
    (tmp_path / "loader.py").write_text(
        textwrap.dedent("""
        import sys
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Numbers(Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, index):
                return torch.full((3,), float(index))

        if __name__ == "__main__":
            model = torch.nn.Linear(3, 1)
            for batch in DataLoader(Numbers(), batch_size=4, num_workers=2, multiprocessing_context=sys.argv[1]):
                model(batch).sum().backward()
            print("done")
        """)
    )
    done = gradtrace_process("run", "loader.py", start)
    assert (done.stdout, done.returncode) == ("done\n", 0)
    assert done.stderr.count("next:") == 1
    assert gradtrace.load(tmp_path / "loader.gradtrace").backwards == 2


def test_stopping_at_the_faulty_step(train):
    done = train("cut", options=["--on-finding", "raise"])
    assert done.returncode == 1
    assert "FindingRaised: GT301" in done.stderr
    assert "trained" not in done.stdout


def test_resume_continues_the_trace_that_is_there(train, tmp_path):
    for backwards in (12, 24):
        done = train(options=["--resume"])
        assert f"no findings in {backwards} backwards" in done.stderr
    assert "no findings in 12 backwards" in train().stderr


def test_what_cannot_be_resumed_is_said_once_and_the_program_runs(train, tmp_path):
    train()
    trace = tmp_path / "train.gradtrace"
    trace.write_bytes(trace.read_bytes()[:3000])
    done = train(options=["--resume"])
    assert (done.returncode, done.stdout) == (0, "trained\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("gradtrace: not tracing: ")
    assert "is damaged" in line


SECOND = """

other = Cut()
optimizer = torch.optim.SGD(other.parameters(), lr=0.01)
for step in range(6):
    optimizer.zero_grad()
    other.second(other.first(torch.randn(4, 3))).pow(2).mean().backward()
    optimizer.step()
"""


def test_a_finding_that_got_a_longer_name_is_not_said_to_be_gone(train, tmp_path):
    """A second root module puts the variable's name in front of what was found before."""
    with (tmp_path / "train.py").open("a") as script:
        script.write(SECOND)
    done = train("cut")
    early, late = (text in done.stderr for text in (" reaches first.weight", " reaches model.first.weight"))
    assert early, done.stderr
    assert late, done.stderr
    assert "does not hold" not in done.stderr
