"""Every end comes exactly once and in order, and schedules give what the clock says, whatever the order of restarts, crashes,
jumps of the clock, sleeps, reloads and changes; in three zones around the days on which the clocks change."""  # noqa: D205, D209

from collections import Counter
from datetime import datetime, time
from zoneinfo import ZoneInfo

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ari_presence.core import events as ev
from ari_presence.core.commands import Save
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.schedule import Schedule, ScheduleTable, present
from ari_presence.core.timers import next_time_of_day
from ari_presence.core.userstate import Entry, Layer, StateTable

TABLE = StateTable()
LAYOUT = LampLayout(TABLE)
HOUR = 3600
ZONES = {
    UserId("100"): ZoneInfo("Europe/Berlin"),
    UserId("101"): ZoneInfo("America/New_York"),
    UserId("102"): ZoneInfo("Australia/Lord_Howe"),
}
STARTS = [
    datetime(2026, 3, 28, 20, tzinfo=ZONES[UserId("100")]).timestamp(),
    datetime(2026, 10, 24, 20, tzinfo=ZONES[UserId("100")]).timestamp(),
    datetime(2026, 3, 7, 20, tzinfo=ZONES[UserId("101")]).timestamp(),
    datetime(2026, 10, 31, 20, tzinfo=ZONES[UserId("101")]).timestamp(),
    datetime(2026, 4, 4, 20, tzinfo=ZONES[UserId("102")]).timestamp(),
    datetime(2026, 10, 3, 20, tzinfo=ZONES[UserId("102")]).timestamp(),
]
OFFICE = Schedule("office", (((9 * HOUR, 17 * HOUR),),) * 7, None, StateId("out"))
NIGHT = Schedule("night", (((22 * HOUR, 26.5 * HOUR), (3 * HOUR, 4 * HOUR)),) * 7, StateId("away"), StateId("brb"))  # type: ignore[arg-type]
TABLES = [ScheduleTable(everybody=OFFICE), ScheduleTable({UserId("101"): NIGHT}, {}, OFFICE), ScheduleTable()]
users = st.sampled_from(sorted(ZONES))
waits = st.sampled_from([0, 0, 1, 60, HOUR, 5 * HOUR])
spans = st.sampled_from([1, 59, 60, HOUR, 5 * HOUR, 11 * HOUR, 26 * HOUR])
downtimes = st.sampled_from([0, 3, HOUR, 7 * HOUR, 30 * HOUR])


def configuration(schedules: ScheduleTable) -> Settings:
    """Make settings with one user in each zone."""
    listed = {user: UserSettings(zone=zone) for user, zone in ZONES.items()}
    return Settings(TABLE, LAYOUT, listed, pbxs=("hq",), schedules=schedules)


