"""Why ops give NaN or infinity, in the forward and in their derivative, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from gradtrace.model import Node


class Reason(NamedTuple):
    """`ops` are names in lower case without autograd's suffix."""

    ops: tuple[str, ...]
    cause: str
    fix: str


_ENDS = ("acos", "asin", "atanh", "acosh", "erfinv", "logit")
_EXPONENTIALS = ("exp", "expm1", "sinh", "cosh")
_SOFTMAXES = ("softmax", "logsoftmax", "log_softmax", "logsumexp")
_LOGS = ("log", "log2", "log10", "log1p", "xlogy")

_EPSILON = "add an epsilon to the denominator"
_INSIDE = "clamp the argument a little inside of the range"
_SHIFT = "subtract the maximum first, or clamp the argument"
_STABLE_LOG = "clamp or shift the argument, or use log_softmax, logsigmoid or logsumexp"
_UNMASKED = "leave one position of every row unmasked, or mask with a large finite number"

BACKWARD = (
    Reason(
        ("all_reduce",),
        "another rank brings it in: every op of this one gave finite gradients",
        "look at the traces of the other ranks; `gradtrace check` over their folder names the rank and the op",
    ),
    Reason(
        ("compiledfunction",),
        "it is born inside a region of torch.compile, whose single ops are not seen",
        "trace the same program with TORCHDYNAMO_DISABLE=1 set: the op and its line are then named",
    ),
    Reason(
        ("sqrt", "rsqrt"),
        "the derivative of sqrt at 0 is infinite, and 0 x inf is NaN",
        "add an epsilon inside the square root, or use torch.linalg.vector_norm",
    ),
    Reason(
        ("linalgvectornorm", "norm", "cdist", "pairwisedistance", "dist"),
        "the derivative of a norm at the zero vector is 0/0",
        "add an epsilon inside the norm, or take the squared norm",
    ),
    Reason(
        ("pow",),
        "the derivative of x ** p at 0 is infinite for p < 1 (and does not exist for a negative base)",
        "clamp the base away from zero before the power",
    ),
    Reason(_LOGS, "the derivative of log is 1 / x, infinite at 0", _STABLE_LOG),
    Reason(("div", "reciprocal"), "a division by (almost) zero", _EPSILON),
    Reason(_ENDS, "the derivative is infinite at the end of the op's range", _INSIDE),
    Reason(
        ("std", "var"),
        "the standard deviation of equal values has an infinite derivative, that of one value none",
        "add an epsilon to the variance and take the square root, or use unbiased=False",
    ),
    Reason(
        ("where",),
        "the branch that where() does not take has an infinite derivative, and 0 x inf is NaN",
        "make the argument safe before the singular op, not its result after it",
    ),
    Reason(
        ("linalgeigh", "linalgeig", "linalgsvd"),
        "the derivative of the vectors divides by the differences of the values, and some of these are equal",
        "use only the values (eigvalsh, svdvals), or keep them apart: a small multiple of distinct numbers on the "
        "diagonal",
    ),
    Reason(
        ("tocopy",),
        "the gradient leaves the range of the narrower type that it is cast to",
        "lower the loss scale (torch.amp.GradScaler finds it), take a mean in place of a sum, or use bfloat16",
    ),
    Reason(_EXPONENTIALS, "exp overflows", _SHIFT),
    Reason(_SOFTMAXES, "a row that is masked as a whole is -inf everywhere", _UNMASKED),
    Reason(
        ("mul", "mm", "bmm", "addmm"),
        "a product overflows, or zero meets infinity",
        "find the infinite factor: it was made in the forward",
    ),
)
"""Derivatives that do not exist, or are infinite."""

