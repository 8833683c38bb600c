"""Parked calls of a made-up server, told in any order: a space that is named is always the right one."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ari_presence.core.parked import Member, ParkedInfo, Parker, Space
from ari_presence.core.parking import KEEP_S, Parking
from ari_presence.core.spaces import WINDOW_S

START = 1_800_000_000.0
LOTS = {
    "default": ("parkedcalls", ("701", "702", "703")),
    "sales": ("Sales", ("701", "801")),
    "attic": ("attic", ("9",)),
}
WATCHED = [Space(number, context) for context, numbers in LOTS.values() for number in numbers if context != "attic"]
# One report comes that much later than what it tells; two of one moment are less than the window apart.
late = st.floats(0, WINDOW_S * 0.95)
steps = st.lists(
    st.tuples(
        st.sampled_from(["park", "park", "park", "hand over", "hang up", "leave", "leave", "gap", "long gap", "ami"]),
        st.integers(0, 30),
        st.sampled_from([0.0, 0.0, 0.001, 0.1, 0.4, 3.0]),
        late,
        late,
        st.booleans(),
    ),
    max_size=25,
)


@dataclass
class World:
    """The truth, and the reports of it that are still under way as (when it comes, what it does)."""

    parking: Parking = field(default_factory=Parking)
    at: float = START
    inside: dict[str, tuple[str, Space]] = field(default_factory=dict)
    parkers: dict[str, str] = field(default_factory=dict)  # channel of who parked and has not hung up, to the call
    pending: dict[str, Space] = field(default_factory=dict)  # calls whose space is not taken yet, as in Asterisk 22
    changed: dict[str, tuple[float, Space]] = field(default_factory=dict)  # where a call was until when
    under_way: list[tuple[float, int, Any]] = field(default_factory=list)
    is_cut: bool = False
    made: int = 0
    reports: int = 0

    def report(self, delay: float, key: object, *call: Any) -> None:
        """Let something be told later; what is told of one thing stays in its order."""
        if not self.is_cut:
            last = max((when for when, _, (k, *_) in self.under_way if k == key), default=0.0)
            self.reports += 1
            self.under_way.append((max(self.at + delay, last), self.reports, (key, *call)))

    def deliver(self, until: float) -> None:
        """Tell what has come by then."""
        due = sorted(each for each in self.under_way if each[0] <= until)
        self.under_way = [each for each in self.under_way if each[0] > until]
        for when, _, (_key, name, *arguments) in due:
            getattr(self.parking, name)(*arguments, when)
            self.check(when)
        self.at = until

    def check(self, at: float) -> None:
        """Compare what is said with the truth, now or just before."""
        rows = self.parking.calls(at)
        assert len({(row.context, row.space) for row in rows if row.source == "correlated"}) == len(
            [row for row in rows if row.source == "correlated"]
        )
        for row in rows:
            assert (row.space is None) == (row.source == "unknown")
            if row.source != "correlated":
                continue
            true = [self.inside[row.channel][1]] if row.channel in self.inside else []
            when, before = self.changed.get(row.channel, (0.0, None))
            if before is not None and at <= when + 2 * WINDOW_S:
                true.append(before)
            assert Space(row.space or "", row.context or "") in true, (row, true)

    def park(self, channel: str, which: int, ways: tuple[float, float], by_other: bool, late_space: bool) -> None:
        """Park a call in a free space, if there is one."""
        free = [(lot, Space(n, c)) for lot, (c, numbers) in LOTS.items() for n in numbers]
        free = [each for each in free if each not in self.inside.values()]
        if not free:
            return
        lot, space = free[which % len(free)]
        self.inside[channel] = (lot, space)
        parker = Parker(f"by-{channel}-{self.made}", "PJSIP/101") if by_other else Parker(channel, "PJSIP/100")
        if by_other:
            self.parkers[parker.channel] = channel
        self.report(ways[0], channel, "entered", channel, lot, ("100", ""), parker)
        if late_space and by_other:
            self.pending[channel] = space
        elif space in WATCHED:
            self.report(ways[1], space, "space_seen", space, True)

    def hang_up(self, parker: str, ways: tuple[float, float]) -> None:
        """Let somebody who parked hang up: in Asterisk 22 the space is taken only now."""
        channel = self.parkers.pop(parker)
        self.report(ways[0], parker, "gone", parker)
        space = self.pending.pop(channel, None)
        if space is not None and space in WATCHED:
            self.report(ways[1], space, "space_seen", space, True)

    def leave(self, channel: str, ways: tuple[float, float]) -> None:
        """Let a call end."""
        _, space = self.inside.pop(channel)
        self.changed[channel] = (self.at, space)
        for parker in [parker for parker, parked in self.parkers.items() if parked == channel]:
            del self.parkers[parker]
        self.report(ways[0], channel, "left", channel)
        if self.pending.pop(channel, None) is None and space in WATCHED:
            self.report(ways[1], space, "space_seen", space, False)

    def come_back(self) -> None:
        """List everything after a gap."""
        for parker in list(self.parkers):
            self.hang_up(parker, (0.0, 0.0))
        self.is_cut = False
        self.at += 1.0
        self.parking.restored([Member(channel, lot) for channel, (lot, _) in self.inside.items()], self.at)
        taken = {space for _, space in self.inside.values()}
        self.parking.spaces_listed([space for space in WATCHED if space in taken], self.at)


def run(world: World, kind: str, which: int, ways: tuple[float, float], flag: bool) -> None:
    """Let one thing happen."""
    world.made += 1
    channels = sorted(world.inside)
    if kind in ("park", "hand over"):
        world.park(f"c{world.made}", which, ways, kind == "hand over", flag)
    elif kind == "hang up" and world.parkers:
        world.hang_up(sorted(world.parkers)[which % len(world.parkers)], ways)
    elif kind == "leave" and channels:
        world.leave(channels[which % len(channels)], ways)
    elif kind == "ami":
        truth = [ParkedInfo(c, lot, space.number, ("", ""), None, world.at) for c, (lot, space) in world.inside.items()]
        world.parking.listed(tuple(truth) if flag else None, world.at)
    elif kind.endswith("gap"):
        world.deliver(world.at + WINDOW_S)
        world.is_cut = True
        world.parking.lost(world.at)
        world.at += KEEP_S + 1 if kind == "long gap" else 1.0
        for number, channel in enumerate(channels):  # some end, and in a long gap some are parked anew elsewhere
            if number % 3 == which % 3:
                world.leave(channel, ways)
                if kind == "long gap" and flag:
                    world.park(channel, which + number, ways, False, False)
        world.park(f"c{world.made}", which, ways, False, False)
        world.come_back()


@settings(max_examples=max(300, settings.default.max_examples if settings.default else 0))
@given(steps)
def test_space_that_is_named_is_the_right_one(story: list[tuple[str, int, float, float, float, bool]]) -> None:
    """Calls that come and go at once, late reports, spaces nobody watches, gaps: unknown sometimes, wrong never."""
    world = World()
    world.parking.restored([], START)
    world.parking.spaces_listed([], START)
    for kind, which, pause, *ways, flag in story:
        world.deliver(world.at + pause)
        run(world, kind, which, (ways[0], ways[1]), flag)
        world.check(world.at)
    for _ in range(10):
        world.deliver(world.at + WINDOW_S / 2)
        world.check(world.at)
    assert {row.channel for row in world.parking.calls(world.at)} == set(world.inside)


@given(steps)
def test_calls_that_come_one_after_the_other_are_all_known(
    story: list[tuple[str, int, float, float, float, bool]],
) -> None:
    """Whenever there is time between them, every call in a watched space has its space."""
    world = World()
    world.parking.restored([], START)
    world.parking.spaces_listed([], START)
    for kind, which, _, *ways, flag in story:
        world.deliver(world.at + 3 * WINDOW_S)
        if kind in ("park", "hand over", "leave"):
            run(world, kind, which, (ways[0], ways[1]), flag)
        for parker in list(world.parkers):
            world.deliver(world.at + 3 * WINDOW_S)
            world.hang_up(parker, (ways[1], ways[0]))
    world.deliver(world.at + 3 * WINDOW_S)
    said = {row.channel: row.space for row in world.parking.calls(world.at)}
    assert said == {c: space.number if space in WATCHED else None for c, (_, space) in world.inside.items()}


anything = st.one_of(
    st.tuples(st.just("entered"), st.sampled_from("ab"), st.sampled_from(sorted(LOTS)), st.just(("", "")), st.none()),
    st.tuples(st.just("left"), st.sampled_from("abp")),
    st.tuples(st.just("gone"), st.sampled_from("abp")),
    st.tuples(st.just("lot_gone"), st.sampled_from(sorted(LOTS))),
    st.tuples(st.just("transferred"), st.just(Parker("p", "PJSIP/1")), st.sampled_from("ab")),
    st.tuples(st.just("space_seen"), st.sampled_from(WATCHED), st.booleans()),
    st.tuples(st.just("lost")),
    st.tuples(st.just("restored"), st.lists(st.builds(Member, st.sampled_from("ab"), st.sampled_from(sorted(LOTS))))),
    st.tuples(st.just("spaces_listed"), st.lists(st.sampled_from(WATCHED))),
    st.tuples(st.just("listed"), st.none() | st.just(())),
)


@given(st.lists(st.tuples(anything, st.floats(-100, 100))))
def test_nonsense_changes_lamps_only_where_it_says_so(story: list[tuple[tuple[Any, ...], float]]) -> None:
    """Twice, backwards, of channels never seen: never an error, and every changed lamp is among those that are given."""
    parking = Parking()
    for (name, *arguments), at in story:
        before = parking.waiting()
        touched = getattr(parking, name)(*arguments, START + at) or set()
        after = parking.waiting()
        assert {who for who in before.keys() | after.keys() if before.get(who) != after.get(who)} <= touched
        parking.calls(START + at)
        deadline = parking.next_deadline(5.0)
        if deadline is not None:
            parking.due(deadline, 5.0)
            later = parking.next_deadline(5.0)
            assert later is None or later > deadline
