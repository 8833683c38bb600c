"""What all sections of the configuration are made of, and what several of them say in the same way."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

from ari_presence import config_values as values
from ari_presence.config_errors import ProblemsError

Id = Annotated[str, AfterValidator(values.user_id)]
Login = Annotated[str, AfterValidator(values.matching(r"[!-9;-~]{1,79}", "a user name: no spaces, no colon"))]


class Section(BaseModel):
    """What all sections share: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


class ForUsers(Section):
    """A section that is for some users: those it names, with the members of groups, or (`all = true`) everybody."""

    users: tuple[Id, ...] = ()
    groups: tuple[Id, ...] = ()
    everybody: StrictBool = Field(default=False, alias="all")

    @model_validator(mode="after")
    def _is_for_somebody(self) -> "ForUsers":
        if not (self.users or self.groups or self.everybody):
            raise ProblemsError(("users", 'is missing: give users = ["100"], groups = ["sales"] or all = true'))
        if self.everybody and (self.users or self.groups):
            raise ProblemsError(("all", "is given beside users or groups: keep one"))
        return self


def memberless(table: str, sections: Sequence[ForUsers], groups: Collection[str]) -> Iterator[tuple[str, str]]:
    """Complain of groups in which nobody is.

    Args:
        table: Name of the table in the file.
        sections: All of them.
        groups: Those that a `[[user]]` is in.
    """
    for number, section in enumerate(sections, 1):
        for group in section.groups:
            if group not in groups:
                yield f"[[{table}]] {number}, groups", f"nobody is in {group!r}: write it into groups of a [[user]]"
