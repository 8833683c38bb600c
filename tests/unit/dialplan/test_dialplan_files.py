"""The dialplan, the samples and the systemd unit as text: what can be told without an Asterisk."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ari_presence.config import Treatment
from ari_presence.core.kept import Rules, site_texts
from ari_presence.core.names import UserId, is_user_id, kept_of_user, kept_provider
from ari_presence.core.treatment import MAX_FORWARDS
from ari_presence.core.userstate import BUILTIN

ROOT = Path(__file__).resolve().parents[3]
DIALPLAN = ROOT / "dialplan"
UNIT = ROOT / "contrib" / "systemd" / "ari-presence.service"
FILES = ["presence-globals.conf", "presence-codes.conf", "presence-codes-agi.conf", "presence-hints.conf"]
FILES += ["presence-treat.conf"]
FORMS = {"presence-codes": "presence-run", "presence-codes-agi": "presence-run-agi"}
STATES = {1: "away", 2: "dnd", 3: "lunch", 4: "meeting", 5: "brb", 6: "out"}
LAMPS = {0: "INVALID", 1: "ONHOLD", 2: "BUSY", 3: "ONHOLD", 4: "BUSY", 5: "ONHOLD", 6: "ONHOLD"}


def lines(name: str) -> list[str]:
    """Read a file without comments and empty lines."""
    text = (DIALPLAN / name).read_text()
    return [line for raw in text.splitlines() if (line := raw.partition(";")[0].strip())]


def global_variables() -> dict[str, str]:
    """Read the defaults of presence-globals.conf."""
    return {name: value for name, _, value in (line.partition("=") for line in lines("presence-globals.conf"))}


def context(name: str, section: str) -> list[str]:
    """Read the lines of one context."""
    found, here = [], False
    for line in lines(name):
        if line.startswith("["):
            here = line == f"[{section}]"
        elif here:
            found.append(line)
    return found


def pattern(line: str) -> str:
    """Give the extension of a line with the globals put in, as Asterisk does when it loads the file."""
    name = line.partition("=>")[2].split(",", 1)[0].strip()
    return re.sub(r"\$\{(\w+)\}", lambda match: global_variables()[match[1]], name)


def test_every_file_of_the_dialplan_is_tested() -> None:
    """A file that is added is added here; FreePBX's is for servers that need not have the others."""
    assert sorted(path.name for path in DIALPLAN.glob("*.conf")) == sorted([*FILES, "presence-freepbx.conf"])


@pytest.mark.parametrize("name", FILES, ids=str)
def test_every_file_begins_with_how_to_include_it(name: str) -> None:
    """An administrator who opens a file sees what to write into extensions.conf."""
    head = (DIALPLAN / name).read_text().split("\n\n")[0]
    assert head.startswith("; ari-presence: ")
    assert f'#include "{name}"' in head
    assert "[globals]" in head


def test_globals_file_holds_assignments_only() -> None:
    """It is included inside the site's [globals]: a section header would end that."""
    for line in lines("presence-globals.conf"):
        assert re.fullmatch(r"PRESENCE_[A-Z0-9_]+=\S+", line), line


@pytest.mark.parametrize("name", FILES[1:], ids=str)
def test_no_other_file_holds_globals(name: str) -> None:
    """A [globals] section later in extensions.conf would overrule the site's own values."""
    assert "[globals]" not in lines(name)


def test_defaults_are_those_of_the_contract() -> None:
    """Codes, states and main lamps of the fallback are the built-in ones of the daemon."""
    found = global_variables()
    codes = {name: found[f"PRESENCE_{name}"] for name in ("APP", "DND_ON", "DND_OFF", "DND_TOGGLE", "STATE", "TIMEOUT")}
    assert codes == {
        "APP": "ari-presence",
        "DND_ON": "*78",
        "DND_OFF": "*79",
        "DND_TOGGLE": "*76",
        "STATE": "*84",
        "TIMEOUT": "3",
    }
    assert {digit: found[f"PRESENCE_ID_{digit}"] for digit in STATES} == STATES
    assert {digit: found[f"PRESENCE_LAMP_{digit}"] for digit in LAMPS} == LAMPS
    assert found["PRESENCE_DIGITS"] == "[1-6]"
    assert (found["PRESENCE_AGI_HOST"], found["PRESENCE_AGI_PORT"]) == ("127.0.0.1", "4573")


