"""Which backwards are looked at closely."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.capture.schedule import Schedule, on_series


def looked_at(structures: Iterable[int], overhead: float = 0.0) -> list[int]:
    """Numbers of the backwards that are armed, each walked and found to have the structure given."""
    schedule = Schedule("changes")
    known: set[int] = set()
    armed = []
    for number, structure in enumerate(structures, start=1):
        if schedule.arm_next(number):
            armed.append(number)
        elif structure not in known:
            schedule.trigger()
        known.add(structure)
        schedule.walked(0.0, structure)
        schedule.ran(overhead)
    return armed


def test_the_series_is_1_2_5() -> None:
    assert [number for number in range(1, 1001) if on_series(number)] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


def test_one_structure_is_looked_at_first_and_then_on_the_series() -> None:
    assert looked_at([1] * 120) == [1, 2, 3, 5, 10, 20, 50, 100]


def test_a_structure_that_comes_later_has_a_series_of_its_own() -> None:
    later = [number - 60 for number in looked_at([1] * 60 + [2] * 60) if number > 60]
    assert [number for number in later if number <= 20] == [2, 5, 10, 20]


def test_looks_out_of_turn_take_a_small_share_of_the_time() -> None:
    """Each look costs a hundred seconds of a run that takes none: after the first there is no time for another."""
    changing = [1] * 100 + list(range(2, 90))
    assert len([number for number in looked_at(changing) if number > 100]) > 80
    assert len([number for number in looked_at(changing, overhead=100.0) if number > 100]) == 1


def test_kinds_of_backwards_that_take_turns_are_each_looked_at() -> None:
    armed = looked_at([1, 2, 3] * 60, overhead=100.0)
    for first in (20, 50, 100):
        assert {first, first + 1, first + 2} <= set(armed)


def test_structures_that_never_come_again_are_no_kinds() -> None:
    """As of a loop over as many steps as the data is long: the run is not looked at eight backwards at a time."""
    armed = looked_at(range(120), overhead=100.0)
    assert [number for number in armed if number >= 20] == [20, 50, 100]
