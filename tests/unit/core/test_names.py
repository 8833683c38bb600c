"""Which names are legal, and how devices, endpoints and channels are spelled."""

import pytest

from ari_presence.core import names
from ari_presence.core.names import StateId, UserId


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("100", True),
        ("a", True),
        ("a-b_c.d", True),
        ("a" * 40, True),
        ("a" * 41, False),
        ("", False),
        ("Alice", False),
        ("-a", False),
        (".a", False),
        ("_a", False),
        ("a/b", False),
        ("a,b", False),
        ("a&b", False),
        ("a b", False),
        ("a)", False),
        ("a\n", False),
        ("\u0661\u0662", False),
        ("stra\u00dfe", False),
    ],
    ids=repr,
)
def test_user_id_is_legal_or_not(text: str, legal: bool) -> None:
    """`[a-z0-9][a-z0-9_.-]{0,39}` and nothing else: it becomes part of a device name."""
    assert names.is_user_id(text) is legal


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("lunch", True),
        ("a1", True),
        ("a" * 16, True),
        ("a" * 17, False),
        ("", False),
        ("1a", False),
        ("on-call", False),
        ("Lunch", False),
        ("lunch\n", False),
        ("presence", False),
        ("group", False),
        ("parked", False),
        ("parking", True),
        ("joined", True),
        ("whole", True),
    ],
    ids=repr,
)
def test_state_id_is_legal_or_not(text: str, legal: bool) -> None:
    """`[a-z][a-z0-9]{0,15}`, not the words that other lamps begin with."""
    assert names.is_state_id(text) is legal


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", None),
        ("Back at 2, or 3 <&'\">", None),
        ("x" * 120, None),
        ("x" * 121, "121 bytes"),
        ("\u20ac" * 40, None),
        ("\u20ac" * 40 + "x", "121 bytes"),
        ("a\nb", "control"),
        ("a\rb", "control"),
        ("a\x00b", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "not valid text"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_message_is_taken_or_the_problem_is_said(text: str, problem: str | None) -> None:
    """At most 120 UTF-8 bytes and no control characters: AMI prints them raw into its events."""
    found = names.message_problem(text)
    assert found is None if problem is None else problem in str(found)


def test_devices_are_spelled_as_the_contract_says() -> None:
    """Hints of administrators name these devices."""
    user = UserId("a-b.c")
    assert names.joined_device(user) == "Custom:presence-a-b.c"
    assert names.whole_device(user) == "Stasis:presence-a-b.c"
    assert names.state_device(StateId("dnd"), user) == "Custom:dnd-a-b.c"
    assert names.presence_provider(user) == "CustomPresence:a-b.c"


def test_longest_device_fits_asterisk() -> None:
    """Names beyond 79 characters are stored but no hint follows them (`main/devicestate.c`)."""
    user = UserId("u" * 40)
    devices = (names.joined_device(user), names.whole_device(user), names.state_device(StateId("s" * 16), user))
    assert max(map(len, devices)) <= 79


@pytest.mark.parametrize(
    ("channel", "endpoint"),
    [
        ("PJSIP/100-0000001f", "PJSIP/100"),
        ("PJSIP/a-b-0000001f", "PJSIP/a-b"),
        ("PJSIP/100-mobile-0000001f", "PJSIP/100-mobile"),
        ("IAX2/100-8765", "IAX2/100"),
        ("Local/600@internal-00000001;1", None),
        ("Surrogate/PJSIP/100-00000001", None),
        ("Message/ast_msg_queue-1", None),
        ("PJSIP/100", None),
        ("PJSIP/-0000001f", None),
        ("PJSIP/100-", None),
        ("/100-0000001f", None),
        ("100-0000001f", None),
        ("", None),
    ],
    ids=repr,
)
def test_endpoint_of_a_channel_is_what_was_authenticated(channel: str, endpoint: str | None) -> None:
    """The name up to the last dash; Local and other made-up channels have no endpoint."""
    assert names.endpoint_of_channel(channel) == endpoint


def test_endpoint_is_folded_but_not_its_technology() -> None:
    """`PJSIP/Bob` and `PJSIP/bob` are compared as one."""
    assert names.fold_endpoint("PJSIP/Bob-Mobile") == names.fold_endpoint("PJSIP/bob-mobile") == "PJSIP/bob-mobile"
