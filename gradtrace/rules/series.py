"""Which backwards of one line belong together: one line often trains several models, fold after fold."""

from __future__ import annotations

import numpy as np

from gradtrace.rules.arrays import Ints, Mask


def by_model(got: Mask) -> Ints:
    """(rows,): the same number for backwards that brought gradients to the same leaves, or to leaves that a chain of
    others connects, as the experts of one model are. `got` (rows, leaves) tells who got one; each row has some."""
    marks, mark_of = np.unique(np.argmax(got, axis=1), return_inverse=True)
    reached = [got[mark_of == mark].any(axis=0) for mark in range(len(marks))]
    labels = np.arange(len(marks))
    for mark, leaves in enumerate(reached[1:], 1):
        joined = {int(labels[other]) for other in range(mark) if (reached[other] & leaves).any()}
        labels[np.isin(labels, [*joined])] = mark
    return labels[mark_of]
