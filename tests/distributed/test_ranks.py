"""Programs of several processes under `gradtrace run`: one trace a rank in one folder, read as one."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

import gradtrace

PROGRAMS = Path(__file__).parent / "programs"
LAUNCH = ("-m", "torch.distributed.run", "--nproc-per-node", "2")


@pytest.fixture
def launch(gradtrace_process, tmp_path):
    """Runs a program on two ranks with the launcher inside `gradtrace run`; gives what it printed and the trace."""

    def run(program, *args):
        done = gradtrace_process("run", "-o", "ranks", *LAUNCH, PROGRAMS / program, *args)
        return done, gradtrace.load(tmp_path / "ranks")

    return run


def codes(trace):
    return [finding.code for finding in trace.findings]


def test_children_of_a_launcher_are_ranks_in_one_folder(launch):
    done, trace = launch("ddp.py", "nothing")
    assert (done.stdout, done.returncode) == ("trained\n", 0)
    assert done.stderr.count("no findings in 16 backwards") == 1
    assert done.stderr.splitlines()[-1] == "gradtrace: next: gradtrace show ranks"
    assert [recording.meta["rank"] for recording in trace.recordings] == [0, 1]
    assert [len(recording) for recording in trace.recordings] == [16, 16]
    assert all(recording.closed and recording.events("program") for recording in trace.recordings)
    assert trace.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.mark.slow
def test_a_launcher_around_gradtrace_run(tmp_path, gradtrace_process):
    inner = ["-m", "gradtrace", "run", "-o", "ranks", PROGRAMS / "ddp.py", "nothing"]
    done = gradtrace_process("run", "--no-children", *LAUNCH, *inner)
    assert done.stdout == "trained\n"
    assert done.stderr.count("next: gradtrace show ranks") == 1
    assert len(gradtrace.load(tmp_path / "ranks").recordings) == 2


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "around"])
def test_accelerate_launch(tmp_path, gradtrace_process, inside):
    pytest.importorskip("accelerate")
    launcher = ["-m", "accelerate.commands.launch", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    # "Multi-GPU" is what starts several processes here; there being no GPU, they talk by gloo.
    launcher += ["--dynamo_backend=no", "--multi_gpu", f"--main_process_port={_free_port()}"]
    program = PROGRAMS / "accelerated.py"
    traced = ["-m", "gradtrace", "run", "-o", "ranks", program]
    command = ["-o", "ranks", *launcher, program] if inside else ["--no-children", *launcher, *traced]
    done = gradtrace_process("run", *command, env={**os.environ, "ACCELERATE_USE_CPU": "true"})
    assert (done.stdout, done.returncode) == ("trained\n", 0)
    assert done.stderr.count("no findings in 4 backwards") == 1
    assert done.stderr.count("next: gradtrace show ranks") == 1
    trace = gradtrace.load(tmp_path / "ranks")
    assert [len(recording) for recording in trace.recordings] == [4, 4]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_nan_of_one_rank_names_the_rank(launch):
    done, trace = launch("ddp.py", "nan")
    (finding,) = trace.findings
    assert (finding.code, finding.where.rank, finding.first_backward) == ("GT502", 1, 8)
    assert finding.where.parameter == "0.weight"
    assert "GT502" in done.stderr
    live = (
        "rank 0: GT201 nan-gradient: NaN comes in with the reduction over 2 ranks, not born on this one, at backward 8"
    )
    assert live in done.stderr
    (alone,) = gradtrace.load(trace.path / "rank0.gradtrace").findings
    assert (alone.code, alone.where.op, alone.where.source) == ("GT201", "all_reduce", None)


@pytest.mark.slow
def test_weights_that_part_are_named(launch):
    _, trace = launch("ddp.py", "drift")
    (finding,) = trace.findings
    assert (finding.code, finding.where.parameter, finding.first_backward) == ("GT501", "2.weight", 11)


@pytest.mark.slow
@pytest.mark.parametrize("healthy", ["accumulate", "slow"])
def test_healthy_ranks_raise_no_alarm(launch, healthy):
    assert codes(launch("ddp.py", healthy)[1]) == []


@pytest.mark.slow
def test_a_killed_rank_leaves_its_trace_and_hangs_nobody(launch):
    done, trace = launch("ddp.py", "kill")
    assert done.returncode == 1
    assert [recording.closed for recording in trace.recordings][1] is False
    assert len(trace.recordings[1]) == 10
    assert "rank1.gradtrace is still being written, or its program was killed" in str(trace)


@pytest.mark.parametrize("way", ["fully_shard", "tensor_parallel"])
def test_norms_are_those_of_the_whole_parameter(launch, way):
    done, trace = launch("sharded.py", way)
    whole = json.loads(done.stdout)
    for rank in (0, 1):
        gradients = trace.gradients(rank=rank)
        assert set(gradients.parameters) == set(whole)
        measured = dict(zip(gradients.parameters, gradients[0].tolist(), strict=True))
        assert measured == pytest.approx(whole, rel=1e-5)
    assert codes(trace) == []


@pytest.mark.parametrize(("compiled", "regions"), [("inside", 1), pytest.param("around", 0, marks=pytest.mark.slow)])
def test_compiled_replicas_train_as_untraced_ones(launch, gradtrace_process, compiled, regions):
    """Around the replica torch itself compiles nothing: the wrapper's forward is marked as not to be traced."""
    untraced = gradtrace_process("run", "--no-children", *LAUNCH, PROGRAMS / "compiled.py", compiled)
    done, trace = launch("compiled.py", compiled)
    assert (done.stdout, done.returncode) == (untraced.stdout, 0)
    assert "global hooks" not in done.stderr, "hooks of the tracer would be compiled in"
    for recording in trace.recordings:
        (event,) = recording.events("compiler")
        assert (event.payload["regions"], event.payload["boxes"]) == (regions, 0)
        assert len(recording) == 8
    assert codes(trace) == []