class Deadlines(RuleBasedStateMachine):
    """A model with its store, and beside it a plain list of what has to end when."""

    @initialize(at=st.sampled_from(STARTS), schedules=st.sampled_from(TABLES))
    def begin(self, at: float, schedules: ScheduleTable) -> None:
        """Start with an empty store."""
        self.now, self.settings = at, configuration(schedules)
        self.stored: dict[UserId, Entry] = {}
        self.queue: list[Save] = []
        self.ended: Counter[str] = Counter()
        self.pending: dict[UserId, Entry] = {}
        self.number = 0
        self._start()

    def _start(self) -> None:
        self.model = Model(self.settings)
        self.pending = {user: entry for user, entry in self.stored.items() if entry.until is not None}
        self._do(ev.Started(self.now, dict(self.stored)))
        self._tick()

    def _do(self, event: ev.Event) -> list[Save]:
        saves = [command for command in reduce(self.model, event).commands if isinstance(command, Save)]
        self.queue += saves
        return saves

    def _flush(self) -> None:
        """Let the store take what waits."""
        for save in self.queue:
            if save.entry is None:
                self.stored.pop(save.user, None)
            else:
                self.stored[save.user] = save.entry
            if save.record.source == "expiry":
                assert save.before is not None
                self.ended[str(save.before.message)] += 1
        self.queue = []

    def _tick(self, *, clock_set: bool = False) -> None:
        """Do what the engine does when it looks at the clock: all that is due, and nothing without end."""
        due = sorted((entry.until or 0, user) for user, entry in self.pending.items() if (entry.until or 0) <= self.now)
        fired = []
        for _ in range(50):
            deadline = self.model.next_deadline()
            if not clock_set and (deadline is None or deadline > self.now):
                break
            saves = self._do(ev.TimerDue(self.now, clock_set))
            fired += [(save.before.until, save.user) for save in saves if save.before]
            clock_set = False
        else:
            raise AssertionError("always something due")
        assert fired == due
        for _, user in due:
            del self.pending[user]

    def _wait(self, seconds: int) -> None:
        self._flush()
        self.now += seconds
        self._tick()

    def _set(self, user: UserId, until: float | None) -> None:
        self._flush()
        self.number += 1
        self._do(ev.ChangeAsked(self.now, 1, user, Action.SET, "cli", "dnd", str(self.number), until))
        self.pending.pop(user, None)
        if until is not None:
            self.pending[user] = Entry(StateId("dnd"), "cli", self.now, until, str(self.number))
        self._tick()

    @rule(user=users, seconds=spans, wait=waits)
    def set_for(self, user: UserId, seconds: int, wait: int) -> None:
        """Set a state for so long; setting it again moves the end."""
        self._wait(wait)
        self._set(user, self.now + seconds)

    @rule(user=users, at=st.sampled_from([time(0), time(2, 15), time(2, 30), time(3), time(13, 30)]), wait=waits)
    def set_until(self, user: UserId, at: time, wait: int) -> None:
        """Set a state until a time of day, which may be one that is skipped or doubled."""
        self._wait(wait)
        self._set(user, next_time_of_day(at, self.now, ZONES[user]))

    @rule(user=users)
    def set_for_good(self, user: UserId) -> None:
        """Set a state without an end."""
        self._set(user, None)

    @rule(user=users)
    def clear(self, user: UserId) -> None:
        """Take the state away."""
        self._flush()
        self._do(ev.ChangeAsked(self.now, 1, user, Action.CLEAR, "cli"))
        self.pending.pop(user, None)
        self._tick()

    @rule(seconds=spans)
    def let_time_pass(self, seconds: int) -> None:
        """Wait, and look at the clock only then."""
        self._wait(seconds)

    @rule(seconds=st.sampled_from([-30 * HOUR, -HOUR, -2, 2, HOUR, 50 * HOUR]))
    def set_the_clock(self, seconds: int) -> None:
        """Set the clock, or let the machine sleep."""
        self._flush()
        self.now += seconds
        self._tick(clock_set=True)

    @rule(away=downtimes, crash=st.booleans())
    def restart(self, away: int, crash: bool) -> None:
        """Stop for a while; in a crash, what the last step wanted to store is lost."""
        if crash:
            self.queue = []
        self._flush()
        self.now += away
        self._start()

    @rule(schedules=st.sampled_from(TABLES))
    def reload(self, schedules: ScheduleTable) -> None:
        """Read other schedules."""
        self._flush()
        self.settings = configuration(schedules)
        self._do(ev.ConfigChanged(self.now, self.settings))
        self._tick()

    @invariant()
    def nothing_ends_twice(self) -> None:
        """In the history of the store."""
        assert not [number for number, count in self.ended.items() if count > 1]

    @invariant()
    def what_is_pending_is_what_the_model_holds(self) -> None:
        """No end is lost, none is left over."""
        held = {user: person.manual for user, person in self.model.users.items() if person.manual}
        ends = {user: entry.until for user, entry in held.items() if entry.until is not None}
        assert ends == {user: entry.until for user, entry in self.pending.items()}

    @invariant()
    def schedules_give_what_the_clock_says(self) -> None:
        """Whatever was missed meanwhile."""
        for user, zone in ZONES.items():
            schedule = self.settings.schedules.of(user, ())
            wanted = present(schedule, zone, self.now).state if schedule is not None else None
            entry = self.model.users[user].entries.get(Layer.SCHEDULE)
            assert (entry.state if entry else None) == wanted
            assert entry is None or entry.since <= self.now < (entry.until or self.now + 1)


Deadlines.TestCase.settings = hypothesis_settings(
    stateful_step_count=30, max_examples=max(150, hypothesis_settings().max_examples)
)
TestDeadlines = Deadlines.TestCase
