"""Changing the manual state: the one place where it is set or removed, with its end, its history and its lamps."""

from dataclasses import dataclass, field

from ari_presence.core.commands import Command, Log, Note, Record, Save
from ari_presence.core.features import Action
from ari_presence.core.model import Model, User
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry, Layer


@dataclass(slots=True)
class Outcome:
    """What to do now, in order, and whose lamps may have to change."""

    commands: list[Command] = field(default_factory=list)
    touched: set[UserId] = field(default_factory=set)

    def note(self, event: str, **fields: object) -> None:
        """Ask for a line in the log."""
        self.commands.append(Note(event, tuple(fields.items())))


def set_manual(
    model: Model, user: User, entry: Entry | None, at: float, source: str, request: int | None, out: Outcome
) -> None:
    """Set or remove the manual state, with its end, its line of history and its lamps."""
    before = user.manual
    user.put(Layer.MANUAL, entry, at)
    user.hushed = False
    if entry is not None and entry.until is not None:
        model.ends.add(entry.until, user.id)
    # What was set is told even where a call hides it; what was removed, by what shows then.
    layer, now = (Layer.MANUAL, entry) if entry is not None else user.effective(model.settings.states)[:2]
    record = Record(at, user.id, now.state, layer, source, now.until, now.message)
    out.commands.append(Save(user.id, entry, record, request, before))
    out.touched.add(user.id)


def set_automatic(model: Model, user: User, layer: Layer, entry: Entry | None, at: float, out: Outcome) -> None:
    """Set or remove a state that nobody set by hand; it goes into the history where that is wanted."""
    put_automatic(model, user, layer, entry, at, out)
    if entry is not None and entry.until is not None:
        model.ends.add(entry.until, user.id)


def put_automatic(model: Model, user: User, layer: Layer, entry: Entry | None, at: float, out: Outcome) -> None:
    """Do what `set_automatic` does, for a layer that minds its ends itself."""
    states = model.settings.states
    before = user.effective(states)[:2] if model.settings.history_of_calls else None
    user.put(layer, entry, at)
    out.touched.add(user.id)
    if before is not None:
        shown, now, _ = user.effective(states)
        if (shown, now.state) != (before[0], before[1].state):
            out.commands.append(Log(Record(at, user.id, now.state, shown, now.source, now.until, now.message)))


def _wanted(user: User, action: Action, state: StateId | None) -> StateId | None:
    """Tell which manual state an action leads to; toggles look at the manual state alone."""
    manual = user.manual.state if user.manual else None
    if action is Action.CLEAR:
        return None
    if action is Action.CLEAR_IF:
        return None if manual == state else manual
    return None if action is Action.TOGGLE and manual == state else state


def change_manual(
    model: Model, user: User, action: Action, entry: Entry | None, at: float, source: str, request: int, out: Outcome
) -> StateId | None:
    """Carry out a checked change and return the manual state that it leads to.

    Args:
        entry: What SET and TOGGLE put; for CLEAR_IF only its state counts.
    """
    wanted = _wanted(user, action, entry.state if entry else None)
    if action in (Action.SET, Action.TOGGLE) and wanted is not None:
        set_manual(model, user, entry, at, source, request, out)
    elif wanted is None and (user.manual is not None or user.hushed):
        set_manual(model, user, None, at, source, request, out)
    return wanted


def make_entry(
    model: Model, state: str, source: str, at: float, until: float | None = None, message: str | None = None
) -> Entry:
    """Make an entry, with the state's own end where none was asked for."""
    definition = model.settings.states.by_id[state]
    if until is None and definition.expires_s is not None:
        until = at + definition.expires_s
    return Entry(definition.id, source, at, until, message)
