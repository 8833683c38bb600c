"""The stream of changed users: resumable, bounded, for many watchers."""

import threading
import time
from functools import partial

import pytest

from ari_presence.feed import ALWAYS_UP_TO, KEPT, Feed


def _publish(feed: Feed, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        feed.publish(partial(dict, user=str(number)))


def _users(feed: Feed, last_id: int | None) -> list[int]:
    """Give all that a new watcher gets at once."""
    watch = feed.watch(last_id)
    got = []
    while (item := watch.get(0)) is not None:
        got.append(int(item[1]["user"]))
    watch.close()
    return got


def test_watcher_gets_what_comes_after_it_began() -> None:
    """Without an id the past does not matter."""
    feed = Feed()
    _publish(feed, 3)
    watch = feed.watch(None)
    assert watch.get(0) is None
    _publish(feed, 2, first=3)
    assert [watch.get(0), watch.get(0), watch.get(0)] == [(4, {"user": "3"}), (5, {"user": "4"}), None]


@pytest.mark.parametrize(
    ("last_id", "first"),
    [
        pytest.param(100, 0, id="before-the-first"),
        pytest.param(101, 1, id="after-the-first"),
        pytest.param(109, 9, id="before-the-last"),
        pytest.param(110, 10, id="after-the-last"),
        pytest.param(7, 0, id="before-our-time"),
        pytest.param(-1, 0, id="negative"),
        pytest.param(10**12, 0, id="in-the-future"),
    ],
)
def test_watcher_resumes_after_an_id(last_id: int, first: int) -> None:
    """One of our ids resumes behind it; any other is from another life and gives all that is kept."""
    feed = Feed(100)
    _publish(feed, 10)
    assert _users(feed, last_id) == list(range(first, 10))


def test_ids_go_on_above_the_start() -> None:
    """A later run of the daemon starts higher, so ids never repeat."""
    feed = Feed(5000)
    watch = feed.watch(None)
    _publish(feed, 1)
    assert watch.get(0) == (5001, {"user": "0"})


@pytest.mark.parametrize("last_id", [None, 0, 7, 500], ids=["from-now", "zero", "older", "newer"])
def test_empty_feed_can_be_watched_from_anywhere(last_id: int | None) -> None:
    """Before the first change nothing comes, and then the first."""
    feed = Feed(100)
    watch = feed.watch(last_id)
    assert watch.get(0) is None
    _publish(feed, 1)
    assert watch.get(0) == (101, {"user": "0"})


def test_feed_keeps_only_the_newest() -> None:
    """Memory is bounded; who resumes too late gets what is left."""
    feed = Feed()
    _publish(feed, KEPT + 250)
    assert _users(feed, 0) == _users(feed, 250) == list(range(250, KEPT + 250))
    assert _users(feed, KEPT + 200) == list(range(KEPT + 200, KEPT + 250))


def test_slow_watcher_skips_ahead() -> None:
    """One who is too far behind misses the oldest, sees it by the gap in the ids, and goes on in order."""
    feed = Feed()
    watch = feed.watch(None)
    _publish(feed, 1)
    assert watch.get(0) == (1, {"user": "0"})
    _publish(feed, KEPT + 10, first=1)
    got = [watch.get(0) for _ in range(KEPT)]
    assert [item[0] for item in got if item] == list(range(12, KEPT + 12))
    assert watch.get(0) is None


def test_get_waits_for_the_next_change() -> None:
    """A watcher that waits is woken by the change, well before its time is over."""
    feed = Feed()
    watch = feed.watch(None)
    timer = threading.Timer(0.05, _publish, (feed, 1))
    timer.start()
    began = time.monotonic()
    assert watch.get(10) == (1, {"user": "0"})
    assert time.monotonic() - began < 5
    timer.join()


def test_get_gives_up_after_its_time() -> None:
    """Nothing within the time is no change."""
    watch = Feed().watch(None)
    began = time.monotonic()
    assert watch.get(0.05) is None
    assert time.monotonic() - began >= 0.05


def test_close_wakes_and_ends_every_watch() -> None:
    """At the end of the daemon nobody hangs, and nobody can begin to hang."""
    feed = Feed()
    ended = threading.Semaphore(0)

    def watch() -> None:
        with pytest.raises(EOFError):
            feed.watch(None).get(30)
        ended.release()

    threads = [threading.Thread(target=watch) for _ in range(5)]
    for thread in threads:
        thread.start()
    feed.close()
    assert all(ended.acquire(timeout=5) for _ in threads)
    for thread in threads:
        thread.join(5)
    with pytest.raises(EOFError):
        feed.watch(0).get(0)


def test_many_watchers_all_get_everything_in_order() -> None:
    """Watchers do not take anything from each other, however their threads are scheduled."""
    feed = Feed()
    results: list[list[int]] = []
    watches = [feed.watch(None) for _ in range(8)]

    def collect(number: int) -> None:
        got: list[int] = []
        while len(got) < 400:
            item = watches[number].get(5)
            assert item is not None
            got.append(item[0])
        results.append(got)

    threads = [threading.Thread(target=collect, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    _publish(feed, 400)
    for thread in threads:
        thread.join(10)
    assert results == [list(range(1, 401))] * 8


def test_mass_changes_are_wanted_only_by_watchers() -> None:
    """A start or reload with thousands of users is not written down for nobody."""
    feed = Feed()
    assert feed.wanted(ALWAYS_UP_TO)
    assert not feed.wanted(ALWAYS_UP_TO + 1)
    first, second = feed.watch(None), feed.watch(None)
    first.close()
    first.close()
    assert feed.wanted(ALWAYS_UP_TO + 1)
    second.close()
    assert not feed.wanted(ALWAYS_UP_TO + 1)
