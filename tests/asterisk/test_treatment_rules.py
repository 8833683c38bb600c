"""What the dialplan decides is what the model says: the real `presence-treat.conf` is asked, case by case.

What the daemon would write for a case is written over ARI; one originated channel runs the Gosub and leaves its answer in
a global variable.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ari_presence.ari.wire import Request
from ari_presence.core.kept import Rules, site_texts
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, User, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.treatment import EMERGENCY_S, Attempt, treatment_of, tried_at
from ari_presence.core.userstate import BUILTIN, CALL_STATES, OFFLINE, Entry, Layer, StateTable
from ari_presence.publish.requests import write_kept, write_kept_of_site, write_lamp
from private_asterisk import PrivateAsterisk, Tree, wait_until
from private_asterisk.config import extensions

ASK = """
[ask]
exten => run,1,Set(CALLERID(num)=${CASE_NUMBER})
 same => n,Set(DB(presence-tried/${CASE_USER})=${CASE_TRIED})
 same => n,Set(DB(presence-emergency/${CASE_USER})=${CASE_EMERGENCY})
 same => n,Gosub(presence-treat,s,1(${CASE_SPELLED}))
 same => n,Set(GLOBAL(ANSWER_${CASE})=${PRESENCE_TREATMENT})
 same => n,Set(GLOBAL(TRIED_${CASE})=${DB(presence-tried/${CASE_USER})}.)
 same => n,Set(GLOBAL(LEFT_${CASE})=${PRESENCE_THEN}${PRESENCE_KEPT}${PRESENCE_CALLER}.)
