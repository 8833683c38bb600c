"""What the model wants done: the only way the logic reaches the world.

The counterpart is `events.py`. Lamps are not commanded: they are the difference of desired and published (`plan.py`).
"""

from dataclasses import dataclass

from ari_presence.core.events import CodeDialled
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry, Layer


@dataclass(frozen=True, slots=True)
class Record:
    """One line of history: what `user` was from `at` on, and who set it."""

    at: float
    user: UserId
    state: str
    layer: Layer
    source: str
    until: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """Store the manual state of a user (None: none) and a line of history; `request` waits for it, if given.

    `before` is what the state was: it comes back when somebody waited and the store did not take the change.
    """

    user: UserId
    entry: Entry | None
    record: Record
    request: int | None
    before: Entry | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """Store a line of history of a state that set itself."""

    record: Record


@dataclass(frozen=True, slots=True)
class ListCalls:
    """List the channels and bridges of a server again, and read the device states of some lines (`CallsListed`)."""

    pbx: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """Report when everything that concerns `user` is stored and confirmed (`Settled`).

    Attributes:
        pbx: The only server that matters, or None for all.
    """

    request: int
    user: UserId | None
    pbx: str | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell whoever made the request that it was refused; nothing was changed."""

    request: int
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody who asked by phone hears, and what the dialplan gets to know.

    Attributes:
        user: Whose state it is about.
        media: Sounds when all is well, `sound:activated`, `number:13`, `digits:05`; none for a mere question.
        waits: Whether there is a change that must be stored and confirmed before anything is said.
        state: The effective state.
        until: When it ends, seconds since the epoch, or None.
        treatment: `ring`, `refuse`, `voicemail` or `forward:<number>`.
    """

    user: UserId
    media: tuple[str, ...]
    waits: bool
    state: StateId
    until: float | None
    treatment: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Hand what is said to whoever made the request: at once, or with the outcome of the change (`Said.waits`)."""

    request: int
    said: Said


@dataclass(frozen=True, slots=True)
class Claim:
    """Answer a channel, which makes it ours to serve.

    Attributes:
        then: The event to feed again, claimed, once Asterisk has agreed; None when the change goes ahead at once.
    """

    pbx: str
    channel: str
    then: CodeDialled | None


@dataclass(frozen=True, slots=True)
class Play:
    """Play sounds to a claimed channel; `playback` is the id that `PlaybackEnded` will carry."""

    pbx: str
    channel: str
    playback: str
    media: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Give the channel back to the dialplan."""

    pbx: str
    channel: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log; a warning where somebody should do something."""

    event: str
    fields: tuple[tuple[str, object], ...]
    warning: bool = False


Command = Save | Log | ListCalls | Track | Refuse | Tell | Claim | Play | Leave | Note
