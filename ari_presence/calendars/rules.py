"""Which state an entry of a calendar stands for: the first rule that fits decides. Pure; no parsing here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

BUSY_TYPES = ("busy", "tentative", "oof", "free", "workingelsewhere")


@dataclass(frozen=True)
class Rule:
    """Everything that is given must fit; of each list one is enough.

    Attributes:
        state: The state, or "" for none: the entry counts as nothing.
        words: Words or phrases of the title; upper and lower case are the same.
        categories: Categories as the calendar names them; likewise.
        busy: The busy types that fit; empty for all but free.
    """

    state: str
    words: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = "|".join(re.escape(" ".join(word.casefold().split())) for word in self.words)
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)")

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name.casefold() for name in self.categories)

    def fits(self, facts: "Facts") -> bool:
        """Tell whether the rule is for such an entry."""
        if facts.busy not in self.busy if self.busy else facts.busy == "free":
            return False
        if self.words and (facts.private or not self._pattern.search(" ".join(facts.title.casefold().split()))):
            return False
        return not self.categories or (
            not facts.private and any(name.casefold() in self._names for name in facts.categories)
        )


DEFAULT_RULES = (
    Rule("out", busy=("oof",)),
    Rule("meeting", busy=("busy",)),
)
"""What follows the rules of the configuration; whatever fits none counts as nothing."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule can see of an entry; of a private one neither title nor categories."""

    title: str = ""
    categories: Sequence[str] = field(default=())
    busy: str = "busy"
    private: bool = False


def choose(rules: Sequence[Rule], facts: Facts) -> tuple[int, str] | None:
    """Give number and state of the first rule that fits; None if the entry counts as nothing."""
    for number, rule in enumerate(rules):
        if rule.fits(facts):
            return (number, rule.state) if rule.state else None
    return None
