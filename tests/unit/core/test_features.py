"""Dialled codes to intents: every code of the contract, and nonsense."""

from datetime import time

import pytest

from ari_presence.core.features import Action, Intent, parse_code
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import StateTable
from ari_presence.errors import Refused

TABLE = StateTable()
DND, LUNCH = StateId("dnd"), StateId("lunch")


@pytest.mark.parametrize(
    ("args", "intent"),
    [
        pytest.param("dnd,on", Intent(Action.SET, DND), id="*78"),
        pytest.param("dnd,off", Intent(Action.CLEAR_IF, DND), id="*79"),
        pytest.param("dnd,toggle", Intent(Action.TOGGLE, DND), id="*76"),
        pytest.param("dnd-key,101", Intent(Action.TOGGLE, DND, UserId("101")), id="*76101"),
        pytest.param("dnd-key,1", Intent(Action.TOGGLE, DND, UserId("1")), id="*76-shortest"),
        pytest.param("dnd-key,1234567890", Intent(Action.TOGGLE, DND, UserId("1234567890")), id="*76-longest"),
        pytest.param("state,0", Intent(Action.CLEAR), id="*840"),
        pytest.param("state,1", Intent(Action.TOGGLE, StateId("away")), id="*841"),
        pytest.param("state,2", Intent(Action.TOGGLE, DND), id="*842"),
        pytest.param("state,3", Intent(Action.TOGGLE, LUNCH), id="*843"),
        pytest.param("state,4", Intent(Action.TOGGLE, StateId("meeting")), id="*844"),
        pytest.param("state,5", Intent(Action.TOGGLE, StateId("brb")), id="*845"),
        pytest.param("state,6", Intent(Action.TOGGLE, StateId("out")), id="*846"),
        pytest.param("state,3*45", Intent(Action.SET, LUNCH, minutes=45), id="minutes"),
        pytest.param("state,3*1", Intent(Action.SET, LUNCH, minutes=1), id="least-minutes"),
        pytest.param("state,3*1440", Intent(Action.SET, LUNCH, minutes=1440), id="most-minutes"),
        pytest.param("state,3**1330", Intent(Action.SET, LUNCH, until=time(13, 30)), id="time"),
        pytest.param("state,3**0000", Intent(Action.SET, LUNCH, until=time(0, 0)), id="midnight"),
        pytest.param("state,3101", Intent(Action.TOGGLE, LUNCH, UserId("101")), id="key"),
        pytest.param("state,31234567890", Intent(Action.TOGGLE, LUNCH, UserId("1234567890")), id="key-longest"),
        pytest.param("state,9", Intent(Action.SAY), id="*849"),
        pytest.param("state,9101", Intent(Action.SAY, user=UserId("101")), id="*849101"),
    ],
)
def test_code_asks_for_what_the_contract_says(args: str, intent: Intent) -> None:
    """What the dialplan hands over, for each row of the table of codes."""
    assert parse_code(args.split(","), TABLE) == intent


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("", "bad-code"),
        ("dnd", "bad-code"),
        ("dnd,maybe", "bad-code"),
        ("dnd,on,100", "bad-code"),
        ("dnd-key", "bad-code"),
        ("dnd-key,", "bad-code"),
        ("dnd-key,12345678901", "bad-code"),
        ("dnd-key,a*", "bad-code"),
        ("dnd-key,1\u0660", "bad-code"),
        ("state", "bad-code"),
        ("state,", "bad-code"),
        ("state,7", "bad-code"),
        ("state,8", "bad-code"),
        ("state,0101", "bad-code"),
        ("state,0*5", "bad-code"),
        ("state,9*5", "bad-code"),
        ("state,9**1330", "bad-code"),
        ("state,x", "bad-code"),
        ("state,\u0663", "bad-code"),
        ("state,3\n", "bad-code"),
        ("state,3*", "bad-code"),
        ("state,3**", "bad-code"),
        ("state,3***1330", "bad-code"),
        ("state,3**133", "bad-code"),
        ("state,3**13300", "bad-code"),
        ("state,3*4*5", "bad-code"),
        ("state,3*9999999999", "bad-code"),
        ("state,312345678901", "bad-code"),
        ("state,3*0", "bad-time"),
        ("state,3*1441", "bad-time"),
        ("state,3*99999", "bad-time"),
        ("state,3**2460", "bad-time"),
        ("state,3**2400", "bad-time"),
        ("state,3**9999", "bad-time"),
        ("conference,1", "bad-code"),
    ],
    ids=repr,
)
def test_nonsense_is_refused(args: str, code: str) -> None:
    """Unknown digits, absurd times and what no phone should send change nothing."""
    with pytest.raises(Refused) as error:
        parse_code(args.split(",") if args else [], TABLE)
    assert error.value.code == code
