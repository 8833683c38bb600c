"""Ports of servers that are started again on the same ones."""

import socket

import pytest

from private_asterisk import ports


def test_port_is_free_for_all_kinds() -> None:
    """A SIP server has both, with one number."""
    port = ports.free_port(socket.SOCK_STREAM, socket.SOCK_DGRAM)
    assert port in ports.PORTS
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as one:
            one.bind(("127.0.0.1", port))


def test_taken_port_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are taken it says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.free_port()))
        number = taken.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", range(number, number + 1))
        with pytest.raises(OSError, match="no free port"):
            ports.free_port()


def test_ports_in_a_row_are_all_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of them is taken, others are looked for."""
    first = ports.free_port(count=4)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 3))
        monkeypatch.setattr(ports, "PORTS", range(first, first + 1))
        with pytest.raises(OSError, match="no free port"):
            ports.free_port(count=4)
