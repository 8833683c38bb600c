"""Parked calls of one server, from what ARI and AMI tell of it."""

import pytest

from ari_presence.core.parked import Member, ParkedCall, ParkedInfo, Parker, Space
from ari_presence.core.parking import CALLS_AT_MOST, KEEP_S, PARKER_STAYS_S, STALE_S, TRANSFER_S, Parking
from ari_presence.core.spaces import WINDOW_S

T = 1_800_000_000.0
LATER = 2 * WINDOW_S
S701, S702, S703 = (Space(number, "parkedcalls") for number in ("701", "702", "703"))
BOB = Parker("bob", "PJSIP/101")
ALICE = ("100", "Alice")


@pytest.fixture
def parking() -> Parking:
    """Give a server without parked calls."""
    new = Parking()
    new.restored([], T)
    new.spaces_listed([], T)
    return new


def park(parking: Parking, channel: str, space: Space, at: float, parker: Parker | None = None) -> None:
    """Park a call whose space is taken at once, as in Asterisk 16."""
    parking.entered(channel, "default", ALICE, parker, at)
    parking.space_seen(space, True, at)


def info(channel: str, space: str, parker: str | None = None, since: float = T) -> ParkedInfo:
    """Make a call as AMI lists it."""
    return ParkedInfo(channel, "default", space, ALICE, parker, since)


def spaces(parking: Parking, at: float) -> dict[str, str | None]:
    """Give the space of each call."""
    return {row.channel: row.space for row in parking.calls(at)}


def test_parked_call_is_shown_with_all_that_is_known(parking: Parking) -> None:
    """Space, lot, caller, who parked and since when."""
    assert parking.entered("c", "default", ALICE, BOB, T) == {"PJSIP/101"}
    assert parking.space_seen(S701, True, T + 0.01) == set()
    row = ParkedCall("c", "default", "701", "parkedcalls", ("100", "Alice"), "PJSIP/101", T, "correlated")
    assert parking.calls(T + LATER) == (row,)


def test_space_is_not_told_before_it_is_certain(parking: Parking) -> None:
    """Another call of the same moment may be on its way."""
    park(parking, "c", S701, T)
    assert [(row.space, row.source) for row in parking.calls(T)] == [(None, "unknown")]
    assert [(row.space, row.source) for row in parking.calls(T + LATER)] == [("701", "correlated")]


def test_two_calls_of_one_moment_stay_unknown_until_one_leaves(parking: Parking) -> None:
    """Nobody can tell them apart; the one that is left over can be told."""
    park(parking, "a", S701, T)
    park(parking, "b", S702, T)
    assert spaces(parking, T + LATER) == {"a": None, "b": None}
    parking.left("b", T + 60)
    parking.space_seen(S702, False, T + 60.01)
    assert spaces(parking, T + 60.02) == {"a": None}
    assert spaces(parking, T + 60.02 + LATER) == {"a": "701"}


def test_space_that_is_taken_only_when_the_parker_hangs_up_is_matched(parking: Parking) -> None:
    """Asterisk 22 does it so: the call is in the lot for a while before its space counts as taken."""
    parking.entered("a", "default", ALICE, BOB, T)
    park(parking, "b", S702, T + 5)
    assert spaces(parking, T + 10) == {"a": None, "b": None}
    parking.gone("bob", T + 20)
    parking.space_seen(S701, True, T + 20)
    assert spaces(parking, T + 20 + LATER) == {"a": "701", "b": "702"}


def test_space_that_comes_long_after_the_parker_left_is_not_matched(parking: Parking) -> None:
    """What has nothing to do with the call is not taken for its space."""
    parking.entered("a", "default", ALICE, BOB, T)
    parking.gone("bob", T + 1)
    parking.space_seen(S701, True, T + 5)
    assert spaces(parking, T + 10) == {"a": None}


