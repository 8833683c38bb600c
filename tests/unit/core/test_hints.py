"""One hint for each name that no pattern can make."""

import pytest

from ari_presence.core.hints import Hint, make_hints

ALICE = Hint("alice", "PJSIP/Alice&PJSIP/alice-mobile&Custom:presence-alice,CustomPresence:alice")


def test_every_kind_has_its_devices() -> None:
    """Groups, whole lamps and parked calls of all, the joined lamp of those whom the patterns do not cover."""
    users = {"alice": ["PJSIP/alice-mobile", "PJSIP/Alice"], "100": ["PJSIP/100"]}
    assert make_hints(["sales", "night"], users) == [
        Hint("group-night", "Stasis:group-night"),
        Hint("group-sales", "Stasis:group-sales"),
        ALICE,
        Hint("whole-100", "Stasis:presence-100,CustomPresence:100"),
        Hint("whole-alice", "Stasis:presence-alice,CustomPresence:alice"),
        Hint("parked-100", "Stasis:parked-100"),
        Hint("parked-alice", "Stasis:parked-alice"),
    ]


@pytest.mark.parametrize(
    ("user", "endpoints"),
    [
        ("100", ["PJSIP/100", "PJSIP/100-mobile"]),
        ("1", ["PJSIP/1"]),
        ("1234567", ["PJSIP/1234567"]),
        ("100", ["PJSIP/desk"]),
        ("100", ["SIP/100"]),
        ("bob", []),
    ],
    ids=["two-phones", "short", "long", "other-name", "other-technology", "no-phone"],
)
def test_user_whom_no_pattern_covers_has_a_joined_hint(user: str, endpoints: list[str]) -> None:
    """The pattern knows ids of 2 to 6 digits with the one phone of that name."""
    hint = make_hints([], {user: endpoints})[0]
    assert hint == Hint(user, "&".join([*endpoints, f"Custom:presence-{user}"]) + f",CustomPresence:{user}")


def test_without_whole_lamps_there_are_no_such_hints() -> None:
    """`[lamps] whole = false`: nobody writes them."""
    assert [hint.extension for hint in make_hints([], {"100": ["PJSIP/100"]}, whole=False)] == ["parked-100"]


@pytest.mark.parametrize(
    "name", ["PJSIP/a,b", "PJSIP/a&b", "PJSIP/a;b", "PJSIP/a b", "PJSIP/a\nb", "PJSIP/${X}", "a"], ids=repr
)
def test_endpoint_that_would_break_the_line_is_told(name: str) -> None:
    """What would end a device, the line or the file is in no line."""
    hint = make_hints([], {"bob": ["PJSIP/bob", name]})[0]
    assert "rename" in hint.problem
    assert name not in hint.devices


def test_extensions_that_differ_in_dashes_alone_are_told() -> None:
    """Asterisk ignores dashes: the second would be lost without a word."""
    first, second = make_hints(["a-b", "ab"], {})
    assert (first.extension, first.problem) == ("group-a-b", "")
    assert (second.extension, "group-a-b" in second.problem) == ("group-ab", True)
