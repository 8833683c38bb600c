"""Lamps that were not taken: tried again, ever less often, each once."""

from ari_presence.core.names import UserId
from ari_presence.publish.retries import RETRY_S, Retries

A, B = UserId("100"), UserId("101")


def test_wait_grows_with_each_failure_up_to_the_last() -> None:
    """The count goes on; the wait stays at its longest."""
    retries = Retries()
    assert [retries.wait_s(retries.count(A)) for _ in range(5)] == [*RETRY_S, RETRY_S[-1], RETRY_S[-1]]


def test_due_users_are_taken_once_and_in_order() -> None:
    """Whoever was taken still counts as failed, but is not due again."""
    retries = Retries()
    for user, due in ((A, 2.0), (B, 1.0)):
        retries.count(user)
        retries.later(user, due)
    assert retries.take(0.5) == []
    assert retries.next() == 1.0
    assert retries.take(2.0) == [B, A]
    assert (retries.take(9.0), retries.next(), len(retries), set(retries)) == ([], None, 2, {A, B})


def test_forgotten_user_is_not_due_any_more() -> None:
    """Success ends it, and the next failure begins anew."""
    retries = Retries()
    retries.count(A)
    retries.later(A, 1.0)
    retries.forget(A)
    assert (retries.next(), retries.take(5.0), len(retries), retries.count(A)) == (None, [], 0, 0)


def test_new_time_replaces_the_old_one() -> None:
    """The earlier time does not count any more."""
    retries = Retries()
    retries.count(A)
    retries.later(A, 1.0)
    retries.later(A, 3.0)
    assert (retries.next(), retries.take(2.0), retries.take(3.0)) == (3.0, [], [A])
