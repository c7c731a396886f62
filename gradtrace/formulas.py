"""Derivative formulas as torch itself states them, read from the `derivatives.yaml` that ships inside its wheel.

torch is not imported. The names of autograd nodes follow from the file as in torch's own code generator
(`torchgen/packaged/autograd/load_derivatives.py`): the op's name in title case, "Backward", and a running number.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ENTRY = re.compile(r"^- name: ", re.MULTILINE)
_KEY = re.compile(r"^( *)([A-Za-z_]\w*(?:, *[A-Za-z_]\w*)*): *(.*)$")
_OWN_KEYS = {"output_differentiability", "dispatch", "result"}


@dataclass(frozen=True, slots=True)
class Derivative:
    """What torch says about one op.

    `arguments` are all of its arguments; `formulas` gives, for each differentiable one in the order of the node's
    `next_functions`, the C++ expression of its gradient, in which `grad` is the gradient of the op's output.
    """

    name: str
    """The op with its overload, as `sum.dim_IntList`."""
    arguments: tuple[str, ...]
    formulas: dict[str, str]

    def reading(self, argument: str) -> str | None:
        """The formula of one argument in the notation of a textbook, where torch's names a C++ function."""
        return _READINGS.get(self.name.partition(".")[0], {}).get(argument)


def derivative_of(op: str) -> Derivative | None:
    """The derivative behind an autograd node's type name ("AddmmBackward0"), None where the file has none."""
    return _derivatives().get(op)


@functools.lru_cache(maxsize=1)
def _derivatives() -> dict[str, Derivative]:
    path = _file()
    return {} if path is None else dict(_parse(path.read_text(encoding="utf-8")))


def _file() -> Path | None:
    spec = importlib.util.find_spec("torchgen")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "packaged" / "autograd" / "derivatives.yaml"
    return path if path.is_file() else None


def _parse(text: str) -> Iterator[tuple[str, Derivative]]:
    counts: Counter[str] = Counter()
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for entry in _ENTRY.split(body)[1:]:
        signature, _, rest = entry.partition("\n")
        name, arguments = _signature(signature)
        given = _formulas(rest)
        formulas = {argument: given[argument] for argument in arguments if argument in given}
        if formulas:
            prefix = node_prefix(name)
            yield f"{prefix}{counts[prefix]}", Derivative(name, arguments, formulas)
            counts[prefix] += 1


def node_prefix(name: str) -> str:
    """ "LogSoftmaxBackward" for "_log_softmax": the type name of an op's autograd node without its number."""
    camel = "".join(part.title() for part in name.partition(".")[0].split("_"))
    return (camel + "Backward").replace("ForwardBackward", "Backward")


def _signature(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and argument names of `addmm(Tensor self, Tensor mat1, *, Scalar beta=1) -> Tensor`."""
    name, _, rest = text.partition("(")
    inside = rest.rpartition(") ->")[0]
    arguments = [part.partition("=")[0].split()[-1] for part in _split(inside) if part.strip() not in ("", "*")]
    return name.strip(), tuple(arguments)


def _split(text: str) -> Iterator[str]:
    """The parts between commas that stand in no bracket."""
    depth, start = 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _formulas(body: str) -> dict[str, str]:
    """Argument to formula of one entry; of several dispatch keys, those of "Default"."""
    formulas: dict[str, str] = {}
    current: tuple[str, ...] = ()
    skipping = False
    for line in body.splitlines():
        match = _KEY.match(line)
        if match and match[2].startswith(("Default", "dispatch", "Autograd")):
            skipping = match[2].startswith("Autograd")
            current = ()
        elif match and not _inside_quotes(formulas, current):
            current = tuple(part.strip() for part in match[2].split(",")) if not skipping else ()
            formulas.update(dict.fromkeys(current, match[3].strip()))
        elif current and line.strip():
            formulas.update(dict.fromkeys(current, f"{formulas[current[0]]} {line.strip()}"))
    return {
        argument: formula.strip('"')
        for argument, formula in formulas.items()
        if argument not in _OWN_KEYS and formula != "non_differentiable"
    }


def _inside_quotes(formulas: dict[str, str], current: tuple[str, ...]) -> bool:
    return bool(current) and formulas[current[0]].startswith('"') and formulas[current[0]].count('"') % 2 == 1


_MEAN = "divided by the number of elements where the reduction is mean"
_SAME = {"self": "grad"}
_RESHAPED = {"self": "grad, in the shape of self"}

_READINGS: dict[str, dict[str, str]] = {
    "_log_softmax": {"self": "grad - exp(result) * sum(grad), the sum along dim"},
    "_softmax": {"self": "result * (grad - sum(grad * result)), the sum along dim"},
    "_unsafe_view": _RESHAPED,
    "abs": {"self": "grad * sign(self)"},
    "add": {"self": "grad", "other": "grad * alpha"},
    "addmm": {"self": "beta * grad", "mat1": "alpha * grad @ mat2.T", "mat2": "alpha * mat1.T @ grad"},
    "binary_cross_entropy_with_logits": {"self": f"grad * (sigmoid(self) - target), {_MEAN}"},
    "bmm": {"self": "grad @ mat2.T in each batch", "mat2": "self.T @ grad in each batch"},
    "clone": _SAME,
    "convolution": {
        "input": "grad convolved with the flipped weight",
        "weight": "input correlated with grad",
        "bias": "grad summed over the batch and all positions",
    },
    "div": {"self": "grad / other", "other": "-grad * self / other^2"},
    "embedding": {"weight": "each row of grad added to the row of weight that it was looked up from"},
    "exp": {"self": "grad * result"},
    "expand": {"self": "grad summed over the elements that were repeated"},
    "l1_loss": {"self": f"grad * sign(self - target), {_MEAN}"},
    "leaky_relu": {"self": "grad where self > 0, grad * negative_slope elsewhere"},
    "log": {"self": "grad / self"},
    "mean": {"self": "grad / N for each of the N elements averaged"},
    "mm": {"self": "grad @ mat2.T", "mat2": "self.T @ grad"},
    "mse_loss": {
        "self": f"grad * 2 * (self - target), {_MEAN}",
        "target": f"grad * 2 * (target - self), {_MEAN}",
    },
    "mul": {"self": "grad * other", "other": "grad * self"},
    "neg": {"self": "-grad"},
    "nll_loss_forward": {"self": f"-grad at the target's class and 0 at all others, {_MEAN}"},
    "permute": {"self": "grad, its dimensions put back"},
    "pow": {"self": "grad * exponent * self^(exponent - 1)"},
    "relu": {"self": "grad where result > 0, 0 elsewhere"},
    "reshape": _RESHAPED,
    "sigmoid": {"self": "grad * result * (1 - result)"},
    "silu": {"self": "grad * (s + self * s * (1 - s)) with s = sigmoid(self)"},
    "smooth_l1_loss": {"self": f"grad * (self - target) / beta, cut off at -1 and 1, {_MEAN}"},
    "softplus": {"self": "grad * sigmoid(beta * self)"},
    "sqrt": {"self": "grad / (2 * result)"},
    "squeeze": _RESHAPED,
    "sub": {"self": "grad", "other": "-grad * alpha"},
    "sum": {"self": "grad for each of the elements added"},
    "t": {"self": "grad.T"},
    "tanh": {"self": "grad * (1 - result^2)"},
    "transpose": {"self": "grad, the two dimensions exchanged back"},
    "unsqueeze": _RESHAPED,
    "view": _RESHAPED,
}
"""Argument to formula, for ops whose entry calls a C++ function or carries provisions for complex numbers."""
