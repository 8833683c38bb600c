"""What is to be read of a calendar, and for whom."""

from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ari_presence.calendars.plan import Calendar, FolderError, Place, places
from ari_presence.core.names import UserId

BERLIN, LONDON = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London")
ALICE, BOB, CAROL = (UserId(f"10{number}") for number in range(3))


def zone_of(user: UserId) -> tzinfo:
    """Bob lives in London."""
    return LONDON if user == BOB else BERLIN


def plan(calendar: Calendar, *people: UserId) -> dict[UserId | None, Place]:
    """Plan for an office in which Alice and Bob are listed."""
    return places(calendar, people, (ALICE, BOB), zone_of, BERLIN)


def made(place: str, users: frozenset[UserId] | None, **more: object) -> Calendar:
    """Make a calendar."""
    return Calendar("work", 0, place, users, (), **more)  # type: ignore[arg-type]


def test_shared_calendar_is_read_once_for_each_zone() -> None:
    """Users of one zone see it alike."""
    (place,) = plan(made("/team.ics", frozenset({ALICE, BOB, CAROL}))).values()
    assert place == Place(None, "/team.ics", {"Europe/Berlin": (ALICE, CAROL), "Europe/London": (BOB,)})
    assert place.zone_names == ("Europe/Berlin", "Europe/London")


def test_calendar_of_everybody_has_a_zone_for_all_and_exceptions() -> None:
    """Who appears later lives in the default zone."""
    (place,) = plan(made("/holidays.ics", None)).values()
    assert place == Place(None, "/holidays.ics", {"Europe/London": (BOB,)}, "Europe/Berlin")


def test_zone_of_the_calendar_is_that_of_all() -> None:
    """`timezone` of a [[calendar]]."""
    (place,) = plan(made("/a.ics", None, zone=LONDON)).values()
    assert (place.zones, place.everyone) == ({}, "Europe/London")
    (place,) = plan(made("/a.ics", frozenset({ALICE, BOB}), zone=LONDON)).values()
    assert place.zones == {"Europe/London": (ALICE, BOB)}


def test_address_with_user_is_one_for_each() -> None:
    """Of those who are named, or of all there are."""
    named = plan(made("https://a.example/{user}.ics", frozenset({ALICE})), ALICE, BOB)
    assert named == {ALICE: Place(ALICE, "https://a.example/100.ics", {"Europe/Berlin": (ALICE,)})}
    everybody = plan(made("https://a.example/{user}.ics", None), ALICE, BOB)
    assert [place.text for place in everybody.values()] == ["https://a.example/100.ics", "https://a.example/101.ics"]
    assert everybody[BOB].zones == {"Europe/London": (BOB,)}


def test_folder_has_one_file_for_each(tmp_path: Path) -> None:
    """Those that are there; other files and other people's are passed over."""
    for name in ("100.ics", "101.ics", "102.txt", "NOT LEGAL.ics", ".ics", "100.ics.new"):
        (tmp_path / name).touch()
    assert list(plan(made(str(tmp_path), None, is_folder=True))) == [ALICE, BOB]
    assert list(plan(made(str(tmp_path), frozenset({BOB, CAROL}), is_folder=True))) == [BOB]
    assert plan(made(str(tmp_path), None, is_folder=True))[ALICE].text == f"{tmp_path}/100.ics"


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An error, not an empty folder: what was known stays."""
    with pytest.raises(FolderError, match="cannot be listed"):
        plan(made(str(tmp_path / "none"), None, is_folder=True))
