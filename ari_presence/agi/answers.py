"""From a call's environment to what it is told: asks the engine, words the outcome as variables and sounds.

Used by the FastAGI server (never waits) and by the control socket for the script form (waits).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol

import structlog

from ari_presence.agi.talk import Answer, Environment
from ari_presence.core.agi import parse_path
from ari_presence.core.commands import Said
from ari_presence.core.events import AgiAsked
from ari_presence.core.features import Intent
from ari_presence.core.intents import sounds
from ari_presence.core.model import Settings
from ari_presence.errors import Refused, StoreError, StoreSlow

log = structlog.get_logger(__name__)


class Settled(Protocol):
    """What became of a request."""

    @property
    def confirmed(self) -> bool:
        """Tell whether every server shows it."""

    @property
    def said(self) -> Said | None:
        """Give what is to be said."""


class Desk(Protocol):
    """The daemon as AGI sees it; any thread."""

    def settings(self) -> Settings:
        """Give the settings in force."""

    def gathered(self) -> AbstractContextManager[None]:
        """Gather what is begun during the block, and carry it out at its end."""

    def begin(self, make: Callable[[int, float], AgiAsked]) -> "Future[Settled]":
        """Post a request, made from its number and the time; the future may raise `Refused` or `StoreError`."""


class Answers:
    """Knows what to tell a call; any thread."""

    def __init__(self, desk: Desk) -> None:
        """Ask this daemon."""
        self._desk = desk

    def understand(self, words: Sequence[str]) -> Intent:
        """Say what a path asks for; raises `Refused` (codes that begin with `bad-`)."""
        return parse_path(words, self._desk.settings().states)

    def gathered(self) -> AbstractContextManager[None]:
        """Stand around several `begin` of one thread: they are carried out together."""
        return self._desk.gathered()

    def begin(self, call: Environment, intent: Intent) -> "Future[Settled]":
        """Have it carried out; hand the outcome to `of`."""
        return self._desk.begin(lambda request, at: AgiAsked(at, request, call.channel, call.name, intent))

    def of(self, call: Environment, outcome: "Future[Settled]") -> Answer:
        """Word the outcome of `begin`, which must be there."""
        try:
            settled = outcome.result(0)
        except Refused as error:
            return self.refused(error, call.words)
        except StoreError as error:
            reason = "not-stored-yet" if isinstance(error, StoreSlow) else "not-stored"
            return self._answer("failed", reason, self._error())
        said = settled.said
        if said is None:
            raise AssertionError("a request over AGI is answered with what is said")
        if not settled.confirmed:
            return self._answer("unconfirmed", "unconfirmed", self._error(), said)
        return self._answer("ok", "ok", said.media, said)

    def refused(self, error: Refused, words: Sequence[str] = ()) -> Answer:
        """Word a refusal; it is heard, unless nobody was to hear anything or the dialplan itself is wrong.

        A call to somebody who is not known rings.
        """
        if words[:1] == ("treat",):
            answer = self._answer("refused", error.code, ())
            return Answer({**answer.variables, "PRESENCE_TREATMENT": "ring"})
        heard = words and error.code != "bad-path"
        return self._answer("refused", error.code, self._error() if heard else ())

    def _error(self) -> tuple[str, ...]:
        return sounds(self._desk.settings().prompts.error)

    def _answer(self, result: str, reason: str, media: tuple[str, ...], said: Said | None = None) -> Answer:
        variables = {"PRESENCE_RESULT": result, "PRESENCE_REASON": reason}
        if said is not None:
            until = "" if said.until is None else str(int(said.until))
            variables |= {"PRESENCE_USER_STATE": said.state, "PRESENCE_USER_UNTIL": until}
            variables |= {"PRESENCE_TREATMENT": said.treatment}
        return Answer(variables, media)
