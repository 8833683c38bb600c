"""Whose turn it is: items in order, never two at once, and the clock looked at."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ari_presence.turns import AT_ONCE, Turns


class Desk:
    """Notes what is carried out, and by which thread."""

    def __init__(self) -> None:
        """Start with nothing done and nothing due."""
        self.done: list[object] = []
        self.threads: list[str] = []
        self.looks = 0
        self.wait_s = 30.0
        self.is_broken = False
        self.turns = Turns(self._carry_out, self._on_time)
        self._thread = threading.Thread(target=self.turns.run, name="turns")

    def _carry_out(self, item: object) -> None:
        self.threads.append(threading.current_thread().name)
        if callable(item):
            item()
        self.done.append(item)

    def _on_time(self) -> float:
        self.looks += 1
        if self.is_broken:
            raise ValueError("a bug")
        return self.wait_s

    def gather(self, *items: object) -> None:
        """Put some items at once."""
        with self.turns.gathered():
            for item in items:
                self.turns.put(item)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self.turns.stop()
        if self._thread.is_alive():
            self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk; its thread does not run yet."""
    made = Desk()
    yield made
    made.stop()


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline


def test_items_are_carried_out_in_order_by_the_thread(desk: Desk) -> None:
    """What was put first is done first, more than fit between two looks at the clock too, before the end."""
    items = list(range(3 * AT_ONCE))
    for item in items:
        desk.turns.put(item)
    desk.start()
    desk.stop()
    assert desk.done == items
    assert set(desk.threads) == {"turns"}
    assert desk.looks >= 3


def test_gathered_items_are_carried_out_by_their_own_thread(desk: Desk) -> None:
    """They are done when the block ends, and the clock is looked at behind them, once."""
    desk.gather("one", "two")
    assert (desk.done, desk.looks) == (["one", "two"], 1)
    assert set(desk.threads) == {threading.current_thread().name}


def test_nothing_gathered_looks_at_nothing(desk: Desk) -> None:
    """A pong of a server is no reason to look at the clock."""
    desk.gather()
    assert desk.looks == 0


def test_gathered_item_behind_a_waiting_one_waits_its_turn(desk: Desk) -> None:
    """Nothing overtakes what was put before, and what others have put is not the gatherer's to do."""
    desk.turns.put("first")
    desk.gather("second")
    assert desk.done == []
    desk.start()
    until(lambda: desk.done == ["first", "second"])
    assert set(desk.threads) == {"turns"}


def test_gathered_item_while_another_is_carried_out_is_queued(desk: Desk) -> None:
    """Never two at once, and the gatherer does not wait."""
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go.wait(5)

    desk.start()
    desk.turns.put(hold)
    assert begun.wait(5)
    assert not desk.turns.idle
    desk.gather("later")
    assert desk.done == []
    go.set()
    until(lambda: desk.done == [hold, "later"])
    until(lambda: desk.turns.idle)


def test_large_item_is_left_to_the_thread_with_all_behind_it(desk: Desk) -> None:
    """A reader is not kept from reading for long."""
    with desk.turns.gathered():
        desk.turns.put("large", large=True)
        desk.turns.put("small")
    assert desk.done == []
    desk.start()
    until(lambda: desk.done == ["large", "small"])
    assert set(desk.threads) == {"turns"}


def test_what_a_gathered_item_puts_is_carried_out_too(desk: Desk) -> None:
    """An answer that is there at once is not forgotten, whoever takes it."""
    desk.start()
    desk.gather(lambda: desk.turns.put("follows"))
    until(lambda: "follows" in desk.done)


def test_error_in_the_block_leaves_nothing_behind(desk: Desk) -> None:
    """What was gathered before a link ended is carried out."""
    with pytest.raises(OSError, match="cut"), desk.turns.gathered():
        desk.turns.put("before")
        raise OSError("cut")
    assert desk.done == ["before"]


def test_item_that_raises_does_not_stop_the_others(desk: Desk) -> None:
    """The next item is carried out, by either thread."""

    def fail() -> None:
        raise ValueError("a bug")

    desk.gather(fail)
    desk.turns.put(fail)
    desk.turns.put("next")
    desk.start()
    until(lambda: desk.done == ["next"])


def test_clock_is_looked_at_when_the_time_has_come(desk: Desk) -> None:
    """Without any item the thread wakes when something is due, and after a gathered item, which may have made it sooner."""
    desk.start()
    until(lambda: desk.looks == 1)
    desk.wait_s = 0.01
    desk.gather("sooner")
    until(lambda: desk.looks > 5)
    desk.wait_s = 30.0


def test_bug_in_what_is_due_does_not_keep_the_thread_spinning(desk: Desk) -> None:
    """What fails stays due: items are still carried out, and the rest of the time is slept."""
    desk.is_broken, desk.wait_s = True, 0.0
    desk.start()
    desk.turns.put("item")
    until(lambda: desk.done == ["item"] and desk.turns.idle)
    assert desk.looks <= 3
    desk.is_broken, desk.wait_s = False, 30.0
