"""Device states, and the whole table of what a hint of two devices shows."""

from itertools import product

import pytest

from ari_presence.core.devstate import DeviceState, aggregate, is_off, parse_state

# Measured on Asterisk 22.10.1 for every pair, as extension states; INVALID and UNAVAILABLE look alike there.
COLUMNS = ["UNKNOWN", "NOT_INUSE", "INUSE", "BUSY", "INVALID", "UNAVAILABLE", "RINGING", "RINGINUSE", "ONHOLD"]
TABLE = """
UNKNOWN     Idle    Idle    InUse   Busy    Idle    Unavail Ringing Both Hold
NOT_INUSE   Idle    Idle    InUse   Busy    Idle    Idle    Ringing Both Hold
INUSE       InUse   InUse   InUse   Busy    InUse   InUse   Both    Both InUse
BUSY        Busy    Busy    Busy    Busy    Busy    Busy    Both    Both Busy
INVALID     Idle    Idle    InUse   Busy    Unavail Unavail Ringing Both Hold
UNAVAILABLE Unavail Idle    InUse   Busy    Unavail Unavail Ringing Both Hold
RINGING     Ringing Ringing Both    Both    Ringing Ringing Ringing Both Both
RINGINUSE   Both    Both    Both    Both    Both    Both    Both    Both Both
ONHOLD      Hold    Hold    InUse   Busy    Hold    Hold    Both    Both Hold
"""
LOOKS = {
    "UNKNOWN": "Idle",
    "NOT_INUSE": "Idle",
    "INUSE": "InUse",
    "BUSY": "Busy",
    "INVALID": "Unavail",
    "UNAVAILABLE": "Unavail",
    "RINGING": "Ringing",
    "RINGINUSE": "Both",
    "ONHOLD": "Hold",
}
CELLS = {
    (row.split()[0], column): cell
    for row in TABLE.strip().splitlines()
    for column, cell in zip(COLUMNS, row.split()[1:], strict=True)
}


@pytest.mark.parametrize(("line", "custom"), list(product(COLUMNS, COLUMNS)), ids=lambda value: str(value))
def test_pair_looks_as_asterisk_shows_it(line: str, custom: str) -> None:
    """All 81 pairs of the table."""
    result = aggregate([DeviceState(line), DeviceState(custom)])
    assert LOOKS[result] == CELLS[line, custom]


def test_hint_without_devices_is_invalid() -> None:
    """The aggregate starts at INVALID."""
    assert aggregate([]) is DeviceState.INVALID


@pytest.mark.parametrize("state", list(DeviceState), ids=str)
def test_single_device_is_itself(state: DeviceState) -> None:
    """One device is shown as it is."""
    assert aggregate([state]) is state


@pytest.mark.parametrize("state", list(DeviceState), ids=str)
def test_invalid_never_changes_a_line(state: DeviceState) -> None:
    """Why "available" writes INVALID: it adds nothing to any line."""
    assert aggregate([state, DeviceState.INVALID]) is state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("INUSE", DeviceState.INUSE),
        ("inuse", DeviceState.INUSE),
        ("RingInUse", DeviceState.RINGINUSE),
        ("", DeviceState.UNKNOWN),
        ("IN USE", DeviceState.UNKNOWN),
        ("\u0130NUSE", DeviceState.UNKNOWN),
    ],
    ids=repr,
)
def test_text_is_read_in_any_case(text: str, state: DeviceState) -> None:
    """AstDB keeps the spelling that was written; what is no state is UNKNOWN."""
    assert parse_state(text) is state


def test_dark_lamps_are_those_that_dialog_info_calls_terminated() -> None:
    """Four states leave a BLF lamp dark."""
    assert {state for state in DeviceState if is_off(state)} == {"UNKNOWN", "NOT_INUSE", "INVALID", "UNAVAILABLE"}