def test_every_variable_is_a_global_or_set_before() -> None:
    """A variable that nobody sets is empty, and Asterisk says nothing."""
    text = "\n".join(line for name in FILES[1:] for line in lines(name))
    used = set(re.findall(r"\$\{(PRESENCE_\w+)\}", text)) | set(re.findall(r"PRESENCE_\w+_(?=\$\{)", text))
    found = re.findall(r"(?:[(,]|LOCAL\()_*(PRESENCE_\w+)\)?=", text)
    known = {*global_variables(), *found, "PRESENCE_USER"}
    tables = {re.sub(r"\d$", "", name) for name in known}
    assert {name for name in used - known if re.sub(r"\d$", "", name) not in tables} == set()  # 7 and 8 are the site's


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_codes_context_is_one_goto_each(form: str) -> None:
    """A context that includes it inherits nothing but the codes: no T, h, i, include or switch."""
    for line in context(f"{form}.conf", form):
        assert re.fullmatch(rf"exten => \S+,1,Goto\({FORMS[form]},.+,1\)", line), line


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_code_patterns_have_fixed_lengths_and_filter_what_was_dialled(form: str) -> None:
    """Digits and * alone match, so nothing else can reach a function or a device name."""
    codes = context(f"{form}.conf", form)
    for line in codes[3:]:
        assert re.fullmatch(r"_\*(76X+|84X(\[0-9\*\])*)", pattern(line)), line
        assert line.replace("${FILTER(0-9*#,${EXTEN})", "").count("EXTEN") == 0, line
    assert len({pattern(line) for line in codes}) == len(codes)


def test_both_forms_have_the_same_codes_and_ask_for_the_same() -> None:
    """What Stasis() is given, AGI() is given behind the path `code`."""
    stasis, agi = ([line.replace(run, "run") for line in context(f"{form}.conf", form)] for form, run in FORMS.items())
    assert stasis == agi
    asked = re.findall(r"Stasis\(\$\{PRESENCE_APP\},(.*)\)$", "\n".join(lines("presence-codes.conf")), re.M)
    address = re.escape("agi://${PRESENCE_AGI_HOST}:${PRESENCE_AGI_PORT}/code,")
    assert asked == re.findall(rf"AGI\({address}(.*)\)$", "\n".join(lines("presence-codes-agi.conf")), re.M)
    assert len(asked) == 5


def test_agi_form_falls_back_to_the_dialplan_of_the_other() -> None:
    """There is one fallback."""
    text = "\n".join(context("presence-codes-agi.conf", "presence-run-agi"))
    assert "presence-run,fallback,1" in text and "presence-run,refuse,1" in text
    assert not re.search(r"DEVICE_STATE|PRESENCE_STATE\(|Playback", text)


def test_nobody_includes_the_context_that_runs_the_codes() -> None:
    """T, h and i of presence-run are met by Goto only."""
    everywhere = [*DIALPLAN.glob("*.conf"), *(ROOT / "contrib").rglob("*.conf")]
    assert everywhere
    assert not [path for path in everywhere if re.search(r"^\s*include\s*=>\s*presence-run", path.read_text(), re.M)]


def test_treatments_of_the_fallback_are_the_built_in_ones() -> None:
    """What the plain dialplan sets while the daemon is down refuses the calls that the daemon would refuse."""
    found = global_variables()
    for state in BUILTIN:
        if state.digit:
            assert found.get(f"PRESENCE_TREAT_{state.digit}", "ring") == state.treatment
    assert found["PRESENCE_OVERRIDE"] == Treatment().override_code
    assert found["PRESENCE_MAX_FORWARDS"] == str(MAX_FORWARDS)


def test_treatment_reads_the_names_that_the_daemon_writes() -> None:
    """One spelling in two languages, and none that a user could have."""
    text = "\n".join(lines("presence-treat.conf"))
    written = {kept_provider(name.removesuffix("1")) for name, _ in site_texts(Rules())} | {kept_of_user(UserId(""))}
    used = set(re.findall(r"CustomPresence:_ap-(?:\$\{ARG1\}|[a-z]+)-?", text))
    listed = set(re.findall(r"listed,1\(([a-z]+),", text))
    names = used - {kept_provider("${ARG1}-")} | {kept_provider(f"{name}-") for name in listed}
    assert names == written
    assert not is_user_id("_ap-user-100")


