"""Counting step by step gives what counting from scratch gives, whatever happens in whatever order."""

import re
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from ari_presence.core import events as ev
from ari_presence.core.channels import ChannelInfo
from ari_presence.core.devstate import DeviceState
from ari_presence.core.groups import Availability, Groups, Standing, standing
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import StateTable
from tests.properties.test_core import ENDPOINTS, FULL, SMALL, histories

LAMPS = {Availability.FREE: "NOT_INUSE", Availability.BUSY: "INUSE", Availability.OUT: "UNAVAILABLE"}
GROUPS = ("sales", "night", "all")
users = st.sampled_from([UserId(str(number)) for number in range(100, 106)])
standings = st.builds(Standing, st.sampled_from(Availability), st.sampled_from([StateId("a"), StateId("b")]))
updates = st.lists(
    st.tuples(users, st.lists(st.sampled_from(GROUPS), max_size=4), st.one_of(st.none(), standings), st.booleans()),
    max_size=40,
)
People = dict[UserId, tuple[list[str], Standing, bool]]


def recount(people: People, group: str) -> str:
    """Work out a lamp the long way."""
    members = [(how.availability, hushed) for groups, how, hushed in people.values() if group in groups]
    if all(hushed for _, hushed in members):
        return "NOT_INUSE"
    count = Counter(availability for availability, _ in members)
    return LAMPS[next(each for each in Availability if count[each])]


def check(groups: Groups, people: People) -> None:
    """Compare everything that can be asked with a recount."""
    for group in GROUPS:
        assert groups.value(group) == recount(people, group)
    known = {group for row in people.values() for group in row[0]}
    assert [seen.name for seen in groups.seen()] == sorted(known) == sorted(groups)
    for seen in groups.seen():
        members = {user: row[1] for user, row in people.items() if seen.name in row[0]}
        assert seen.members == members
        assert seen.availability == next(each for each in Availability if each in {m[0] for m in members.values()})
        assert seen.lamp == groups.value(seen.name)


@given(updates)
def test_counting_on_is_counting_anew(
    script: list[tuple[UserId, list[str], Standing | None, bool]],
) -> None:
    """After every step every group has the members and the lamp of a recount, and each change of a lamp was told."""
    groups, people = Groups(), People()
    for user, names, how, hushed in script:
        before = {group: groups.value(group) for group in GROUPS}
        changed = groups.update(user, names, how, hushed=hushed)
        people.pop(user, None)
        if how is not None:
            people[user] = (names, how, hushed)
        check(groups, people)
        assert {group for group in GROUPS if groups.value(group) != before[group]} <= changed


def settings(table: StateTable, **groups: str) -> Settings:
    """Make a configuration of people in groups."""
    rows = {UserId(user[1:]): UserSettings(groups=tuple(names.split())) for user, names in groups.items()}
    owners = {"PJSIP/100-mobile": UserId("100")} if "100" in rows else {}
    pattern = re.compile(r"PJSIP/(?P<user>\d{3})")
    return Settings(table, LampLayout(table), rows, owners, pattern, re.compile("PJSIP/3"), pbxs=("hq", "branch"))


CONFIGS = (
    settings(FULL, u100="sales all", u101="sales"),
    settings(SMALL, u100="night all", u101="", u300="sales"),
    settings(FULL, u101="sales night", u200="sales"),
)
lines = st.sampled_from([name for name in ENDPOINTS if name.startswith("PJSIP/")])
channels = st.builds(
    lambda line, state: ChannelInfo(f"id-{line}", f"{line}-00000001", state, ("", ""), ("", "")),
    lines,
    st.sampled_from(["Down", "Ringing", "Up"]),
)


def adapted(event: ev.Event, data: st.DataObject) -> ev.Event:
    """Give an event what groups depend on: configurations with groups, phones that are gone."""
    match event:
        case ev.ConfigChanged():
            return replace(event, settings=data.draw(st.sampled_from(CONFIGS)))
        case ev.EndpointsSeen():
            return replace(event, offline=frozenset(data.draw(st.lists(lines, max_size=3))))
    return event


def of_phones(at: float) -> st.SearchStrategy[ev.Event]:
    """Make events of phones: calls that begin and end, phones that come and go."""
    return st.one_of(
        st.builds(ev.LineSeen, st.just(at), st.just("hq"), lines, st.sampled_from(DeviceState)),
        st.builds(ev.ChannelSeen, st.just(at), st.just("hq"), channels),
        st.builds(ev.ChannelGone, st.just(at), st.just("hq"), lines.map(lambda line: f"id-{line}")),
    )


@budget(max_examples=max(250, budget().max_examples))
@given(histories(), st.data())
def test_groups_follow_the_model_through_any_events(history: list[ev.Event], data: st.DataObject) -> None:
    """Whoever is touched is all that must be looked at: the groups are those of everybody, counted anew."""
    model, groups = Model(CONFIGS[0]), Groups()
    for first in history:
        for event in (adapted(first, data), *data.draw(st.lists(of_phones(first.at), max_size=3))):
            groups.follow(model, (event,), reduce(model, event).touched)
            people = {
                user: (list(person.settings.groups), standing(person, model.settings.states), person.hushed)
                for user, person in model.users.items()
            }
            check(groups, people)