def test_parker_who_never_hangs_up_is_not_waited_for_for_ever(parking: Parking) -> None:
    """A lost event must not make every later space doubtful."""
    parking.entered("a", "default", ALICE, BOB, T)
    later = T + PARKER_STAYS_S + 1
    park(parking, "b", S702, later)
    assert spaces(parking, later + LATER) == {"a": None, "b": "702"}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_transfer_tells_who_parked(parking: Parking, first: bool) -> None:
    """It overrules the guess, and comes before or after the call is in the lot."""
    guess = Parker("c", "PJSIP/100")
    if first:
        assert parking.transferred(BOB, "c", T) == set()
        assert parking.entered("c", "default", ALICE, guess, T + 0.1) == {"PJSIP/101"}
    else:
        parking.entered("c", "default", ALICE, guess, T)
        assert parking.transferred(BOB, "c", T + 0.1) == {"PJSIP/100", "PJSIP/101"}
    assert parking.waiting() == {"PJSIP/101": parking.calls(T)[0].since}


def test_old_transfer_tells_nothing(parking: Parking) -> None:
    """Who was transferred to somebody, who then parks the call, was parked by that somebody."""
    parking.transferred(BOB, "c", T)
    parking.entered("c", "default", ALICE, Parker("carol", "PJSIP/102"), T + TRANSFER_S + 1)
    assert parking.calls(T)[0].parker == "PJSIP/102"
    assert parking.transferred(BOB, "c", T + 60) == set()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda parking: parking.left("c", T + 9), id="left the lot"),
        pytest.param(lambda parking: parking.gone("c", T + 9), id="hung up"),
        pytest.param(lambda parking: parking.lot_gone("default", T + 9), id="the lot is gone"),
        pytest.param(lambda parking: parking.restored([], T + 9), id="not in the listing"),
        pytest.param(lambda parking: parking.listed((), T + 9), id="not in the listing of AMI"),
        pytest.param(lambda parking: parking.entered("c", "sales", ALICE, None, T + 9), id="parked in another lot"),
    ],
)
def test_parked_call_ends(parking: Parking, end: object) -> None:
    """However it ends, the lamp of who parked it is given and goes out."""
    park(parking, "c", S701, T, BOB)
    assert end(parking) == {"PJSIP/101"}  # type: ignore[operator]
    assert parking.waiting() == {}
    assert [row for row in parking.calls(T + 10) if row.lot == "default"] == []


def test_call_never_seen_ends_without_ado(parking: Parking) -> None:
    """Events of channels that nobody met, and events that come twice."""
    park(parking, "c", S701, T)
    assert parking.left("x", T) | parking.gone("x", T) | parking.lot_gone("x", T) == set()
    assert parking.entered("c", "default", ALICE, BOB, T + 5) == set()
    assert parking.space_seen(S702, False, T) == set()
    parking.space_seen(S701, True, T + 5)
    assert spaces(parking, T + LATER + 5) == {"c": "701"}


def test_call_parked_before_the_daemon_came_has_no_time_and_no_parker() -> None:
    """Nobody tells either, until AMI does; for its lamp it counts from when it was found."""
    new = Parking()
    assert new.restored([Member("c", "default", ALICE, BOB)], T) == set()
    new.spaces_listed([S703], T + 0.1)
    row = new.calls(T + LATER)[0]
    assert (row.space, row.since, row.parker, row.source) == ("703", None, None, "correlated")
    assert new.waiting() == {}
    assert new.listed((info("c", "703", "PJSIP/101", T - 60),), T + 1) == {"PJSIP/101"}
    assert new.waiting() == {"PJSIP/101": T - 60}


def test_two_calls_parked_before_the_daemon_came_are_unknown() -> None:
    """Two channels, two spaces, and nothing that tells them apart, until a new event does."""
    new = Parking()
    new.restored([Member("a", "default"), Member("b", "default")], T)
    new.spaces_listed([S701, S702], T)
    assert spaces(new, T + LATER) == {"a": None, "b": None}
    park(new, "c", S703, T + 9)
    assert spaces(new, T + 9 + LATER) == {"a": None, "b": None, "c": "703"}


