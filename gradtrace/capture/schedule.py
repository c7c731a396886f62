"""When to look closely: module hooks, source lines and measured gradients cost time, so they are on for few
backwards."""

from __future__ import annotations

import time
from collections import Counter, deque

FIRST = 3
"""Backwards from the start that are always looked at closely."""

WALKED_FIRST = 20
"""Backwards from the start whose structure is always walked."""

WALK_SHARE = 0.005
"""Share of the time between backwards that walking the graph for structure may take from then on."""

TRIGGER_SHARE = 0.02
"""Share of the run's time that close looks out of turn (new structures) may take together."""

STRUCTURES = 1_000
"""Structures counted at most; a program with more of them changes its graph all the time."""

_MANY = 8


def on_series(number: int) -> bool:
    """Whether a number is on the series 1, 2, 5, 10, 20, 50, 100, ..."""
    while number % 10 == 0 and number >= 10:
        number //= 10
    return number in (1, 2, 5)


class Schedule:
    """Decides, after each backward, whether the next one is armed, and before each whether its graph is walked.

    Loops that alternate between several losses are looked at in windows as long as their cycle, so that each kind of
    backward is seen. A structure that comes up later, a second network say, has a series of its own, as far as
    `TRIGGER_SHARE` goes.
    """

    def __init__(self, graph: str | int) -> None:
        self._graph = graph
        self._window = 0
        self._recent: deque[int] = deque(maxlen=16)
        self._walk_seconds = 0.0
        self._interval = 0.0
        self._last_time: float | None = None
        self._unwalked = 0
        self._began = time.perf_counter()
        self._spent_on_triggers = 0.0
        self._triggered = False
        self._out_of_turn = False
        self._structure = 0
        self._counts: dict[int, int] = {}

    def arm_next(self, number: int) -> bool:
        """Whether backward `number` is to be looked at closely; asked once, in order."""
        if on_series(self._counts.get(self._structure, 0) + 1):
            self.trigger()
        self._out_of_turn, self._triggered = self._triggered, False
        if self._out_of_turn:
            self._window = max(self._window, 1)
        if self._graph == "all":
            return True
        if self._graph in ("first", "off"):
            return number == 1
        if isinstance(self._graph, int):
            return number == 1 or number % self._graph == 0
        if number <= FIRST or on_series(number):
            self._out_of_turn = False
            self._window = max(self._window, self._cycle())
        if self._window > 0:
            self._window -= 1
            return True
        return False

    def _cycle(self) -> int:
        """Kinds of backwards that take turns: structures that came up again lately. One that never does, as where the
        graph depends on the length of the data, is no kind."""
        again = sum(times > 1 for times in Counter(self._recent).values())
        return min(max(again, 1), _MANY)

    def trigger(self, *, urgent: bool = False) -> None:
        """Something was seen that calls for a close look at the next backward; taken where time allows, or if
        urgent."""
        elapsed = time.perf_counter() - self._began
        if urgent or self._spent_on_triggers <= TRIGGER_SHARE * elapsed:
            self._triggered = True

    def ran(self, overhead: float) -> None:
        """A backward is over, which cost `overhead` seconds; where its graph was not walked it is taken to be like the
        last one."""
        if self._out_of_turn:
            self._spent_on_triggers += overhead
        if len(self._counts) > STRUCTURES:
            self._counts.clear()
        self._counts[self._structure] = self._counts.get(self._structure, 0) + 1

    def walk_due(self, number: int) -> bool:
        """Whether the graph of an unarmed backward is walked: always early on, then as often as time allows."""
        if self._graph in ("first", "off"):
            return False
        now = time.perf_counter()
        if self._last_time is not None:
            interval = now - self._last_time
            self._interval = interval if self._interval == 0 else 0.9 * self._interval + 0.1 * interval
        self._last_time = now
        if number <= WALKED_FIRST or self._walk_seconds <= WALK_SHARE * self._interval * (self._unwalked + 1):
            self._unwalked = 0
            return True
        self._unwalked += 1
        return False

    def walked(self, seconds: float, fingerprint: int) -> None:
        """Account for a walk and remember which structure it found."""
        self._structure = fingerprint
        self._walk_seconds = seconds if self._walk_seconds == 0 else 0.8 * self._walk_seconds + 0.2 * seconds
        self._recent.append(fingerprint)
