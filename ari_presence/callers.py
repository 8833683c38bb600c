"""Serving callers of feature codes over ARI: claim, prompts, and back to the dialplan.

Carries out what the reducer commands, in the engine's thread; what comes of it goes back as events. One for each server.
"""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import structlog

from ari_presence.ari.wire import Request, Response
from ari_presence.core import commands as cmd
from ari_presence.core import events as ev
from ari_presence.core.dialled import playback_of
from ari_presence.core.model import Settings
from ari_presence.publish.host import Answer

log = structlog.get_logger(__name__)

Send = Callable[[list[Request], Answer], None]


class Callers:
    """The callers on one server; remembers whose code was carried out, so that a new link does not do it again."""

    def __init__(self, pbx: str, send: Send, apply: Callable[[ev.Event], None], now: Callable[[], float]) -> None:
        """Serve one server.

        Args:
            pbx: Its name.
            send: Sends a group of requests ahead of bulk work; the answer comes in the engine's thread.
            apply: Takes events for the reducer.
            now: Seconds since the epoch, UTC.
        """
        self._pbx = pbx
        self._send = send
        self._apply = apply
        self._now = now
        self._missing: frozenset[str] = frozenset()
        self._served: set[str] = set()

    def served(self, channel: str) -> None:
        """Note that the code of a channel was carried out."""
        self._served.add(channel)

    def left(self, channel: str) -> None:
        """Note that a channel has left."""
        self._served.discard(channel)

    def adopt(self, waiting: tuple[ev.CodeDialled, ...]) -> None:
        """Take the callers found at a connect: serve them, or end the call of those who were served before."""
        known, self._served = self._served, set()
        for caller in waiting:
            if caller.channel in known or caller.claim is ev.ClaimState.EARLIER:
                self._served.add(caller.channel)
                self._let_go(replace(caller, claim=ev.ClaimState.EARLIER))
            else:
                self._apply(caller)

    def _let_go(self, caller: ev.CodeDialled) -> None:
        """End a call whose code was carried out before: behind its prompt if that still plays, else with an error.

        It is not answered again: that waits for the end of the prompt, and the whole link waits with it.
        """

        def answered(responses: list[Response] | None) -> None:
            if responses is not None and responses[0].ok:
                self.leave(cmd.Leave(caller.pbx, caller.channel))
            elif responses is not None:
                self._apply(caller)

        self._send([Request("GET", f"playbacks/{quote(playback_of(caller.channel), safe='')}")], answered)

    def claim(self, command: cmd.Claim) -> None:
        """Answer a channel; from then on the dialplan's time limit no longer counts."""
        path = _channel(command.channel)
        requests = [
            Request("POST", f"{path}/answer"),
            Request("POST", f"{path}/variable", (("variable", "TIMEOUT(absolute)"), ("value", "0"))),
        ]

        def answered(responses: list[Response] | None) -> None:
            if responses is None or not responses[0].ok:
                log.info("caller gone before the claim", pbx=command.pbx, channel=command.channel)
            elif command.then is not None:
                self._apply(command.then)

        self._send(requests, answered)

    def play(self, command: cmd.Play) -> None:
        """Play sounds; a failure counts as the end of the prompt."""
        media = ",".join(self._audible(name) for name in command.media)
        path = f"{_channel(command.channel)}/play/{quote(command.playback, safe='')}"

        def answered(responses: list[Response] | None) -> None:
            if responses is None or not responses[0].ok:
                self._apply(ev.PlaybackEnded(self._now(), command.pbx, command.playback))

        self._send([Request("POST", path, (("media", media),))], answered)

    def leave(self, command: cmd.Leave) -> None:
        """Give a channel back to the dialplan."""
        self._send([Request("POST", f"{_channel(command.channel)}/continue")], lambda _: None)

    def _audible(self, media: str) -> str:
        """Replace a recording that the server does not have: a beep, never silence."""
        if media.removeprefix("sound:") not in self._missing:
            return media
        return "tone:stutter" if "beep" in self._missing else "sound:beep"

    def check_sounds(self, settings: Settings) -> None:
        """Find out which prompts this server has no recording of."""
        prompts = settings.prompts
        names = {name for state in settings.states.all for name in state.prompt}
        names |= {"beep", *prompts.activated, *prompts.deactivated, *prompts.error}
        ordered = sorted(name for name in names if ":" not in name)

        def answered(responses: list[Response] | None) -> None:
            found = zip(ordered, responses or (), strict=False)
            self._missing = frozenset(name for name, response in found if response.status == 404)
            if self._missing:
                sounds = sorted(self._missing)
                log.warning("no recording of some prompts, a beep stands in", pbx=self._pbx, sounds=sounds)

        self._send([Request("GET", f"sounds/{quote(name, safe='')}") for name in ordered], answered)


def _channel(channel: str) -> str:
    return f"channels/{quote(channel, safe='')}"
