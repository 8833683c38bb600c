"""What holds for any calendars, readings and moments."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from ari_presence.calendars import entries
from ari_presence.calendars.rules import DEFAULT_RULES
from ari_presence.calendars.scan import NotACalendar, Scan, scan
from ari_presence.core import events as ev
from ari_presence.core.model import Model
from ari_presence.core.names import StateId, UserId
from ari_presence.core.occurrences import CalendarRead, Occurrence, at_moment
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import Layer
from tests.unit.calendars.samples import APPLE, EXCHANGE, GOOGLE, text
from tests.unit.engine_rig import make_settings

ALICE = UserId("100")
moments = st.integers(0, 100).map(float)
occurrences = st.lists(
    st.builds(
        lambda start, length, state, rank: Occurrence(start, start + length, StateId(state), f"m{start}{length}", rank),
        moments,
        st.integers(1, 30).map(float),
        st.sampled_from(["meeting", "out", "lunch"]),
        st.integers(0, 2),
    ),
    max_size=6,
).map(lambda found: tuple(sorted(found)))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.sampled_from(["work", "own"]), st.one_of(st.none(), occurrences)),
        st.tuples(st.just("everyone"), st.sampled_from(["work", "holidays"]), st.one_of(st.none(), occurrences)),
        st.tuples(st.just("wait"), st.integers(1, 20), st.none()),
        st.tuples(st.just("sleep"), st.integers(1, 40), st.none()),
        st.tuples(st.just("leave"), st.none(), st.none()),
        st.tuples(st.just("come"), st.none(), st.none()),
    ),
    max_size=20,
)


def _expected(known: dict[tuple[str, bool], tuple[Occurrence, ...]], at: float) -> Occurrence | None:
    own = {name: found for (name, everyone), found in known.items() if not everyone}
    every = {name: found for (name, everyone), found in known.items() if everyone}
    return at_moment([each for found in {**every, **own}.values() for each in found], at)


@given(steps)
def test_layer_is_what_the_calendars_say_at_every_moment(given_steps: list[tuple[str, object, object]]) -> None:
    """Whatever is read, in whatever order, over waiting, a sleeping machine, and a user who leaves and comes back."""
    model, at = Model(make_settings(listed={}, endpoints={})), 0.0
    known: dict[tuple[str, bool], tuple[Occurrence, ...]] = {}
    reduce(model, ev.Started(at, {}))
    reduce(model, ev.EndpointsSeen(at, "hq", ("PJSIP/100",)))
    here = make_settings(listed={}, endpoints={})
    away = make_settings(listed={}, endpoints={}, discover=None)
    for kind, what, found in given_steps:
        if kind in ("read", "everyone"):
            everyone, name = kind == "everyone", str(what)
            reduce(model, CalendarRead(at, name, found, (ALICE,), everyone))  # type: ignore[arg-type]
            known.pop((name, everyone), None)
            if found is not None:
                known[name, everyone] = found  # type: ignore[assignment]
        elif kind == "wait":
            until = at + int(what)  # type: ignore[call-overload]
            while (due := model.next_deadline()) is not None and due <= until:
                assert due > at - 1
                at = max(due, at)
                reduce(model, ev.TimerDue(at))
                _check(model, known, at)
            at = until
        elif kind == "sleep":
            at += int(what)  # type: ignore[call-overload]
            if (due := model.next_deadline()) is not None and due <= at:
                reduce(model, ev.TimerDue(at))
        else:
            reduce(model, ev.ConfigChanged(at, here if kind == "come" else away))
        _check(model, known, at)


def _check(model: Model, known: dict[tuple[str, bool], tuple[Occurrence, ...]], at: float) -> None:
    if ALICE in model.users:
        entry, wanted = model.users[ALICE].entries.get(Layer.CALENDAR), _expected(known, at)
        got = (entry.state, entry.since, entry.until, entry.message) if entry else None
        assert got == ((wanted.state, wanted.start, wanted.end, wanted.message) if wanted else None)


days = st.dates(date(2026, 1, 1), date(2026, 6, 30))
rules = st.sampled_from(
    [
        "",
        "RRULE:FREQ=WEEKLY",
        "RRULE:FREQ=DAILY;COUNT=5",
        "RRULE:FREQ=MONTHLY;UNTIL=20260401T000000Z",
        "RRULE:FREQ=YEARLY",
    ]
)
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "UTC"])


@given(st.lists(st.tuples(days, st.integers(0, 23), st.integers(1, 100), rules, zones), max_size=8), days)
def test_leaving_out_what_cannot_matter_changes_nothing(
    drawn: list[tuple[date, int, int, str, str]], day: date
) -> None:
    """The scan gives what the libraries find in the whole text, and the copy gives it later, too."""
    rows = []
    for number, (start, hour, hours, rule, zone) in enumerate(drawn):
        begin = datetime(start.year, start.month, start.day, hour)
        lines = [
            "BEGIN:VEVENT",
            f"UID:{number}",
            f"SUMMARY:{number}",
            f"DTSTART;TZID={zone}:{begin:%Y%m%dT%H%M%S}",
            f"DTEND;TZID={zone}:{begin + timedelta(hours=hours):%Y%m%dT%H%M%S}",
            rule,
            "END:VEVENT",
        ]
        rows.append("\n".join(filter(None, lines)))
    data = text(*rows) if rows else text("BEGIN:X\nEND:X")
    first = datetime(day.year, day.month, day.day, tzinfo=UTC)
    last = first + timedelta(days=9)
    everything = scan(data, date(1970, 1, 1), date(2100, 1, 1))
    found = [_rows(each, first, last) for each in (everything, scan(data, first.date(), last.date()))]
    earlier = (first - timedelta(days=30)).date()
    found.append(_rows(scan(scan(data, earlier, earlier).text(), first.date(), last.date()), first, last))
    assert found[0] == found[1] == found[2]


def _rows(scanned: Scan, first: datetime, last: datetime) -> list[tuple[float, float, str, str | None, int]]:
    wanted = entries.Wanted(first.timestamp(), last.timestamp(), DEFAULT_RULES)
    return list(entries.in_zone(entries.read(scanned, wanted), ZoneInfo("Asia/Tokyo"), wanted))


@given(
    st.sampled_from([GOOGLE, EXCHANGE, APPLE]),
    st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=5)), max_size=5),
)
def test_damaged_text_is_refused_or_read_never_more(data: bytes, damage: list[tuple[int, bytes]]) -> None:
    """Whatever bytes are changed, removed or put in: an error that says so, or a reading with complaints."""
    for place, change in damage:
        data = data[: place % len(data)] + change + data[place % len(data) + len(change) // 2 :]
    try:
        scanned = scan(data, date(2026, 3, 9), date(2026, 3, 15))
    except NotACalendar as error:
        assert str(error)
        return
    reading = entries.read(scanned, entries.Wanted(1773010800, 1773615600, DEFAULT_RULES))
    for row in entries.in_zone(reading, ZoneInfo("UTC"), entries.Wanted(1773010800, 1773615600, DEFAULT_RULES)):
        assert row[0] < row[1] and (row[3] is None or len(row[3].encode()) <= 120)
    assert all("\n" not in problem and len(problem) < 400 for problem in reading.problems)
