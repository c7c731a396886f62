"""Awkward models and loops: what a tracer has to survive without changing a bit.

Each function decorated with `awkward` builds one program afresh and enters it into the one table, `ZOO`; `run` trains
it for some steps and collects everything that a tracer could have disturbed, for a comparison bit by bit.
"""

from zoo import architectures, derivatives, faults, hooks, loops, tensors, threads, weights
from zoo.base import ZOO, Awkward, Outcome, Program, batch, mlp, plain_step, run, selected, untraced

__all__ = [
    "ZOO",
    "Awkward",
    "Outcome",
    "Program",
    "architectures",
    "batch",
    "derivatives",
    "faults",
    "hooks",
    "loops",
    "mlp",
    "plain_step",
    "run",
    "selected",
    "tensors",
    "threads",
    "untraced",
    "weights",
]
