"""What becomes of a call: state, end, and who gets through."""

from dataclasses import replace

import pytest

from ari_presence.core.kept import Rules
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, User, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.treatment import EMERGENCY_S, Attempt, Treatment, treatment_of, tried_at, tried_text
from ari_presence.core.userstate import BUILTIN, Entry, Layer, StateTable

AT = 1_800_000_000.0
RULES = Rules(vip=("0170555*",), emergency=("112",), override_code="*86", repeat_within_s=180)
TREATMENTS = {
    "available": "ring",
    "away": "ring",
    "dnd": "refuse",
    "lunch": "voicemail",
    "meeting": "voicemail",
    "brb": "ring",
    "out": "forward:0301",
}
TABLE = StateTable(replace(state, treatment="forward:0301") if state.id == "out" else state for state in BUILTIN)


def somebody(state: str | None, until: float | None = None, rules: Rules = RULES) -> tuple[Model, User]:
    """Make a model with one user in a state."""
    model = Model(Settings(TABLE, LampLayout(TABLE), rules=rules))
    user = model.users[UserId("100")] = User(UserId("100"), UserSettings(), AT)
    if state is not None:
        user.put(Layer.MANUAL, Entry(StateId(state), "cli", AT, until), AT)
    return model, user


def decide(state: str | None, until: float | None = None, rules: Rules = RULES, **attempt: object) -> Treatment:
    """Decide about a call to somebody in a state."""
    model, user = somebody(state, until, rules)
    return treatment_of(model, user, Attempt(**attempt), AT)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", TREATMENTS)
def test_state_decides(state: str) -> None:
    """As the table says."""
    assert decide(state, number="555").what == TREATMENTS[state]


def test_nobody_in_particular_rings() -> None:
    """The default state."""
    assert decide(None) == Treatment("ring")


def test_caller_may_hear_the_prompt_and_the_end() -> None:
    """What `say` needs."""
    assert decide("lunch", AT + 60) == Treatment("voicemail", "state", ("digits/3",), AT + 60)


@pytest.mark.parametrize(("until", "what"), [(AT - 1, "ring"), (AT, "ring"), (AT + 1, "refuse")], ids=str)
def test_end_that_has_come_counts(until: float, what: str) -> None:
    """Even before the timer has told the model."""
    assert decide("dnd", until).what == what


def test_state_below_counts_after_the_end() -> None:
    """As the next layer shows again on the lamps."""
    model, user = somebody("dnd", AT - 1)
    user.put(Layer.SCHEDULE, Entry(StateId("lunch"), "schedule:x", AT), AT)
    assert treatment_of(model, user, Attempt(), AT).what == "voicemail"


def test_reset_lets_calls_ring() -> None:
    """Before uninstalling, nothing is refused any more."""
    model, user = somebody(None)
    user.put(Layer.SCHEDULE, Entry(StateId("lunch"), "schedule:x", AT), AT)
    user.hushed = True
    assert treatment_of(model, user, Attempt(), AT).what == "ring"


@pytest.mark.parametrize(
    ("attempt", "because"),
    [
        ({"number": "01705551"}, "listed"),
        ({"number": "0170 (555) 1"}, "listed"),
        ({"number": "112"}, "listed"),
        ({"number": "555", "override": "*86"}, "override"),
        ({"override": "*86"}, "override"),
        ({"emergency_at": AT - EMERGENCY_S + 1}, "emergency"),
        ({"number": "555", "tried_at": AT - 180}, "repeat"),
    ],
    ids=["vip", "vip-spelled", "emergency-caller", "override", "override-anonymous", "emergency-call", "repeat"],
)
@pytest.mark.parametrize("state", ["dnd", "lunch", "out"])
def test_some_get_through_whatever_the_state(state: str, attempt: dict[str, object], because: str) -> None:
    """Each for a reason that is named."""
    treatment = decide(state, **attempt)
    assert (treatment.what, treatment.because) == ("ring", because)


@pytest.mark.parametrize(
    "attempt",
    [
        {"number": "0170556"},
        {"number": "555", "override": "*87"},
        {"emergency_at": AT - EMERGENCY_S},
        {"number": "555", "tried_at": AT - 181},
        {"tried_at": AT},
        {"number": "555", "tried_at": AT, "forwards": 1},
    ],
    ids=["other-number", "other-code", "hour-is-over", "too-late", "repeat-without-number", "same-call-again"],
)
def test_others_do_not(attempt: dict[str, object]) -> None:
    """One digit, one second or one letter away."""
    assert decide("dnd", **attempt) == Treatment("refuse", "state", ("do-not-disturb",))


def test_ways_that_are_turned_off_let_nobody_through() -> None:
    """`""` in the configuration."""
    off = Rules(emergency=())
    for attempt in ({"number": "112"}, {"override": ""}, {"override": "*86"}, {"number": "5", "tried_at": AT}):
        assert decide("dnd", rules=off, **attempt).what == "refuse"


@pytest.mark.parametrize(("forwards", "what"), [(0, "forward:0301"), (2, "forward:0301"), (3, "refuse")], ids=str)
def test_circle_of_forwards_ends(forwards: int, what: str) -> None:
    """Two users who forward to each other must not fill the machine with channels."""
    assert decide("out", forwards=forwards).what == what


def test_last_tries_are_kept_newest_first_and_ten_at_most() -> None:
    """What the dialplan keeps of callers is bounded, whoever calls."""
    kept = ""
    for number in range(30):
        kept = tried_text(kept, f"+49 {number}", AT + number)
    assert kept.startswith("+4929=1800000029:+4928=1800000028:")
    assert kept.count("=") == 10
    assert tried_at(kept, "+4929") == AT + 29
    assert tried_at(kept, "+4919") is None
    assert tried_text(kept, "", AT) == kept


@pytest.mark.parametrize("kept", ["", ":", "=", "5", "5=", "5=x", "5=٣", "55=1"], ids=str)
def test_tries_that_make_no_sense_are_none(kept: str) -> None:
    """AstDB can be written by anybody."""
    assert tried_at(kept, "5") is None
    assert tried_at(f"{kept}:5=7", "5") == 7
