"""Schedules of actions against the states they must have, and against the least number of steps there is."""

from functools import lru_cache

import pytest

from functrans.control.schedules import advances, checked_checkpoint, revolve, snapshots


@lru_cache(None)
def least(steps, kept):
    """The least number of steps run, by trying every place for the next state."""
    if steps <= 1:
        return 0
    if kept == 1:
        return steps * (steps - 1) // 2
    return min(first + least(steps - first, kept - 1) + least(first, kept) for first in range(1, steps))


def perform(steps, kept):
    """The steps gone back through, how many were run, and the most states kept, of a loop that counts its steps."""
    state, stack, back, run, most = 0, [], [], 0, 0
    for kind, step, *stop in revolve(steps, kept):
        if kind == "save":
            assert state == step
            stack.append(state)
            most = max(most, len(stack))
        elif kind == "advance":
            assert state == step
            state = stop[0]
            run += stop[0] - step
        elif kind == "back":
            assert state == step
            back.append(step)
        elif kind == "restore":
            state = stack[-1]
            assert state == step
        else:
            assert (kind, stack.pop()) == ("drop", step)
    assert not stack
    return back, run, most


@pytest.mark.parametrize("kept", [1, 2, 3, 5, 8, 40])
def test_every_step_once_in_order_with_the_least_work_and_room(kept):
    for steps in range(40):
        back, run, most = perform(steps, kept)
        assert back == list(reversed(range(steps)))
        assert run == least(steps, kept) == advances(steps, kept)
        assert most <= kept


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 1000, 5000])
def test_room_and_work_of_the_rules(steps):
    _, run, most = perform(steps, snapshots("sqrt", steps))
    assert most <= (2 * steps) ** 0.5 + 1 and run <= 2 * steps
    _, run, most = perform(steps, snapshots("recursive", steps))
    assert most <= steps.bit_length() and run <= steps * steps.bit_length() / 2
    _, run, _ = perform(steps, snapshots(None, steps))
    assert run == steps - 1


@pytest.mark.parametrize("wrong", [0, -1, True, "square", 2.0])
def test_what_is_no_checkpoint(wrong):
    with pytest.raises(ValueError, match=r"(?s)scan: checkpoint is .*Remedy"):
        checked_checkpoint("scan", wrong)
