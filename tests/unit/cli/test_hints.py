"""The command that writes hints, against the real server."""

from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import Running


def test_hints_are_lines_for_extensions_conf(running: Running, cli: Cli) -> None:
    """One context with one hint each; what cannot be made is a comment that says why."""
    outcome = cli("hints")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[2:] == [
        "[presence-hints-own]",
        "exten => group-sal-es,hint,Stasis:group-sal-es",
        "; group-sales: not made, since Asterisk ignores dashes and takes it for group-sal-es: give one of them another id",
        "exten => alice,hint,PJSIP/Alice&Custom:presence-alice,CustomPresence:alice",
        "exten => whole-100,hint,Stasis:presence-100,CustomPresence:100",
        "exten => whole-alice,hint,Stasis:presence-alice,CustomPresence:alice",
        "exten => parked-100,hint,Stasis:parked-100",
        "exten => parked-alice,hint,Stasis:parked-alice",
    ]
    assert all(line.startswith(";") for line in lines[:2])


def test_hints_json_has_the_same(running: Running, cli: Cli) -> None:
    """Extension, devices, and why one was not made."""
    found = cli("hints", "--json").json()
    assert found[0] == {"extension": "group-sal-es", "devices": "Stasis:group-sal-es", "problem": ""}
    assert [row["extension"] for row in found if row["problem"]] == ["group-sales"]
