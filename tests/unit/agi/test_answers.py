"""What a call is told, on a running engine."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ari_presence.agi.answers import Answers
from ari_presence.agi.talk import Answer, Environment
from ari_presence.core.events import ConfigChanged
from ari_presence.core.model import Prompts
from ari_presence.errors import Refused, StoreError
from ari_presence.service import AgiDesk
from tests.unit.engine_rig import START, Rig, running

ALICE, BOB = "PJSIP/100-00000001", "PJSIP/101-00000002"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a running engine with one live link; 100 may set others, 101 not."""
    with running() as made:
        yield made


def ask(rig: Rig, path: str, name: str = ALICE, *, expire: bool = False) -> Answer:
    """Ask, wait for the outcome and give the answer; a path that is nonsense is answered, too."""
    answers, call = Answers(AgiDesk(rig.engine)), Environment("1.1", name, tuple(path.split("/")))
    try:
        intent = answers.understand(call.words)
    except Refused as error:
        return answers.refused(error, call.words)
    outcome = answers.begin(call, intent)
    if expire:
        rig.sync()
        rig.advance(3.1)
    outcome.exception(10)
    return answers.of(call, outcome)


def test_change_is_ok_with_state_end_and_treatment(rig: Rig) -> None:
    """All that a dialplan may want to know, and what the caller hears."""
    answer = ask(rig, "set/lunch/45")
    assert answer.variables == {
        "PRESENCE_RESULT": "ok",
        "PRESENCE_REASON": "ok",
        "PRESENCE_USER_STATE": "lunch",
        "PRESENCE_USER_UNTIL": str(int(START + 45 * 60)),
        "PRESENCE_TREATMENT": "voicemail",
    }
    assert answer.media[:2] == ("sound:digits/3", "sound:activated")
    assert len(answer.media) == 4
    assert (rig.manual(), rig.stored(), rig.lamp("Custom:lunch-100")) == ("lunch", "lunch", "INUSE")


def test_question_of_the_dialplan_is_silent(rig: Rig) -> None:
    """How a call is treated is a variable."""
    ask(rig, "set/dnd")
    answer = ask(rig, "treat/100", "PJSIP/trunk-00000009")
    assert (answer.variables["PRESENCE_TREATMENT"], answer.media) == ("refuse", ())
    assert answer.variables["PRESENCE_USER_UNTIL"] == ""


@pytest.mark.parametrize(
    ("path", "name", "reason"),
    [
        ("toggle/dnd/user/100", BOB, "not-allowed"),
        ("set/dnd", "PJSIP/trunk-00000001", "no-user"),
        ("say/777", ALICE, "unknown-user"),
        ("set/nonsense", ALICE, "bad-state"),
        ("set/dnd/99999", ALICE, "bad-time"),
        ("code/state/7", ALICE, "bad-code"),
    ],
    ids=str,
)
def test_refusal_is_heard_and_told(rig: Rig, path: str, name: str, reason: str) -> None:
    """The reason is a word that a dialplan can compare."""
    assert ask(rig, path, name) == Answer({"PRESENCE_RESULT": "refused", "PRESENCE_REASON": reason}, ("sound:beeperr",))
    assert rig.manual() is None


def test_path_that_does_not_exist_is_told_but_not_heard(rig: Rig) -> None:
    """It is the dialplan that is wrong, not the caller."""
    assert ask(rig, "nonsense") == Answer({"PRESENCE_RESULT": "refused", "PRESENCE_REASON": "bad-path"}, ())


@pytest.mark.parametrize("path", ["treat/777", "treat/A B"], ids=["unknown", "impossible"])
def test_call_to_nobody_known_rings(rig: Rig, path: str) -> None:
    """A number that is no user is not refused by mistake, and nothing is played to the caller."""
    answer = ask(rig, path)
    assert answer.variables["PRESENCE_RESULT"] == "refused"
    assert (answer.variables["PRESENCE_TREATMENT"], answer.media) == ("ring", ())


def test_change_that_no_server_confirms_is_unconfirmed(rig: Rig) -> None:
    """Stored, but the lamp has not followed: the caller hears the error prompt."""
    rig.disconnect()
    answer = ask(rig, "set/lunch", expire=True)
    assert (answer.variables["PRESENCE_RESULT"], answer.media) == ("unconfirmed", ("sound:beeperr",))
    assert answer.variables["PRESENCE_USER_STATE"] == "lunch"
    assert rig.stored() == "lunch"


def test_change_that_is_not_stored_in_time_may_still_be(rig: Rig) -> None:
    """The error prompt, and a reason of its own: it is done once the store takes it."""
    rig.store_works = False
    answer = ask(rig, "set/lunch", expire=True)
    assert answer == Answer({"PRESENCE_RESULT": "failed", "PRESENCE_REASON": "not-stored-yet"}, ("sound:beeperr",))
    rig.commit()
    rig.sync()
    assert rig.manual() == rig.stored() == "lunch"


def test_change_that_is_not_stored_failed_and_is_taken_back(rig: Rig) -> None:
    """A full disk is no success."""
    rig.store_error = StoreError("full")
    answer = ask(rig, "set/lunch")
    assert answer == Answer({"PRESENCE_RESULT": "failed", "PRESENCE_REASON": "not-stored"}, ("sound:beeperr",))
    rig.sync()
    assert rig.manual() is None


def test_prompts_are_those_of_the_configuration_in_force(rig: Rig) -> None:
    """Own recordings are played over AGI, too, from the reload on."""
    settings = replace(rig.settings, prompts=Prompts(("our/on",), ("our/off",), ("our/no",)))
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(START, settings)))
    assert ask(rig, "set/dnd").media == ("sound:do-not-disturb", "sound:our/on")
    assert ask(rig, "set/nonsense").media == ("sound:our/no",)
