"""Parked calls on real servers: what the daemon says of them with AMI and without, and the lamp of who parked them.

The truth is what Asterisk's console says (`parking show`).
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon import PEOPLE, Daemon, eventually
from proxy import Proxy

from private_asterisk import People, PrivateAsterisk, wait_until

PHONES = ("100", "101", "102", "103")
LOTS = ["701-720@parkedcalls", "751-755@secondlot", "761-765@shortlot"]
ALERT_S = 2
SETTINGS = f'{PEOPLE}[lamps]\nparked_alert = "{ALERT_S}s"\n'
PATIENCE_S = 8.0


class Car:
    """A server with people, and the daemon that watches their parked calls.

    Attributes:
        source: Where spaces are said to be from when nothing is in doubt.
        proxy: The way to AMI, or None.
    """

    def __init__(self, people: People, daemon: Daemon, source: str, proxy: Proxy | None) -> None:
        """Keep the parts."""
        self.people, self.daemon, self.source, self.proxy = people, daemon, source, proxy
        self.server = people.server

    def said(self) -> list[dict[str, Any]]:
        """Give the parked calls as HTTP says them."""
        return list(self.daemon.ask("GET", "/parking"))

    def short(self) -> list[tuple[str, str | None, str | None, str | None, str]]:
        """Give lot, space, caller, who parked and source of each."""
        return [
            (row["lot"], row["space"], row["caller"]["number"], row["parked_by"], row["source"]) for row in self.said()
        ]

    def expect(self, *rows: tuple[str, str, str, str | None]) -> None:
        """Wait until these are the parked calls, each with a source that is not in doubt."""
        wanted = [(*row, self.source) for row in rows]
        assert wait_until(lambda: self.short() == wanted, PATIENCE_S), f"{self.short()} instead of {wanted}"

    def truth(self, *lots: str) -> dict[str, str]:
        """Ask the console for the space of each parked phone, by its number."""
        found = {}
        for lot in lots or ("default",):
            text = self.server.cli(f"parking show {lot}")
            for space, channel in re.findall(r"Space\s*:\s*(\d+)\s+Channel\s*:\s*(\S+)", text):
                found[channel.partition("/")[2].rpartition("-")[0]] = space
        return found

    def lamp(self, user: str, value: str) -> None:
        """Wait until the lamp of somebody's parked calls has this value; one that was never written is off."""
        device = f"Stasis:parked-{user}"

        def shown() -> str:
            now = self.server.device_state(device)
            return "NOT_INUSE" if now == "UNKNOWN" else now

        eventually(lambda: shown() == value, f"{device} is {value}, not {shown()}", PATIENCE_S)

    def park(self, caller: str, parker: str, extension: str = "700") -> None:
        """Let somebody be called and send the caller into a lot."""
        _, incoming = self.people.talk(caller, parker)
        incoming.refer(extension)


def ami_keys(server: PrivateAsterisk, port: int, folder: Path) -> dict[str, str]:
    """Give the keys of `[[pbx]]` for AMI."""
    secret = folder / "ami.secret"
    secret.write_text(server.ari_password)
    return {"ami": f"127.0.0.1:{port}", "ami_username": server.ari_user, "ami_password_file": str(secret)}


@pytest.fixture(scope="module", params=[False, True], ids=["ari", "ami"])
def place(
    request: pytest.FixtureRequest, quick: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Car]:
    """Run one daemon and one set of phones, with AMI or without."""
    folder = tmp_path_factory.mktemp("parking")
    with Proxy(quick.ami_port) as proxy, People(quick, PHONES) as people:
        daemon = Daemon(folder, quick)
        port = int(proxy.url.rpartition(":")[2])
        keys: dict[str, Any] = ami_keys(quick, port, folder) if request.param else {}
        daemon.write(SETTINGS, parking_spaces=LOTS, **keys)
        with daemon:
            if request.param:
                daemon.wait_logged("connected to AMI")
            yield Car(people, daemon, "ami" if request.param else "correlated", proxy if request.param else None)
            assert daemon.stop() == 0, daemon.log()[-3000:]


@pytest.fixture
def car(place: Car) -> Iterator[Car]:
    """Begin with nobody parked and end so, with the lamps off."""
    place.people.hang_up()
    place.expect()
    yield place
    place.people.hang_up()
    place.expect()
    for user in PHONES:
        place.lamp(user, "NOT_INUSE")


