"""Where one server is, and who we are there."""

from ari_presence.ari.address import Address


def test_password_is_never_shown() -> None:
    """Neither text form of an address gives the secret away."""
    address = Address("hq", "http://127.0.0.1:8088", "user", "hush-hush")
    assert "hush" not in f"{address} {address!r}"


def test_each_thread_gets_its_own_session() -> None:
    """A session is not for two threads, so every call makes one."""
    address = Address("hq", "http://127.0.0.1:8088", "user", "secret")
    first, second = address.rest(), address.rest()
    assert first is not second
    first.close()
    second.close()
