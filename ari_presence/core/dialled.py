"""Dialled codes over Stasis: the claim, the code, and the caller who waits for the outcome. Part of the reducer."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.commands import Claim, Leave, Play, Track
from ari_presence.core.features import Intent, parse_code
from ari_presence.core.intents import Asked, carry_out, note_refusal, sounds
from ari_presence.core.model import Caller, Model
from ari_presence.core.names import endpoint_of_channel
from ari_presence.errors import Refused


def on_code(model: Model, event: ev.CodeDialled, out: Outcome) -> None:
    """Serve a dialled code: claim the caller, change what was asked for, and prepare what is heard."""
    if event.claim is ev.ClaimState.UNSURE:
        again = replace(event, claim=ev.ClaimState.CLAIMED)
        out.commands.append(Claim(event.pbx, event.channel, again))
        return
    caller = Caller(event.pbx, event.channel)
    if event.claim is ev.ClaimState.EARLIER:  # what was dialled may be done: a toggle must not be undone
        out.note("call of an earlier session ended", pbx=event.pbx, channel=event.name, args=",".join(event.args))
        _play(model, caller, model.settings.prompts.error, out)
        return
    if event.claim is ev.ClaimState.FRESH:
        out.commands.append(Claim(event.pbx, event.channel, None))
    endpoint = endpoint_of_channel(event.name)
    intent: Intent | None = None
    try:
        intent = parse_code(event.args, model.settings.states)
        request = model.new_request()
        said = carry_out(model, intent, Asked(endpoint, event.at, request), out)
    except Refused as error:
        where = {"pbx": event.pbx, "channel": event.name, "args": ",".join(event.args)}
        note_refusal(model, "code refused", error, endpoint, intent, out, **where)
        _play(model, caller, model.settings.prompts.error, out)
        return
    if not said.waits:
        _play(model, caller, said.media, out)
        return
    caller.media = said.media
    model.callers[request] = caller
    out.commands.append(Track(request, said.user, event.pbx))


def playback_of(channel: str) -> str:
    """Name the one playback that a channel hears."""
    return f"{channel}-presence"


def _play(model: Model, caller: Caller, media: Iterable[str], out: Outcome) -> None:
    playback = playback_of(caller.channel)
    model.playing[playback] = caller
    out.commands.append(Play(caller.pbx, caller.channel, playback, sounds(media)))


def on_settled(model: Model, event: ev.Settled, out: Outcome) -> None:
    """Tell a caller what became of the change."""
    caller = model.callers.pop(event.request, None)
    if caller is not None:
        _play(model, caller, caller.media if event.ok else model.settings.prompts.error, out)


def on_playback(model: Model, event: ev.PlaybackEnded, out: Outcome) -> None:
    """Let a caller go whose prompt has ended."""
    caller = model.playing.pop(event.playback, None)
    if caller is not None:
        out.commands.append(Leave(caller.pbx, caller.channel))


def _forget(model: Model, gone: Callable[[Caller], bool]) -> None:
    model.callers = {request: caller for request, caller in model.callers.items() if not gone(caller)}
    model.playing = {playback: caller for playback, caller in model.playing.items() if not gone(caller)}


def on_caller_left(model: Model, event: ev.CallerLeft, _out: Outcome) -> None:
    """Forget a caller."""
    _forget(model, lambda caller: (caller.pbx, caller.channel) == (event.pbx, event.channel))


def on_link_lost(model: Model, event: ev.LinkLost, _out: Outcome) -> None:
    """Forget the callers of a server; a new link finds those who wait."""
    _forget(model, lambda caller: caller.pbx == event.pbx)