def test_call_that_is_transferred_into_a_lot_is_shown_until_it_is_retrieved(car: Car) -> None:
    """Who waits where, who parked, since when; the parker's lamp rings, later alerts, and goes out."""
    car.park("100", "101")
    space = car.people.space()
    car.expect(("default", space, "100", "101"))
    car.lamp("101", "RINGING")
    assert car.truth() == {"100": space}
    (row,) = car.said()
    assert (row["pbx"], row["since"][-1], set(row["caller"])) == ("hq", "Z", {"number", "name"})
    car.lamp("101", "ONHOLD")
    car.people.enter("102", space)
    car.expect()
    car.lamp("101", "NOT_INUSE")


def test_parked_caller_who_hangs_up_is_gone(car: Car) -> None:
    """Nobody has to do anything for it."""
    car.park("100", "101")
    car.expect(("default", car.people.space(), "100", "101"))
    car.people["100"].calls[-1].hangup()
    car.expect()
    car.lamp("101", "NOT_INUSE")


def test_call_that_comes_back_is_not_parked_any_more(car: Car) -> None:
    """After the lot's time the phone of who parked rings."""
    car.park("100", "101", "760")
    car.expect(("short", car.people.space("shortlot"), "100", "101"))
    car.people["101"].wait_ringing(PATIENCE_S)
    car.expect()
    car.lamp("101", "NOT_INUSE")


def test_several_lots_are_told_apart(car: Car) -> None:
    """One call in each; both are those of the one who parked them."""
    car.park("100", "101")
    first = car.people.space()
    car.expect(("default", first, "100", "101"))  # calls parked within one moment may honestly be unknown
    car.park("102", "101", "750")
    car.expect(("default", first, "100", "101"), ("second", car.people.space("secondlot"), "102", "101"))
    assert car.truth("default", "second") == {"100": first, "102": car.people.space("secondlot")}
    car.people["100"].calls[-1].hangup()
    car.expect(("second", car.people.space("secondlot"), "102", "101"))
    car.lamp("101", "ONHOLD")


def test_call_parked_by_keys_is_that_of_who_pressed_them(car: Car) -> None:
    """The caller parks the callee with the feature key."""
    out, _ = car.people.talk("100", "65101", "101")
    out.press("#72")
    eventually(lambda: car.truth(), "parked", PATIENCE_S)
    car.expect(("default", car.truth()["101"], "65101", "100"))  # a callee's number is the one that was dialled
    car.lamp("100", "RINGING")


def test_caller_who_parks_himself_is_the_one_who_parked(car: Car) -> None:
    """As Asterisk sees it, who would ring him back."""
    car.people["103"].dial("700")
    eventually(lambda: car.truth(), "parked", PATIENCE_S)
    car.expect(("default", car.truth()["103"], "103", "103"))
    car.lamp("103", "RINGING")


def test_calls_parked_at_once_are_never_in_a_wrong_space(car: Car) -> None:
    """AMI tells them apart; without it they are unknown until the one that is left can be told."""
    calls = {name: car.people[name].dial("700") for name in PHONES}
    wrong: list[object] = []

    def settled() -> bool:
        truth = car.truth()
        rows = car.short()
        wrong.extend(row for row in rows if row[1] is not None and row[1] != truth.get(row[2] or "", row[1]))
        known = all(row[1] is not None for row in rows)
        return len(truth) == len(rows) == len(PHONES) and (known or car.source == "correlated")

    eventually(settled, "all parked and told", PATIENCE_S)
    assert wrong == []
    for name in PHONES[1:]:
        calls[name].hangup()
        eventually(lambda n=name: n not in {row[2] for row in car.short()}, f"{name} gone", PATIENCE_S)
    car.expect(("default", car.truth()["100"], "100", "100"))


