"""What a configuration asks for that cannot be had, and what would help."""

from dataclasses import dataclass

from ari_presence.config import Config

_AMI = "give ami, ami_username and ami_password_file, and put that user into manager.conf"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will not work.

    Attributes:
        code: Stable, for programs.
        place: Where in the configuration.
        problem: What does not work.
        remedy: What would help.
    """

    code: str
    place: str
    problem: str
    remedy: str


def findings(config: Config) -> list[Finding]:
    """Look for what needs AMI on servers that have none."""
    states = ", ".join(state.id for state in config.states.all if state.pauses_queues)
    found = []
    for pbx in config.pbxs:
        if pbx.ami is None and states:
            problem = f"pause_queues ({states}) pauses nobody in the queues of {pbx.name}"
            found.append(Finding("queues-without-ami", f"[[pbx]] {pbx.name}, ami", problem, _AMI))
        if pbx.ami is None and config.lamps.freepbx:
            problem = f"presence states that others write on {pbx.name} (FreePBX's user panel) are not adopted"
            found.append(Finding("presence-without-ami", f"[[pbx]] {pbx.name}, ami", problem, _AMI))
    return found
