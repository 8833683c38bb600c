"""The script form of AGI: the program itself, with a test in Asterisk's place."""

from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from ari_presence.errors import ControlError
from tests.unit.agi.peer import ENVIRONMENT
from tests.unit.http.fake_service import Running

Program = Callable[..., "Popen[str]"]
SAID = [
    "SET VARIABLE PRESENCE_RESULT unconfirmed",
    'EXEC MSet "PRESENCE_RESULT=ok,PRESENCE_REASON=ok"',
    "ANSWER",
    'STREAM FILE "digits/3" ""',
    'STREAM FILE "activated" ""',
    'SAY NUMBER "13" ""',
    'SAY DIGITS "05" ""',
]


def start(program: Program, *words: str, environment: str = ENVIRONMENT) -> "Popen[str]":
    """Start the script and send it the environment."""
    process = program("agi", *words, stdin=PIPE)
    assert process.stdin is not None
    process.stdin.write(environment.format(script="agi", channel="PJSIP/100-00000005", space=" "))
    process.stdin.flush()
    return process


def serve(process: "Popen[str]", reply: str = "200 result=0", until: int = 100) -> list[str]:
    """Reply to its commands until it ends, or close at some command."""
    assert process.stdin is not None and process.stdout is not None
    said = []
    while line := process.stdout.readline().rstrip("\n"):
        said.append(line)
        if len(said) == until:
            break
        process.stdin.write(f"{reply}\n")
        process.stdin.flush()
    process.stdin.close()
    return said


def test_script_asks_the_daemon_and_tells_the_call(running: Running, program: Program) -> None:
    """Channel and words go to the daemon, its answer to Asterisk."""
    process = start(program, "set", "lunch", "45")
    assert serve(process) == SAID
    assert (process.wait(20), running.service.calls) == (
        0,
        [("agi", "1700000000.5", "PJSIP/100-00000005", ("set", "lunch", "45"))],
    )


@pytest.mark.parametrize("reply", ["HANGUP", "511 Command Not Permitted on a dead channel"], ids=["gone", "dead"])
def test_script_of_a_caller_who_is_gone_asks_nothing(running: Running, program: Program, reply: str) -> None:
    """Nothing is changed for somebody who has hung up."""
    process = start(program, "set", "lunch")
    assert serve(process, reply) == SAID[:1]
    assert (process.wait(20), running.service.calls) == (0, [])


def test_script_ends_with_its_call(running: Running, program: Program) -> None:
    """Asterisk closes its end: no complaint."""
    process = start(program, "set", "lunch")
    assert serve(process, until=3) == SAID[:3]
    assert process.wait(20) == 0
    assert process.stderr is not None and process.stderr.read() == ""


def test_daemon_that_is_away_is_told_and_fails(program: Program) -> None:
    """Exit 3 makes AGISTATUS FAILURE, so that the dialplan can help itself."""
    process = start(program, "set", "lunch")
    said = serve(process)
    assert said == [SAID[0], 'EXEC MSet "PRESENCE_RESULT=failed,PRESENCE_REASON=unreachable"']
    assert process.wait(20) == 3
    assert process.stderr is not None
    assert "daemon not reachable at" in process.stderr.read()


def test_daemon_that_fails_is_told_and_fails(running: Running, program: Program) -> None:
    """What the daemon could not do is no success either."""
    running.service.fail = ControlError("a bug")
    process = start(program, "set", "lunch")
    assert serve(process)[-1] == 'EXEC MSet "PRESENCE_RESULT=failed,PRESENCE_REASON=unreachable"'
    assert process.wait(20) == 3


@pytest.mark.parametrize(
    "environment", ["", "hello\n\n", "\n", "x" * 200_000 + "\n\n"], ids=["none", "text", "empty", "long"]
)
def test_script_without_an_environment_says_how_it_is_used(
    running: Running, program: Program, environment: str
) -> None:
    """Who types it hears that Asterisk runs it."""
    process = start(program, "set", "lunch", environment=environment)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1)
    assert "'agi' is run by Asterisk: AGI(" in err


def test_daemon_takes_no_nonsense_from_a_script(running: Running, tmp_path: Path) -> None:
    """The endpoint of the control socket checks what it gets."""
    for body in ({}, {"channel": "1", "name": "x"}, {"channel": "1", "name": "x", "words": "set"}, {"channel": 1}):
        assert running.request("POST", "/api/v1/control/agi", body)[0] == 422
    long = {"channel": "1", "name": "x" * 201, "words": []}
    assert running.request("POST", "/api/v1/control/agi", long)[0] == 422
    assert running.request_tcp("POST", "/api/v1/control/agi")[0] in (403, 404, 405)
