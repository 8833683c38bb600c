"""The AGI protocol without a socket."""

import pytest

from ari_presence.agi.talk import Answer, conversation, is_more, parse_environment, result_of
from ari_presence.errors import Refused

ENVIRONMENT = """\
agi_network: yes
agi_network_script: toggle/lunch
agi_request: agi://127.0.0.1:4573/toggle/lunch
agi_channel: PJSIP/100-00000005
agi_uniqueid: 1700000000.5
agi_callerid: 999
agi_arg_1: 45
agi_arg_2: user
agi_arg_3: 101
"""


def test_environment_gives_call_and_words() -> None:
    """Arguments of AGI() follow the words of the path; the caller ID is not looked at."""
    call = parse_environment(ENVIRONMENT)
    assert (call.channel, call.name) == ("1700000000.5", "PJSIP/100-00000005")
    assert call.words == ("toggle", "lunch", "45", "user", "101")


def test_environment_counts_the_first_of_several() -> None:
    """What a caller's name could add at the end does not replace what Asterisk said first."""
    call = parse_environment(ENVIRONMENT + "agi_channel: PJSIP/102-1\nagi_arg_1: 1440\n")
    assert (call.name, call.words[2]) == ("PJSIP/100-00000005", "45")


@pytest.mark.parametrize("text", ["", "GET / HTTP/1.1\r\nHost: x", "agi_channel=PJSIP/100-1", "\x00\x1b[2J"], ids=repr)
def test_what_asterisk_never_sends_is_refused(text: str) -> None:
    """The complaint shows what came, made fit for a terminal."""
    with pytest.raises(Refused, match="no AGI environment") as caught:
        parse_environment(text)
    assert caught.value.code == "bad-environment"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        ("200 result=0", 0),
        ("200 result=-1 endpos=0", -1),
        ("200 result=1 (BUSY)", 1),
        ("200 result=", None),
        ("200 result=x", None),
        ("200 result=99999999999999", None),
        ("200 outcome=1", None),
        ("510 Invalid or unknown command", None),
        ("511 Command Not Permitted on a dead channel or intercept routine", None),
        ("", None),
    ],
    ids=lambda value: str(value),
)
def test_reply_has_a_result_or_is_an_error(reply: str, result: int | None) -> None:
    """Whatever is no `200 result=<number>` is an error."""
    assert result_of(reply) == result


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("520-Invalid command syntax.  Proper usage follows:", True),
        ("Usage: EXEC <application>", True),
        ("520 End of proper usage.", False),
        ("200 result=0", False),
    ],
    ids=str,
)
def test_reply_of_several_lines_ends_with_its_last(line: str, more: bool) -> None:
    """Only the usage of a command has several."""
    assert is_more(line) is more


def talk(answer: Answer, results: dict[str, int]) -> list[str]:
    """Go through a conversation, in which commands have these results and the others 0."""
    steps, said = conversation(answer), []
    try:
        command = next(steps)
        while True:
            said.append(command)
            command = steps.send(results.get(command, 0))
    except StopIteration:
        return said


VARIABLES = {"PRESENCE_RESULT": "ok", "PRESENCE_USER_UNTIL": ""}
SET = 'EXEC MSet "PRESENCE_RESULT=ok,PRESENCE_USER_UNTIL="'
BEEP, NOISE = 'STREAM FILE "beep" ""', ['EXEC PlayTones "!1000/400"', 'EXEC Wait "0.5"', "EXEC StopPlayTones"]


def test_answer_without_sounds_leaves_the_call_unanswered() -> None:
    """A question of the dialplan sets variables and nothing else."""
    assert talk(Answer(VARIABLES), {}) == [SET]


def test_answer_is_variables_first_then_every_kind_of_sound() -> None:
    """A caller who hangs up in the prompt has left the result behind."""
    media = ("sound:digits/3", "sound:activated", "number:13", "digits:05")
    assert talk(Answer(VARIABLES, media), {}) == [
        SET,
        "ANSWER",
        'STREAM FILE "digits/3" ""',
        'STREAM FILE "activated" ""',
        'SAY NUMBER "13" ""',
        'SAY DIGITS "05" ""',
    ]


def test_call_that_cannot_be_answered_hears_nothing() -> None:
    """ANSWER fails on a channel that is gone."""
    assert talk(Answer(VARIABLES, ("sound:activated",)), {"ANSWER": -1}) == [SET, "ANSWER"]


def test_recording_that_is_missing_is_a_beep_and_without_a_beep_a_tone() -> None:
    """Never silence."""
    ours = 'STREAM FILE "our/own" ""'
    answer = Answer(VARIABLES, ("sound:our/own", "sound:activated"))
    assert talk(answer, {ours: -1})[2:] == [ours, BEEP, 'STREAM FILE "activated" ""']
    assert talk(answer, {ours: -1, BEEP: -1})[2:] == [ours, BEEP, *NOISE, 'STREAM FILE "activated" ""']
    assert talk(Answer(VARIABLES, ("sound:beep",)), {BEEP: -1})[2:] == [BEEP, *NOISE]


def test_text_is_quoted() -> None:
    """A quote in a name ends no argument."""
    assert talk(Answer({}, ('sound:a"b\\',)), {})[2:] == ['STREAM FILE "a\\"b\\\\" ""']