exten => wait,1,Wait(5)
"""
CHANGES = {"brb": "forward:0301234", "on-call": "voicemail", "offline": "forward:*9"}
TABLE = StateTable(replace(state, treatment=CHANGES[state.id]) if state.id in CHANGES else state for state in BUILTIN)
LAYOUT = LampLayout(TABLE)
RULES = Rules(
    vip=("0170555*", "+49?1", "a.b-?_d", *(f"08{number:07}" for number in range(200))),
    emergency=("112", "*911"),
    override_code="*86",
    repeat_within_s=180,
)
NUMBERS = ["0170555", "01705551", "0170556", "+4971", "4971", "112", "*911", "1911", "555", "080000199", "080000200"]
NUMBERS += ["", "Anonymous", "anonymous", "+49 (71", '5"55', "${EPOCH}", "5&5,5)", "5=5:5!5", "a.b-c_d", "a" * 50]
MARGIN_S = 20  # no case may turn while it is being asked
ends = st.sampled_from([None, -7200, -MARGIN_S, MARGIN_S, 7200])
names = {
    Layer.MANUAL: ["available", "away", "dnd", "lunch", "meeting", "brb", "out"],
    Layer.CALLS: sorted(CALL_STATES),
    Layer.CALENDAR: ["meeting", "available"],
    Layer.SCHEDULE: ["out", "available"],
    Layer.REGISTRATION: [OFFLINE],
}


@dataclass(frozen=True)
class Case:
    """A user, a call, and what the plain dialplan did meanwhile; times are seconds from now.

    Attributes:
        layers: State and end in each layer.
        number: The caller's.
        tried: When callers have tried, as (number, seconds).
        emergency: When the user has dialled an emergency number, or None.
        override: Code dialled before.
        forwards: How often it was forwarded.
        fallback: State that the plain dialplan has set since, "" for off, or None.
    """

    layers: Mapping[Layer, tuple[str, int | None]] = field(default_factory=dict)
    number: str = "555"
    tried: tuple[tuple[str, int], ...] = ()
    emergency: int | None = None
    override: str = ""
    forwards: int = 0
    fallback: str | None = None


DND = {Layer.MANUAL: ("dnd", None)}
cases = st.builds(
    Case,
    st.fixed_dictionaries({}, optional={layer: st.tuples(st.sampled_from(ids), ends) for layer, ids in names.items()}),
    st.sampled_from(NUMBERS),
    st.lists(st.tuples(st.sampled_from(NUMBERS[:9]), st.sampled_from([-10, -160, -200])), max_size=12).map(tuple),
    st.sampled_from([None, None, -60, -EMERGENCY_S + MARGIN_S, -EMERGENCY_S - MARGIN_S]),
    st.sampled_from(["", "", "", "*86", "*87"]),
    st.integers(0, 4),
    st.sampled_from([None, None, None, "", "dnd", "lunch", "away"]),
)


class Desk:
    """A server that is asked what to do with a call."""

    def __init__(self, server: PrivateAsterisk) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        for text in site_texts(RULES):
            self.send(write_kept_of_site(*text))

    def send(self, request: Request) -> None:
        """Carry out one request as the link would."""
        assert self.server.ari(request.method, request.path, **dict(request.query)).ok

    def ask(self, case: Case) -> tuple[str, str, str]:
        """Write what the daemon would, call, and give the dialplan's answer, the model's, and the tries that are kept."""
        number = str(next(self._numbers))
        user, now = UserId(f"u{number}.x-y_z"), time.time()
        model = Model(Settings(TABLE, LAYOUT, rules=RULES))
        person = model.users[user] = User(user, UserSettings(), now)
        for layer, (state, end) in case.layers.items():
            entry = Entry(StateId(state), "cli", now, None if end is None else now + end)
            person.put(layer, entry, now)
        self._publish(person)
        if case.fallback is not None:
            self._fall_back(person, case.fallback)
        tried = ":".join(f"{each}={int(now + at)}" for each, at in case.tried)
        variables = {
            "CASE": number,
            "CASE_USER": user,
            "CASE_SPELLED": user.upper(),
            "CASE_NUMBER": case.number,
            "CASE_TRIED": tried,
            "CASE_EMERGENCY": "" if case.emergency is None else str(int(now + case.emergency)),
            "PRESENCE_OVERRIDDEN": case.override,
            "PRESENCE_FORWARDS": str(case.forwards) if case.forwards else "",
        }
        answer = self._originate(variables)
        attempt = Attempt(
            case.number,
            case.override,
            tried_at(tried, case.number),
            None if case.emergency is None else now + case.emergency,
            case.forwards,
        )
        assert self._global(f"LEFT_{number}") == ".", "variables of the Gosub are left behind"
        return answer, treatment_of(model, person, attempt, now).what, self._global(f"TRIED_{number}").removesuffix(".")

    def _publish(self, person: User) -> None:
        vector = LAYOUT.desired(person.entries)
        for index, value in enumerate(vector):
            if value is not LAYOUT.off[index]:
                self.send(write_lamp(LAYOUT.device(index, person.id), value))
        kept = LAYOUT.presence(person.entries, UTC).kept
        if kept:
            self.send(write_kept(person.id, kept))

    def _fall_back(self, person: User, state: str) -> None:
        """Do to lamps what `presence-codes.conf` does, and to the model what comes of it when it is adopted.

        The plain dialplan knows no layers below: off is off, as the lamps show.
        """
        manual = person.manual.state if person.manual else ""
        if not state and manual not in {each.id for each in TABLE.dialled}:
            return  # no state lamp is lit: nothing is written that could be told from the daemon's own
        values = {"presence": TABLE.by_id[state].joined if state else "INVALID"}
        values |= {manual: "INVALID"} if manual in {each.id for each in TABLE.dialled} else {}
        values |= {state: "BUSY"} if state else {}
        for name, value in values.items():
            variable = f"DEVICE_STATE(Custom:{name}-{person.id})"
            assert self.server.ari("POST", "asterisk/variable", variable=variable, value=str(value)).ok
        for layer in list(person.entries):
            person.put(layer, None, 0.0)
        if state:
            person.put(Layer.MANUAL, Entry(StateId(state), "dialplan", 0.0), 0.0)

    def _originate(self, variables: dict[str, str]) -> str:
        place = {"context": "ask", "extension": "wait", "priority": "1"}
        made = self.server.ari("POST", "channels", {"variables": variables}, endpoint="Local/run@ask", **place)
        assert made.ok, made.text
        name = f"LEFT_{variables['CASE']}"
        assert wait_until(lambda: self._global(name), 5, every_s=0.002), "the dialplan does not answer"
        return self._global(f"ANSWER_{variables['CASE']}")

    def _global(self, name: str) -> str:
        found = self.server.ari("GET", "asterisk/variable", variable=name)
        return str(found.json()["value"]) if found.ok else ""


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def desk(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[Desk]:
    """Start a server whose dialplan is asked; nothing it does may leave a warning."""
    config = {"extensions.conf": extensions({}) + ASK}
    with PrivateAsterisk(request.param, phones=[], config=config, tree=tree_of(request.param)) as server:
        quiet = len(server.log())
        yield Desk(server)
        assert [line for line in server.log()[quiet:].splitlines() if "WARNING" in line or "ERROR" in line] == []


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cases)
@example(Case())
@example(Case(DND))
@example(Case({Layer.MANUAL: ("dnd", -MARGIN_S), Layer.SCHEDULE: ("out", None)}))
@example(Case({Layer.MANUAL: ("lunch", -MARGIN_S), Layer.CALENDAR: ("meeting", -MARGIN_S)}))
@example(Case({Layer.CALLS: ("on-call", None)}))
@example(Case({Layer.REGISTRATION: ("offline", None)}))
@example(Case({Layer.MANUAL: ("brb", MARGIN_S)}, forwards=2))
@example(Case({Layer.MANUAL: ("brb", MARGIN_S)}, forwards=3))
@example(Case(DND, number="080000199"))
@example(Case(DND, number="080000200"))
@example(Case(DND, number="a.b-c_d"))
@example(Case(DND, number="*911"))
@example(Case(DND, override="*86"))
@example(Case(DND, override="*87"))
@example(Case(DND, emergency=-60))
@example(Case(DND, tried=(("5551", -10), ("555", -160))))
@example(Case(DND, tried=(("555", -200),)))
@example(Case(DND, number="", tried=(("", -10),)))
@example(Case(DND, number="Anonymous", tried=(("Anonymous", -10),)))
@example(Case(DND, tried=(("555", -10),), forwards=1))
@example(Case(DND, fallback="lunch"))
@example(Case(DND, fallback="away"))
@example(Case(DND, fallback=""))
@example(Case(fallback="dnd"))
def test_dialplan_decides_as_the_model_says(desk: Desk, case: Case) -> None:
    """For any layers, ends, callers and tries, with and without the plain dialplan's word."""
    answer, expected, _ = desk.ask(case)
    assert answer == expected


def test_callers_who_tried_are_kept_as_the_model_would(desk: Desk) -> None:
    """Newest first, ten at most, and what the network says is filtered."""
    tried = tuple((str(number), -number) for number in range(20, 40))
    before = time.time()
    _, _, kept = desk.ask(Case(DND, number='5"5:5=5!5', tried=tried))
    entries = [entry.split("=") for entry in kept.split(":") if entry]
    assert [number for number, _ in entries] == ["55555", *(str(number) for number in range(20, 29))]
    assert int(before) <= int(entries[0][1]) <= int(time.time())


def test_caller_without_a_number_is_not_kept(desk: Desk) -> None:
    """All who hide theirs would be one caller."""
    assert desk.ask(Case(DND, number='"()'))[2] == ""