FORWARD = (
    Reason(_LOGS, "log of zero or of a negative number", _STABLE_LOG),
    Reason(
        ("sqrt", "rsqrt"),
        "square root of a negative number, or 1 / sqrt of zero",
        "clamp the argument to zero or above, plus an epsilon",
    ),
    Reason(("div", "truediv", "reciprocal"), "a division by zero", _EPSILON),
    Reason(_EXPONENTIALS, "exp overflows", _SHIFT),
    Reason(_SOFTMAXES, "a row that is -inf everywhere, or an infinite logit", _UNMASKED),
    Reason(
        ("std", "var", "std_mean", "var_mean"),
        "the unbiased variance of one value is 0/0",
        "use unbiased=False, or a batch of more than one",
    ),
    Reason(
        ("nativelayernorm", "nativegroupnorm", "nativebatchnorm", "layer_norm", "group_norm", "batch_norm"),
        "the values are all equal and eps is zero: 0/0",
        "give the normalisation an eps above zero",
    ),
    Reason(
        ("pow",),
        "the power overflows, or does not exist (zero to a negative power, a negative base to a broken one)",
        "clamp the base or the exponent",
    ),
    Reason(_ENDS, "an argument at or outside of the end of the op's range", _INSIDE),
    Reason(
        ("ctcloss", "cudnnctcloss", "miopenctcloss", "ctc_loss"),
        "an input that is too short for its target has no alignment: its probability is zero",
        "drop such pairs, or pass zero_infinity=True",
    ),
    Reason(
        ("linalgslogdet", "slogdet", "logdet"),
        "the matrix is singular: the log of its determinant is -inf",
        "start from an invertible matrix, or parametrise it so that it stays one (LU, QR)",
    ),
    Reason(
        ("mseloss", "mse_loss", "smoothl1loss", "huberloss"),
        "a difference or its square leaves the range of its type",
        "scale predictions and targets down (normalisation, a lower learning rate)",
    ),
    Reason(
        ("mul", "mm", "bmm", "addmm", "matmul", "linear", "convolution", "conv1d", "conv2d", "sum", "mean"),
        "a product or sum leaves the range of its type",
        "scale the values down (normalisation, lower learning rate) or use a wider type",
    ),
)
"""Values that do not exist, or overflow."""


_SINGULAR = (*_LOGS, *_ENDS, "sqrt", "rsqrt", "linalgvectornorm", "norm", "cdist", "std", "reciprocal", "atan2")
"""Ops whose derivative is infinite, or does not exist, at some value of their range."""


def has_singular_derivative(node: Node) -> bool:
    """Whether the op is one of those, or a power below one."""
    if _plain(node.op) == "pow":
        exponent = (node.attributes or {}).get("exponent")
        return isinstance(exponent, (int, float)) and exponent < 1
    return _plain(node.op) in _SINGULAR


def reason_for(op: str | None, table: tuple[Reason, ...]) -> tuple[str | None, str]:
    """Cause and remedy for an op by its name, with or without autograd's suffix (`SqrtBackward0`, `sqrt`)."""
    name = _plain(op)
    for reason in table:
        if name in reason.ops:
            return reason.cause, reason.fix
    return None, "look at the values that enter this op, at this backward"


def _plain(op: str | None) -> str:
    return (op or "").rstrip("0123456789").removesuffix("Backward").lower().strip("_")


_OWN = Reason(
    (),
    "the backward of this autograd.Function gives it for a finite gradient",
    "guard the divisions and roots in its backward(), and try it with torch.autograd.gradcheck",
)
_OVERFLOW = Reason(
    (),
    "the gradients beside it are near the end of their range: it has grown from op to op until it overflowed",
    "initialise smaller, lower the learning rate, clip the gradient norm, or unroll fewer steps",
)
_INDEFINITE = Reason(
    ("mul", "mm", "bmm", "addmm", "matmul", "linear", "sub", "add", "sum", "mean", "div", "truediv"),
    "an operand is infinite already: zero times infinity and infinity minus infinity are NaN",
    "keep that operand finite (torch.special.xlogy for x log x, a clamp, a finite mask value)",
)


def reason_behind(op: str | None, direction: str, value: str, facts: Mapping[str, Any]) -> tuple[str | None, str]:
    """Cause and remedy for a value born in `op`, from what is known of the op's operands."""
    if facts.get("branch_not_taken"):
        return reason_for("where", BACKWARD)
    if facts.get("overflows"):
        return _OVERFLOW.cause, _OVERFLOW.fix
    if direction == "backward":
        return (_OWN.cause, _OWN.fix) if _is_own(op) else reason_for(op, BACKWARD)
    if value == "nan" and _plain(op) in _INDEFINITE.ops and _any_infinite(facts.get("inputs") or ()):
        return _INDEFINITE.cause, _INDEFINITE.fix
    return reason_for(op, FORWARD)


def _is_own(op: str | None) -> bool:
    """Nodes of Python's autograd.Function carry no version digit; a compiled graph is torch's."""
    return bool(op) and str(op).endswith("Backward") and not str(op).startswith("CompiledFunction")


def _any_infinite(operands: Any) -> bool:
    return any(math.isinf(limit) for operand in operands for limit in (operand["min"], operand["max"]))
