"""Which rule fits an entry."""

import pytest

from ari_presence.calendars.rules import DEFAULT_RULES, Facts, Rule, choose

BUSY = Facts("Lunch with Bob", ("Food", "Team"), "busy")


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule("x"), True),
        (Rule("x", words=("lunch",)), True),
        (Rule("x", words=("LUNCH  WITH",)), True),
        (Rule("x", words=("dinner", "bob")), True),
        (Rule("x", words=("lun",)), False),
        (Rule("x", words=("unch",)), False),
        (Rule("x", words=("lunch.*",)), False),
        (Rule("x", categories=("food",)), True),
        (Rule("x", categories=("foo",)), False),
        (Rule("x", busy=("busy", "oof")), True),
        (Rule("x", busy=("oof",)), False),
        (Rule("x", words=("lunch",), categories=("Team",), busy=("busy",)), True),
        (Rule("x", words=("lunch",), categories=("other",)), False),
    ],
    ids=str,
)
def test_rule_fits_if_all_that_it_names_fits(rule: Rule, fits: bool) -> None:
    """Whole words in any case; of each list one is enough."""
    assert rule.fits(BUSY) is fits


@pytest.mark.parametrize(
    ("busy", "fits"), [("busy", True), ("tentative", True), ("oof", True), ("free", False)], ids=str
)
def test_rule_without_busy_fits_all_but_free(busy: str, fits: bool) -> None:
    """Who wants free entries to count says so."""
    assert Rule("x").fits(Facts("", (), busy)) is fits
    assert Rule("x", busy=("free",)).fits(Facts("", (), busy)) is (busy == "free")


def test_words_in_other_alphabets_are_whole_too() -> None:
    """Letters are letters everywhere."""
    assert Rule("x", words=("ужин",)).fits(Facts("Ужин дома"))
    assert not Rule("x", words=("ужи",)).fits(Facts("Ужин дома"))
    assert Rule("x", words=("straße",)).fits(Facts("STRASSE"))


@pytest.mark.parametrize(
    ("busy", "chosen"),
    [("busy", "meeting"), ("oof", "out"), ("tentative", None), ("free", None), ("workingelsewhere", None)],
    ids=str,
)
def test_default_rules_know_meetings_and_absence(busy: str, chosen: str | None) -> None:
    """All else counts as nothing."""
    found = choose(DEFAULT_RULES, Facts("", (), busy))
    assert (found[1] if found else None) == chosen


def test_first_rule_that_fits_decides() -> None:
    """Also if it says that the entry counts as nothing."""
    rules = (Rule("lunch", words=("lunch",)), Rule("", words=("bob",)), *DEFAULT_RULES)
    assert choose(rules, BUSY) == (0, "lunch")
    assert choose(rules, Facts("Call Bob")) is None
    assert choose(rules, Facts("Call Carol")) == (3, "meeting")
