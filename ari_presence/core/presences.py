"""Presence states that others wrote, as a person's wish. Part of the reducer."""

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome, make_entry, set_manual
from ari_presence.core.freepbx import state_of_presence
from ari_presence.core.lamps import presence_message
from ari_presence.core.model import Model
from ari_presence.core.names import MESSAGE_BYTES, message_problem
from ari_presence.core.userstate import Entry


def on_presence(model: Model, event: ev.PresenceChanged, out: Outcome) -> None:
    """Make somebody else's presence state the user's manual state, with its message; equal to what is set, change nothing."""
    out.touched.add(event.user)
    user = model.users.get(event.user)
    if user is None:
        return
    state = state_of_presence(model.settings.states, event.presence.type, event.presence.subtype)
    manual = user.manual
    message = _message(event.presence.message)
    entry: Entry | None = None
    if state is None:
        if manual is None:
            return
    elif manual is None or manual.state != state:
        entry = make_entry(model, state, event.source, event.at, message=message)
    elif message in (manual.message, presence_message(manual, user.settings.zone) or None):
        return
    else:
        entry = Entry(state, event.source, event.at, manual.until, message)
    set_manual(model, user, entry, event.at, event.source, None, out)
    out.note("adopted", user=user.id, state=state or "clear", source=event.source)


def _message(text: str) -> str | None:
    """Make a message of ours of one that may be longer."""
    cut = text.encode(errors="replace")[:MESSAGE_BYTES].decode(errors="ignore").strip()
    return cut if cut and message_problem(cut) is None else None
