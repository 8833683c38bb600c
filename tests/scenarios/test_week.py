"""A week of a user with working hours, a calendar, dialled codes and calls: what shows at each moment, by a told clock."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from ari_presence.calendars import entries
from ari_presence.calendars.rules import DEFAULT_RULES, Rule
from ari_presence.calendars.scan import scan
from ari_presence.core import events as ev
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.occurrences import CalendarRead, Occurrence
from ari_presence.core.reducer import reduce
from ari_presence.core.schedule import Schedule, ScheduleTable
from ari_presence.core.userstate import Entry
from tests.unit.calendars import samples
from tests.unit.calendars.samples import BERLIN, at, event, meeting, text
from tests.unit.engine_rig import make_settings

ALICE = UserId("100")
RULES = (Rule("lunch", words=("lunch",)), Rule("", words=("optional",)), *DEFAULT_RULES)
CALENDAR = text(
    meeting(
        "20260105T090000", "20260105T093000", "RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", uid="standup", title="Stand-up"
    ),
    meeting(
        "20260310T090000",
        "20260310T100000",
        "RECURRENCE-ID;TZID=Europe/Berlin:20260310T090000",
        uid="standup",
        title="Stand-up, long",
    ),
    meeting("20260309T120000", "20260309T130000", uid="lunch", title="Team lunch"),
    meeting("20260310T140000", "20260310T150000", "CLASS:PRIVATE", uid="doctor", title="Doctor"),
    meeting("20260311T100000", "20260311T110000", uid="optional", title="Optional: brown bag"),
    event(
        "DTSTART;VALUE=DATE:20260312",
        "DTEND;VALUE=DATE:20260313",
        "X-MICROSOFT-CDO-BUSYSTATUS:OOF",
        uid="off",
        title="Day off",
    ),
    event("DTSTART;VALUE=DATE:20260313", "DTEND;VALUE=DATE:20260314", uid="birthday", title="Birthday"),
    event("DTSTART:20260313T150000Z", "DTEND:20260313T160000Z", uid="review", title="Review"),
)
OFFICE = Schedule("office", ((((8 * 60 + 30) * 60, (17 * 60 + 30) * 60),),) * 5 + ((), ()), None, StateId("out"))
# At each moment: what happens (if anything), and then state, message of the phones, joined lamp, whole lamp.
WEEK = [
    ("03-09 08:00", "", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-09 08:10", "call", "on-call", "until 08:30", "ONHOLD", "INUSE"),
    ("03-09 08:30", "", "on-call", "", "INVALID", "INUSE"),
    ("03-09 08:31", "hangup", "available", "", "INVALID", "NOT_INUSE"),
    ("03-09 08:59", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-09 09:00", "", "meeting", "Stand-up (until 09:30)", "BUSY", "BUSY"),
    ("03-09 09:30", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-09 11:45", "*843*45", "lunch", "until 12:30", "ONHOLD", "ONHOLD"),
    ("03-09 12:00", "", "lunch", "until 12:30", "ONHOLD", "ONHOLD"),
    ("03-09 12:30", "", "lunch", "Team lunch (until 13:00)", "ONHOLD", "ONHOLD"),
    ("03-09 13:00", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-09 17:15", "*843*45", "lunch", "until 18:00", "ONHOLD", "ONHOLD"),
    ("03-09 17:30", "", "lunch", "until 18:00", "ONHOLD", "ONHOLD"),
    ("03-09 18:00", "", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-09 19:00", "available", "available", "", "INVALID", "NOT_INUSE"),
    ("03-09 20:00", "*840", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-09 21:00", "restart", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-10 08:30", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-10 09:30", "", "meeting", "Stand-up, long (until 10:00)", "BUSY", "BUSY"),
    ("03-10 09:40", "call", "on-call", "Stand-up, long (until 10:00)", "BUSY", "INUSE"),
    ("03-10 10:00", "", "on-call", "", "INVALID", "INUSE"),
    ("03-10 10:05", "hangup", "available", "", "INVALID", "NOT_INUSE"),
    ("03-10 14:00", "", "meeting", "until 15:00", "BUSY", "BUSY"),
    ("03-10 14:30", "*78", "dnd", "", "BUSY", "BUSY"),
    ("03-10 15:00", "", "dnd", "", "BUSY", "BUSY"),
    ("03-10 15:30", "*79", "available", "", "INVALID", "NOT_INUSE"),
    ("03-11 09:00", "", "meeting", "Stand-up (until 09:30)", "BUSY", "BUSY"),
    ("03-11 09:10", "*843*45", "lunch", "until 09:55", "ONHOLD", "ONHOLD"),
    ("03-11 09:55", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-11 10:00", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-12 00:00", "", "out", "Day off (until 00:00)", "ONHOLD", "UNAVAILABLE"),
    ("03-12 09:00", "", "out", "Day off (until 00:00)", "ONHOLD", "UNAVAILABLE"),
    ("03-12 09:10", "available", "available", "", "INVALID", "NOT_INUSE"),
    ("03-12 10:00", "*840", "out", "Day off (until 00:00)", "ONHOLD", "UNAVAILABLE"),
    ("03-13 00:00", "", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-13 08:30", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-13 09:15", "restart", "meeting", "Stand-up (until 09:30)", "BUSY", "BUSY"),
    ("03-13 16:00", "", "meeting", "Review (until 17:00)", "BUSY", "BUSY"),
    ("03-13 17:00", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-13 17:30", "", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-14 12:00", "*78", "dnd", "", "BUSY", "BUSY"),
    ("03-14 12:01", "*79", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-15 12:00", "restart", "out", "until 08:30", "ONHOLD", "UNAVAILABLE"),
    ("03-16 08:30", "", "available", "", "INVALID", "NOT_INUSE"),
    ("03-16 09:00", "", "meeting", "Stand-up (until 09:30)", "BUSY", "BUSY"),
]
BRIDGE = BridgeInfo("b", "mixing", "basic", "", "")
CALL = tuple(
    ChannelInfo(str(number), f"PJSIP/{line}-0000000{number}", "Up", (line, ""), ("", ""))
    for number, line in enumerate(("100", "trunk"))
)
CODES = {"*843*45": "state,3*45", "*78": "dnd,on", "*79": "dnd,off", "*840": "state,0"}


def calendar(at_: float) -> CalendarRead:
    """Read the calendar as the keeper does at a moment."""
    wanted = entries.Wanted(at_ - 86400, at_ + 8 * 86400, RULES)
    days = [datetime.fromtimestamp(moment, BERLIN).date() for moment in (wanted.start, wanted.end)]
    rows = entries.in_zone(entries.read(scan(CALENDAR, *days), wanted), BERLIN, wanted)
    return CalendarRead(at_, "work", tuple(Occurrence(*row[:2], StateId(row[2]), *row[3:]) for row in rows), (ALICE,))


def fresh_model(at_: float, manual: Entry | None = None) -> Model:
    """Start with what the store holds."""
    settings = make_settings(listed={ALICE: UserSettings("Alice", zone=ZoneInfo("Europe/Berlin"))})
    model = Model(replace(settings, schedules=ScheduleTable(users={ALICE: OFFICE})))
    reduce(model, ev.Started(at_, {ALICE: manual} if manual else {}))
    reduce(model, calendar(at_))
    return model


def happen(model: Model, at_: float, what: str) -> Model:
    """Let something happen."""
    user = model.users[ALICE]
    if what in CODES:
        words = tuple(CODES[what].split(","))
        reduce(model, ev.CodeDialled(at_, "hq", f"c{at_}", "PJSIP/100-00000001", words, ev.ClaimState.FRESH))
    elif what == "available":
        reduce(model, ev.ChangeAsked(at_, 1, ALICE, ev.Action.SET, "cli", "available", None, None))
    elif what == "call":
        for channel in CALL:
            reduce(model, ev.BridgeEntered(at_, "hq", BRIDGE, channel))
    elif what == "hangup":
        for channel in CALL:
            reduce(model, ev.BridgeLeft(at_, "hq", BRIDGE, channel))
            reduce(model, ev.ChannelGone(at_, "hq", channel.id))
    elif what == "restart":
        return fresh_model(at_, user.manual)
    return model


def test_week_shows_what_it_should_at_each_moment() -> None:
    """Hours, calendar, codes with and without an end, calls, an override, restarts; the calendar is read at midnight."""
    now = at("03-09 00:00")
    model = fresh_model(now)
    layout = LampLayout(model.settings.states)
    for moment, what, state, message, joined, whole in WEEK:
        until = at(moment)
        while now < until:  # deadlines as the engine sends them, and a look at the calendar at midnight
            midnight = at(datetime.fromtimestamp(now + 86400, BERLIN).strftime("%m-%d 00:00"))
            due = min(filter(None, (model.next_deadline(), until, midnight)))
            now = max(due, now)
            reduce(model, ev.TimerDue(now))
            if now == midnight:
                reduce(model, calendar(now))
        model = happen(model, now, what)
        user = model.users[ALICE]
        lamps = layout.desired(user.entries)
        shown = (
            user.effective(model.settings.states)[1].state,
            layout.presence(user.entries, BERLIN).message,
            lamps[layout.kinds.index("main-joined")].value,
            lamps[layout.kinds.index("main-whole")].value,
        )
        assert shown == (state, message, joined, whole), moment
    assert samples.clock(now) == WEEK[-1][0]