def test_reload_of_parking_keeps_the_call_and_its_end_is_seen(car: Car) -> None:
    """A lot that has left the configuration keeps its calls until they end."""
    car.park("100", "101", "750")
    space = car.people.space("secondlot")
    car.expect(("second", space, "100", "101"))
    lots = car.server.read("res_parking.conf")
    try:
        assert "reloaded" in car.server.cli("module reload res_parking.so")
        car.expect(("second", space, "100", "101"))
        car.server.write("res_parking.conf", lots.partition("[second]")[0])
        car.server.cli("module reload res_parking.so")
        car.expect(("second", space, "100", "101"))
        car.people["100"].calls[-1].hangup()
        car.expect()
    finally:
        car.server.write("res_parking.conf", lots)
        car.server.cli("module reload res_parking.so")


@pytest.mark.parametrize("place", [True], indirect=True, ids=["ami"])
def test_ami_that_is_cut_keeps_what_it_said_and_comes_back(car: Car) -> None:
    """Meanwhile new calls are worked out from ARI; then AMI's word counts again."""
    assert car.proxy is not None
    car.park("100", "101")
    first = car.people.space()
    car.expect(("default", first, "100", "101"))
    car.proxy.stall()
    car.proxy.cut()
    try:
        car.daemon.wait_logged("no AMI, tried again", PATIENCE_S)
        car.park("102", "101")

        def told() -> dict[str | None, tuple[str | None, str]]:
            return {row[2]: (row[1], row[4]) for row in car.short()}

        both = {"100": (first, "ami"), "102": (car.truth()["102"], "correlated")}
        assert wait_until(lambda: told() == both, PATIENCE_S), f"{told()} instead of {both}"
    finally:
        car.proxy.resume()
    both = {name: (space, "ami") for name, space in car.truth().items()}
    assert wait_until(lambda: told() == both, 3 * PATIENCE_S), f"{told()} instead of {both}"


def test_command_shows_parked_calls(car: Car) -> None:
    """A table for people, JSON for programs."""
    car.park("100", "101")
    space = car.people.space()
    car.expect(("default", space, "100", "101"))
    done = car.daemon.cli("parking")
    head, line = done.stdout.splitlines()
    assert head.split() == ["space", "lot", "caller", "parked", "by", "since", "for", "source"]
    assert re.fullmatch(rf"{space}\s+default\s+100.*\s101\s+\d\d:\d\d\s+\d+s\s+{car.source}", line), line
    assert json.loads(car.daemon.cli("parking", "--json").stdout) == car.said()


@pytest.fixture
def fresh(quick: PrivateAsterisk, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make further daemons, under another application."""

    def make(**keys: Any) -> Daemon:
        daemon = Daemon(tmp_path, quick, app="parking-fresh")
        daemon.write(SETTINGS, parking_spaces=LOTS, **keys)
        return daemon

    yield make


@pytest.mark.parametrize("with_ami", [False, True], ids=["ari", "ami"])
def test_call_parked_before_the_start_is_found(
    quick: PrivateAsterisk, fresh: Callable[..., Daemon], tmp_path: Path, with_ami: bool
) -> None:
    """The only one is in the only space that is in use; since when it waits and who parked it, AMI alone knows."""
    keys = ami_keys(quick, quick.ami_port, tmp_path) if with_ami else {}
    with People(quick, PHONES) as people:
        car = Car(people, fresh(**keys), "ami" if with_ami else "correlated", None)
        car.park("100", "101")
        space = people.space()
        with car.daemon:
            eventually(lambda: [row[1] for row in car.short()] == [space], f"found in {space}", PATIENCE_S)
            eventually(lambda: car.short()[0][4] == car.source, f"known by {car.source}", PATIENCE_S)
            assert (car.said()[0]["since"] is not None) is with_ami
            assert car.short()[0][3] == ("101" if with_ami else None)
            people.hang_up()
            car.expect()
            assert car.daemon.stop() == 0


def test_wrong_secret_of_ami_ends_the_daemon_with_a_remedy(
    quick: PrivateAsterisk, fresh: Callable[..., Daemon], tmp_path: Path
) -> None:
    """As with a wrong password of ARI: exit 2, and one line that says where to look."""
    keys = ami_keys(quick, quick.ami_port, tmp_path)
    Path(keys["ami_password_file"]).write_text("wr0ng-word")
    daemon = fresh(**keys)
    assert daemon.run_to_end() == 2
    reason = daemon.logged("giving up")[-1]["reason"]
    assert all(word in reason for word in ("[[pbx]] hq", "ami_password_file", "manager.conf"))
    assert "wr0ng-word" not in daemon.log()