@pytest.mark.parametrize(
    ("gap", "known"),
    [pytest.param(1.0, True, id="short"), pytest.param(KEEP_S + 1, False, id="long")],
)
def test_gap_keeps_what_cannot_have_changed(parking: Parking, gap: float, known: bool) -> None:
    """In a long gap somebody may have taken both calls out and parked them the other way round."""
    park(parking, "a", S701, T)
    park(parking, "b", S702, T + 5)
    parking.lost(T + 10)
    parking.lost(T + 11)
    back = T + 10 + gap
    parking.restored([Member("a", "default"), Member("b", "default")], back)
    parking.spaces_listed([S701, S702], back)
    found = {"a": "701", "b": "702"} if known else {"a": None, "b": None}
    assert spaces(parking, back + LATER) == found


def test_space_that_changed_hands_in_a_short_gap_is_not_kept(parking: Parking) -> None:
    """The call of 701 ended, and a new one is in 701 or 702: seen are two spaces in use, as before."""
    park(parking, "a", S701, T)
    park(parking, "b", S702, T + 5)
    parking.lost(T + 10)
    parking.restored([Member("b", "default"), Member("new", "default")], T + 12)
    parking.spaces_listed([S701, S702], T + 12)
    assert spaces(parking, T + 12 + LATER) == {"b": "702", "new": "701"}


def test_event_that_is_newer_than_a_listing_counts(parking: Parking) -> None:
    """What was asked for before an event came is out of date about it."""
    park(parking, "old", S701, T)
    parking.left("old", T + 5)
    parking.space_seen(S701, False, T + 5)
    park(parking, "new", S702, T + 5)
    parking.restored([Member("old", "default")], T + 4)
    parking.spaces_listed([S701], T + 4)
    assert spaces(parking, T + 9) == {"new": "702"}


def test_ami_says_who_is_where(parking: Parking) -> None:
    """Two calls of one moment are told apart at once, and AMI's word on who parked counts."""
    park(parking, "a", S701, T, BOB)
    park(parking, "b", S702, T)
    assert parking.listed((info("a", "702"), info("b", "701", "PJSIP/103")), T) == {"PJSIP/101", "PJSIP/103"}
    rows = parking.calls(T + LATER)
    assert [(row.channel, row.space, row.context, row.source) for row in rows] == [
        ("b", "701", "parkedcalls", "ami"),
        ("a", "702", "parkedcalls", "ami"),
    ]
    assert parking.waiting() == {"PJSIP/101": T, "PJSIP/103": T}


def test_ami_that_is_gone_is_not_needed_for_what_it_said(parking: Parking) -> None:
    """A call does not change its space; a new one is worked out again."""
    park(parking, "a", S701, T)
    parking.listed((info("a", "701"),), T)
    parking.listed(None, T + 1)
    park(parking, "b", S702, T + 2)
    sources = {row.channel: (row.space, row.source) for row in parking.calls(T + 9)}
    assert sources == {"a": ("701", "ami"), "b": ("702", "correlated")}


def test_ami_may_be_quicker_than_ari(parking: Parking) -> None:
    """A call that AMI listed first gets the very moment from its event, and keeps what AMI said."""
    assert parking.listed((info("a", "701", "PJSIP/101", T - 1),), T) == {"PJSIP/101"}
    assert parking.waiting() == {"PJSIP/101": T - 1}
    assert parking.entered("a", "default", ALICE, None, T + 0.1) == {"PJSIP/101"}
    row = parking.calls(T + LATER)[0]
    assert (row.space, row.since, row.parker, row.source) == ("701", T + 0.1, "PJSIP/101", "ami")