def test_what_the_network_says_is_filtered_before_the_treatment_uses_it() -> None:
    """Callers' numbers, dialled numbers and users: each in one place, inside FILTER()."""
    treat = lines("presence-treat.conf")
    for name in ("${CALLERID(num)}", "${EXTEN}"):
        assert all(re.search(r"FILTER\([^,]+," + re.escape(name), line) for line in treat if name in line), name
    outside = [line for line in treat if "${ARG1}" in line and "FILTER(" not in line]
    assert len(outside) == 1, outside
    assert "_ap-${ARG1}-${PRESENCE_N}" in outside[0]


def test_override_takes_numbers_of_fixed_lengths() -> None:
    """Digits only, as many as users can have."""
    override = [line for line in context("presence-treat.conf", "presence-override") if line.startswith("exten")]
    assert [pattern(line) for line in override] == [f"_*86{'X' * digits}" for digits in range(2, 7)]


def test_hint_patterns_have_fixed_lengths_and_digits_only() -> None:
    """What a phone subscribes to becomes part of a device name: 2 to 6 digits, cut off from the right end."""
    hints = context("presence-hints.conf", "presence-hints")
    for line in hints:
        match = re.fullmatch(r"_(?P<code>\*76|\*84\[1-6\])?(?P<user>X{2,6})", pattern(line))
        assert match, line
        if match["code"]:
            assert line.endswith(f"-${{FILTER(${{PRESENCE_ONLY}}${{EXTEN}}):-{len(match['user'])}}}"), line
        assert line.count("${EXTEN}") == line.count("${FILTER(${PRESENCE_ONLY}${EXTEN})"), f"not filtered: {line}"
    assert len({pattern(line) for line in hints}) == len(hints) == 15


@pytest.mark.parametrize("name", ["ari.conf", "http.conf", "pjsip.conf", "extensions.conf"], ids=str)
def test_sample_says_where_it_belongs(name: str) -> None:
    """Each fragment names the file of /etc/asterisk that it goes into."""
    text = (ROOT / "contrib" / "asterisk" / name).read_text()
    assert f"/etc/asterisk/{name}" in text.split("\n\n")[0]


def test_samples_listen_on_loopback_and_hold_no_secret() -> None:
    """ARI is not offered to the network, and every password is a placeholder."""
    folder = ROOT / "contrib" / "asterisk"
    assert "bindaddr=127.0.0.1" in (folder / "http.conf").read_text()
    text = (folder / "ari.conf").read_text() + (folder / "pjsip.conf").read_text()
    assert set(re.findall(r"^password=(.*)$", text, re.M)) == {"CHANGE-ME"}


def test_unit_restarts_on_failure_but_not_when_a_person_is_needed() -> None:
    """Exit 2 (configuration) and 4 (replaced by another daemon) would only repeat themselves."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2 4")
    assert (service["User"], service["ProtectSystem"]) == ("ari-presence", "strict")
    assert service["StateDirectory"] == service["ConfigurationDirectory"] == "ari-presence"
    assert service["LoadCredential"].startswith("hq.secret:")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze: install systemd")
def test_unit_is_accepted_by_systemd(tmp_path: Path) -> None:
    """Check that systemd knows every directive; only the program's path is not there yet."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ari-presence/bin/ari-presence run", "/bin/true"))
    command = ["systemd-analyze", "verify", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_freepbx_file_says_how_to_include_it_and_filters_every_key() -> None:
    """One context that nobody includes; no user reaches the database unfiltered."""
    head = (DIALPLAN / "presence-freepbx.conf").read_text().split("[presence-freepbx]")[0]
    assert head.startswith("; ari-presence: ") and '#include "presence-freepbx.conf"' in head
    found = lines("presence-freepbx.conf")
    assert [line for line in found if line.startswith("[")] == ["[presence-freepbx]"]
    users = [line for line in found if "Set(PRESENCE_FOR=" in line]
    assert len(users) == 2 and all("${FILTER(-a-z0-9_.,${SHIFT(" in line for line in users)
    assert all("DND/${PRESENCE_FOR}" in line for line in found if "DB" in line)
