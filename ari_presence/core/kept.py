"""What the dialplan is told to do with calls, as texts that it keeps in AstDB (`dialplan/presence-treat.conf`).

Pure. For each user one text: the layers as far as they have an end, so that the dialplan goes by it while the daemon is
down. For the site: who gets through in spite of a state. Written by `publish.requests`, decided with by `treatment.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache

from ari_presence.core.timers import clock_text
from ari_presence.core.userstate import AVAILABLE, Entry, Layer, StateTable

RING = "ring"
LIST_BYTES = 800  # of one text; 1,300 are read back of a presence state, in base64
TEXT_BYTES = 900

_NO_NUMBER = re.compile(r"[^0-9A-Za-z+*#_.-]")
_NOBODY = frozenset({"anonymous", "unavailable", "unknown", "restricted", "private", "asterisk"})
NUMBER_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Rules:
    """Who gets through in spite of a state.

    Attributes:
        vip: Numbers of callers; `*` stands for any characters, `?` for one.
        emergency: Emergency numbers: as callers they get through, and who dials one is open to every call for an hour.
        override_code: What is dialled before a number; "" for none.
        repeat_within_s: Seconds within which a second try gets through, or None.
    """

    vip: tuple[str, ...] = ()
    emergency: tuple[str, ...] = ()
    override_code: str = ""
    repeat_within_s: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What a call meets in one layer, until when (seconds since the epoch, or None), and what the caller may hear."""

    treatment: str
    until: float | None
    prompt: tuple[str, ...]


def rows(states: StateTable, entries: Mapping[Layer, Entry]) -> Iterator[Row]:
    """Tell what a call meets, the highest layer first, up to the first without an end.

    A state of calls that rings leaves it to the layers below: who is at lunch is at lunch on the phone, too.
    """
    for layer, entry, state in states.layers(entries):
        if layer is Layer.CALLS and state.treatment == RING:
            continue
        yield Row(state.treatment, entry.until, state.prompt)
        if entry.until is None:
            return
    default = states.by_id[AVAILABLE]
    yield Row(default.treatment, None, default.prompt)


def kept_text(states: StateTable, entries: Mapping[Layer, Entry], zone: tzinfo) -> str:
    """Write the rows down: `voicemail^1763989200^1300^digits/3|ring^0^^`; "" for a user whose calls ring."""
    found = list(rows(states, entries))
    while found and found[-1].treatment == RING:
        found.pop()  # what is left out rings
    text = "|".join(_row_text(row, zone, row.prompt) for row in found)
    return text if len(text) <= TEXT_BYTES else "|".join(_row_text(row, zone, ()) for row in found)


def _row_text(row: Row, zone: tzinfo, prompt: tuple[str, ...]) -> str:
    end, clock = (0, "") if row.until is None else (int(row.until), clock_text(row.until, zone).replace(":", ""))
    return f"{row.treatment}^{end}^{clock}^{'&'.join(prompt)}"


def site_texts(rules: Rules) -> Iterator[tuple[str, str]]:
    """Give what the site keeps, name and text; each list ends with an empty text."""
    for name, texts in (("through", through(rules)), ("emergency", emergency(rules))):
        for number, text in enumerate((*texts, ""), 1):
            yield f"{name}-{number}", text
    within = "" if rules.repeat_within_s is None else str(rules.repeat_within_s)
    yield "site", f"{within}^{rules.override_code}"


@lru_cache(maxsize=4)
def through(rules: Rules) -> tuple[str, ...]:
    """Give the callers who get through, VIPs and emergency numbers, as alternatives of regular expressions."""
    return tuple(_texts([*map(_wildcard, rules.vip), *map(_literal, rules.emergency)]))


@lru_cache(maxsize=4)
def emergency(rules: Rules) -> tuple[str, ...]:
    """Give the emergency numbers as alternatives of regular expressions."""
    return tuple(_texts(map(_literal, rules.emergency)))


def caller_number(text: str) -> str:
    """Give a caller's number as the dialplan takes it (`FILTER`); "" for a caller without one.

    What stands in its place for callers who hide it would make all of them one caller.
    """
    number = _NO_NUMBER.sub("", text)[:NUMBER_LENGTH]
    return "" if number.lower() in _NOBODY else number


def is_listed(number: str, texts: Iterable[str]) -> bool:
    """Tell whether a number that `caller_number` gave is in a list."""
    return any(re.fullmatch(text, number) for text in texts)


def _literal(number: str) -> str:
    return re.sub(r"[.+*?]", r"[\g<0>]", number)


def _wildcard(number: str) -> str:
    return re.sub(r"[.+]", r"[\g<0>]", number).replace("*", ".*").replace("?", ".")


def _texts(parts: Iterable[str]) -> Iterator[str]:
    """Join alternatives into few texts, POSIX and Python alike (`REGEX()` in `func_strings.c`)."""
    text = ""
    for part in parts:
        if text and len(text) + 1 + len(part) > LIST_BYTES:
            yield text
            text = ""
        text = f"{text}|{part}" if text else part
    if text:
        yield text