def test_ami_listing_without_a_call_that_just_came_does_not_end_it(parking: Parking) -> None:
    """The listing was made before; a later one ends what was missed."""
    park(parking, "a", S701, T)
    assert parking.listed((), T + STALE_S / 2) == set()
    assert len(parking.calls(T)) == 1
    parking.listed((), T + STALE_S + 1)
    assert parking.calls(T) == ()


def test_ami_listing_with_a_call_that_just_left_does_not_bring_it_back(parking: Parking) -> None:
    """The lamp must not light again for a moment."""
    park(parking, "a", S701, T, BOB)
    parking.left("a", T + 5)
    assert parking.listed((info("a", "701"),), T + 5.1) == set()
    assert parking.calls(T + 6) == ()


def test_alert_comes_once_for_each_call(parking: Parking) -> None:
    """The deadline is the oldest call's; when it is over, the next one's."""
    assert parking.next_deadline(60.0) is None
    park(parking, "a", S701, T, BOB)
    park(parking, "b", S702, T + 5, Parker("carol", "PJSIP/102"))
    park(parking, "c", S703, T + 6, None)
    assert parking.next_deadline(60.0) == T + 60
    assert parking.due(T + 59, 60.0) == set()
    assert parking.due(T + 60, 60.0) == {"PJSIP/101"}
    assert parking.next_deadline(60.0) == T + 65
    assert parking.due(T + 99, 60.0) == {"PJSIP/102"}
    assert parking.next_deadline(60.0) is None


def test_alert_follows_a_new_time_and_a_call_that_ends(parking: Parking) -> None:
    """A reload may change the time, and who is gone needs none."""
    park(parking, "a", S701, T, BOB)
    assert parking.next_deadline(60.0) == T + 60
    assert parking.next_deadline(120.0) == T + 120
    parking.left("a", T + 1)
    assert parking.next_deadline(120.0) is None


def test_oldest_call_of_somebody_counts_for_the_lamp(parking: Parking) -> None:
    """Two calls of one user, and the older one ends first."""
    park(parking, "a", S701, T, BOB)
    park(parking, "b", S702, T + 5, Parker("bob2", "PJSIP/101"))
    assert parking.waiting() == {"PJSIP/101": T}
    assert parking.left("a", T + 9) == {"PJSIP/101"}
    assert parking.waiting() == {"PJSIP/101": T + 5}


def test_more_calls_than_can_be_are_not_kept(parking: Parking) -> None:
    """Memory has a limit whatever a server says."""
    for number in range(CALLS_AT_MOST + 5):
        parking.entered(f"c{number}", "default", ALICE, None, T)
    assert len(parking.calls(T)) == CALLS_AT_MOST


def test_calls_are_sorted_by_lot_and_space(parking: Parking) -> None:
    """As numbers, and what is unknown comes last."""
    rows = (info("a", "1000"), info("b", "702"), ParkedInfo("c", "attic", "9", ("", ""), None, T))
    parking.listed(rows, T)
    parking.entered("d", "default", ("", ""), None, T)
    found = [(row.lot, row.space, row.caller) for row in parking.calls(T)]
    alice, nobody = ("100", "Alice"), (None, None)
    assert found == [
        ("attic", "9", nobody),
        ("default", "702", alice),
        ("default", "1000", alice),
        ("default", None, nobody),
    ]


def test_listing_that_tells_nothing_new_changes_nothing(parking: Parking) -> None:
    """Right after an event, too: a space whose call is not certain yet stays the one of that moment."""
    parking.entered("a", "default", ALICE, BOB, T)
    parking.space_seen(S701, True, T + 0.5)
    parking.gone("bob", T + 0.5)
    parking.entered("b", "default", ALICE, Parker("carol", "PJSIP/102"), T + 0.9)
    parking.restored([Member("a", "default"), Member("b", "default")], T + 1.0)
    parking.spaces_listed([S701], T + 1.0)
    parking.space_seen(S702, True, T + 9)
    parking.gone("carol", T + 9)
    assert spaces(parking, T + 9 + LATER) == {"a": "701", "b": "702"}
