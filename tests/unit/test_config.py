"""The configuration: every section, every complaint, and that no secret gets out."""

import tomllib
from datetime import UTC
from pathlib import Path

import certifi
import pytest
from pydantic import ValidationError

from ari_presence.config import DEFAULT_PATH, Config, find_config, load_config, parse_config
from ari_presence.config_values import HostPort
from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import UserId
from ari_presence.core.userstate import BUILTIN
from ari_presence.errors import ConfigError

PBX = '[[pbx]]\nname = "hq"\nurl = "http://127.0.0.1:8088"\npassword = "s3cret-word"\n'
CONTRACT = """
state_dir = "/var/lib/ari-presence"
history_days = 365
[[pbx]]
name = "hq"
url = "http://127.0.0.1:8088"
username = "ari-presence"
password_file = "{folder}/hq.secret"
app = "ari-presence"
ami = "127.0.0.1:5038"
ami_username = "ari-presence"
ami_password_file = "{folder}/hq-ami.secret"
[users]
discover = '^PJSIP/(?P<user>\\d{{2,6}})$'
exclude = '^PJSIP/trunk'
timezone = "Europe/Berlin"
[[user]]
id = "100"
name = "Alice Example"
endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
groups = ["sales"]
rights = ["set_others"]
[[state]]
id = "lunch"
expires = "60m"
[calls]
wrap_up = "0s"
history = false
[lamps]
whole = true
freepbx = false
parked_alert = "2m"
[treatment]
vip = ["0170555*"]
emergency = ["112", "911"]
override_code = "*86"
repeat_within = "3m"
[agi]
listen = "127.0.0.1:4573"
[http]
listen = "127.0.0.1:8090"
[cluster]
url = ""
"""


def parse(text: str, **environ: str) -> Config:
    """Check a configuration that is given as TOML."""
    return parse_config(tomllib.loads(text), environ, where="f.toml")


def complaint(text: str, **environ: str) -> str:
    """Give what is said about a broken configuration; every line must name file and place."""
    with pytest.raises(ConfigError) as caught:
        parse(text, **environ)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("f.toml: ") and line.count(": ") >= 2 for line in lines)
    return "\n".join(line.removeprefix("f.toml: ") for line in lines)


@pytest.mark.parametrize(
    ("line", "devices"),
    [
        pytest.param("", [f"park:{number}@parkedcalls" for number in range(701, 721)], id="the sample lot of Asterisk"),
        pytest.param("parking_spaces = []", [], id="none"),
        pytest.param('parking_spaces = ["8@Lot.1", "7-8@Lot.1"]', ["park:8@Lot.1", "park:7@Lot.1"], id="twice"),
        pytest.param(
            'parking_spaces = ["1-1000@a"]', [f"park:{n}@a" for n in range(1, 1001)], id="as many as there may be"
        ),
    ],
)
def test_parking_spaces_become_devices(line: str, devices: list[str]) -> None:
    """A range is written as in res_parking.conf and watched space by space, each once."""
    assert list(parse(PBX + line).pbxs[0].parking_spaces) == devices


def test_contract_example_is_read_in_full(tmp_path: Path) -> None:
    """Each key of the documented example ends up in its field, with its unit."""
    (tmp_path / "hq.secret").write_text("ari-word\n")
    (tmp_path / "hq-ami.secret").write_bytes(b"ami-word\r\n")
    file = tmp_path / "a.toml"
    file.write_text(CONTRACT.format(folder=tmp_path))
    config = load_config(file, {})
    pbx = config.pbxs[0]
    assert pbx.password.get_secret_value() == "ari-word"
    assert pbx.ami_password and pbx.ami_password.get_secret_value() == "ami-word"
    assert (pbx.ami, pbx.app, pbx.ca_file) == (HostPort("127.0.0.1", 5038), "ari-presence", None)
    assert config.user_by_endpoint == {"PJSIP/100": "100", "PJSIP/100-mobile": "100"}
    assert config.states.by_id["lunch"].expires_s == 3600
    assert str(config.zone_of(UserId("100"))) == "Europe/Berlin"
    assert (config.lamps.parked_alert_s, config.calls.wrap_up_s, config.treatment.repeat_within_s) == (120, 0, 180)
    assert (config.http.listen, config.agi.listen) == (("127.0.0.1", 8090), ("127.0.0.1", 4573))


def test_defaults_equal_the_contract_example(tmp_path: Path) -> None:
    """What the documented example says about optional sections is also what holds without them."""
    for name in ("hq.secret", "hq-ami.secret"):
        (tmp_path / name).write_text("word")
    full = parse(CONTRACT.format(folder=tmp_path))
    least = parse(PBX)
    for section in ("state_dir", "history_days", "calls", "lamps", "agi", "http", "cluster", "prompts"):
        assert getattr(full, section) == getattr(least, section), section
    assert (full.users.discover, full.users.exclude) == (least.users.discover, least.users.exclude)
    assert least.states.all == BUILTIN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "pbx: is missing: at least one [[pbx]]", id="no-pbx"),
        pytest.param("pbx = []", "pbx: is missing: at least one [[pbx]]", id="empty-pbx"),
        pytest.param('[pbx]\nname = "hq"', "pbx: must be written as a table: [[pbx]]", id="single-brackets"),
        pytest.param(PBX + "[[users]]", "users: must be written as a table: [users]", id="double-brackets"),
        pytest.param(PBX + "[cals]", "cals: unknown key: did you mean calls?", id="unknown-section"),
        pytest.param(PBX + "[calls]\nwrapup = '1s'", "[calls] wrapup: unknown key: did you mean wrap_up?", id="typo"),
        pytest.param(PBX + "[calls]\nwrap_up_s = 1", "[calls] wrap_up_s: unknown key", id="python-name"),
        pytest.param(
            PBX + "history_days = 3", "[[pbx]] 1, history_days: unknown key here: move it to the top", id="top"
        ),
        pytest.param(PBX + "histroy_days = 3", "did you mean history_days, at the top of the file", id="top-typo"),
        pytest.param(
            PBX + "whole = true",
            "[[pbx]] 1, whole: unknown key here: it belongs under [[state]] or [lamps]",
            id="stray",
        ),
        pytest.param(PBX + '"a\\nb" = 1', "[[pbx]] 1, 'a\\nb': unknown key", id="key-with-newline"),
        pytest.param("system_timezone = 3\n" + PBX, "system_timezone: unknown key", id="internal-key"),
        pytest.param("history_days = true\n" + PBX, "history_days: must be a whole number", id="bool-for-int"),
        pytest.param("history_days = -1\n" + PBX, "history_days: must be greater than or equal to 0", id="negative"),
        pytest.param('state_dir = "x"\n' + PBX, "state_dir: 'x' is not a whole path", id="relative-state-dir"),
        pytest.param(PBX + '[lamps]\nwhole = "yes"', "[lamps] whole: must be true or false", id="text-for-bool"),
        pytest.param(
            PBX + "[calls]\nwrap_up = 5", "[calls] wrap_up: a duration is text with its unit", id="int-duration"
        ),
        pytest.param(PBX + '[calls]\nwrap_up = "5 m"', "[calls] wrap_up: '5 m' is not a duration", id="bad-duration"),
        pytest.param(PBX + '[calls]\nwrap_up = "5\\nm"', "[calls] wrap_up: '5\\nm' is not", id="duration-with-newline"),
        pytest.param(
            PBX + 'ami_password_file = "a\\nb"', "start with systemd and LoadCredential=a\\nb", id="secret-with-newline"
        ),
        pytest.param(PBX + f'app = "{"a" * 5000}"', "aaa... is not an application name", id="cut-where-it-is-long"),
        pytest.param(
            PBX + 'ca_file = "http://bob:word@host/x"', "'http://...@host/x' is not a whole path", id="login-elsewhere"
        ),
        pytest.param(PBX + PBX, "[[pbx]] 2, name: 'hq' is that of [[pbx]] 1 already", id="pbx-twice"),
        pytest.param(PBX.replace("hq", "h q"), "[[pbx]] 1, name: 'h q' is not a legal id", id="pbx-name"),
        pytest.param(PBX + 'app = "a,b"', "[[pbx]] 1, app: 'a,b' is not an application name", id="app-comma"),
        pytest.param(PBX + f'app = "{"a" * 73}"', "is not an application name", id="app-long"),
        pytest.param(PBX + 'username = "a:b"', "[[pbx]] 1, username: 'a:b' is not a user name", id="username-colon"),
        pytest.param(PBX + 'ami = "127.0.0.1"', "[[pbx]] 1, ami: '127.0.0.1' is not an address", id="ami-no-port"),
        pytest.param(PBX + 'ami = "127.0.0.1:5038"', "[[pbx]] 1, ami: needs ami_username and ami", id="ami-no-login"),
        pytest.param(PBX + 'parking_spaces = "701"', "[[pbx]] 1, parking_spaces: must be a list", id="spaces-no-list"),
        pytest.param(PBX + "parking_spaces = [701]", "parking_spaces: 701 is not a range of", id="spaces-number"),
        pytest.param(PBX + 'parking_spaces = ["701-720"]', 'as "701-720@parkedcalls"', id="spaces-no-context"),
        pytest.param(PBX + 'parking_spaces = ["720-701@a"]', "is not a range of parking spaces", id="spaces-backwards"),
        pytest.param(PBX + 'parking_spaces = ["1-2@a b"]', "is not a range of parking spaces", id="spaces-context"),
        pytest.param(PBX + 'parking_spaces = ["1-999999999@a"]', "more than 1000 spaces", id="spaces-too-many"),
        pytest.param(PBX + 'parking_spaces = ["1-600@a", "1-600@b"]', "more than 1000 spaces", id="spaces-sum"),
        pytest.param(PBX + 'ca_file = "/nowhere/ca.pem"', "[[pbx]] 1, ca_file: cannot read", id="ca-missing"),
        pytest.param(PBX + "[http]\nlisten = '8090'", "[http] listen: '8090' is not an address", id="listen-port-only"),
        pytest.param(PBX + "[agi]\nlisten = 'h:65536'", "[agi] listen: 'h:65536' is not an address", id="listen-range"),
        pytest.param(PBX + '[users]\ntimezone = "Mars"', "[users] timezone: 'Mars' is not a time zone", id="zone"),
        pytest.param(PBX + '[users]\ntimezone = "../etc/passwd"', "is not a time zone", id="zone-path"),
        pytest.param(PBX + "[users]\ndiscover = 'a('", "[users] discover: not a regular expression", id="regex"),
        pytest.param(PBX + "[users]\ndiscover = 'a'", "[users] discover: has no group named user", id="no-group"),
        pytest.param(PBX + "[users]\nexclude = 3", "[users] exclude: must be a regular expression", id="regex-type"),
        pytest.param(PBX + '[[user]]\nname = "A"', "[[user]] 1, id: is missing", id="user-without-id"),
        pytest.param(PBX + '[[user]]\nid = "a b"', "[[user]] 1, id: 'a b' is not a legal id", id="user-id"),
        pytest.param(PBX + '[[user]]\nid = "a\\n"', "[[user]] 1, id: 'a\\n' is not a legal id", id="user-id-newline"),
        pytest.param(
            PBX + '[[user]]\nid = "Bob"', "[[user]] 1, id: 'Bob' is not a legal id: write it in lower", id="case"
        ),
        pytest.param(PBX + 2 * '[[user]]\nid = "a"\n', "[[user]] 2, id: 'a' is that of [[user]] 1", id="user-twice"),
        pytest.param(PBX + '[[user]]\nid = "a"\nendpoints = ["100"]', "'100' is not an endpoint", id="endpoint"),
        pytest.param(PBX + '[[user]]\nid = "a"\nendpoints = ["PJSIP/a&b"]', "is not an endpoint", id="endpoint-and"),
        pytest.param(
            PBX + '[[user]]\nid = "a"\nendpoints = ["PJSIP/Bob"]\n[[user]]\nid = "b"\nendpoints = ["PJSIP/bob"]',
            "[[user]] 2, endpoints: 'PJSIP/bob' belongs to [[user]] 1 (a) already",
            id="endpoints-fold-to-one",
        ),
        pytest.param(
            PBX + '[[user]]\nid = "a"\nendpoints = ["PJSIP/1", "PJSIP/1"]',
            "belongs to [[user]] 1 (a)",
            id="endpoint-twice",
        ),
        pytest.param(PBX + '[[user]]\nid = "a"\ngroups = ["A b"]', "[[user]] 1, groups 1: 'A b'", id="group"),
        pytest.param(PBX + '[[user]]\nid = "a"\ngroups = "sales"', "groups: must be a list", id="groups-no-list"),
        pytest.param(
            PBX + '[[user]]\nid = "a"\nrights = ["root"]',
            "[[user]] 1, rights 1: must be 'set_self', 'set_group' or 'set_others'",
            id="right",
        ),
        pytest.param(
            PBX + "[users]\nrights = [1]", "[users] rights 1: must be 'set_self', 'set_group' or", id="rights"
        ),
        pytest.param(
            PBX + '[users]\nsettable = ["dnd", "gone"]',
            "[users] settable: 'gone' is no state that a person",
            id="settable",
        ),
        pytest.param(
            PBX + '[[user]]\nid = "a"\nsettable = ["offline"]',
            "[[user]] 1, settable: 'offline' is no state",
            id="no-one",
        ),
        pytest.param(PBX + '[users]\nsettable = ["A b"]', "[users] settable 1: 'A b' is not", id="settable-id"),
        pytest.param(PBX + '[users]\nno_set = "("', "[users] no_set: not a regular expression", id="no-set"),
        pytest.param(
            PBX + '[[user]]\nid = "a"\nname = "a\\u001b"', "[[user]] 1, name: the text has control", id="name"
        ),
        pytest.param(
            PBX + 2 * '[[state]]\nid = "dnd"\n', "[[state]] 2, id: 'dnd' is that of [[state]] 1", id="state-2"
        ),
        pytest.param(PBX + '[[state]]\nid = "gym"\ndigit = 3', "digit 3 is that of 'lunch' already", id="digit-taken"),
        pytest.param(PBX + '[[state]]\nid = "gym"\ndigit = 9', "[[state]] 1, digit: 9 is not a digit", id="digit-9"),
        pytest.param(PBX + '[[state]]\nid = "gym"\ndigit = 0', "[[state]] 1, digit: 0 is not a digit", id="digit-0"),
        pytest.param(PBX + '[[state]]\nid = "gym"\ndigit = true', "digit: True is not a digit", id="digit-bool"),
        pytest.param(
            PBX + '[[state]]\nid = "gym"\njoined = "UNKNOWN"', "joined: 'UNKNOWN' is not a lamp", id="unknown"
        ),
        pytest.param(PBX + '[[state]]\nid = "gym"\nwhole = "ON"', "whole: 'ON' is not a lamp value", id="lamp"),
        pytest.param(PBX + '[[state]]\nid = "gym"\npresence = "busy"', "presence: must be 'not_set'", id="presence"),
        pytest.param(PBX + '[[state]]\nid = "gym"\nsubtype = "a,b"', "subtype: 'a,b' is not", id="subtype"),
        pytest.param(PBX + '[[state]]\nid = "gym"\ntreatment = "forward:"', "is not a treatment", id="treatment"),
        pytest.param(PBX + '[[state]]\nid = "gym"\nprompt = []', "prompt: must not be empty", id="prompt-empty"),
        pytest.param(PBX + '[[state]]\nid = "gym"\nprompt = "a&b"', "prompt 1: 'a&b' is not the name", id="prompt"),
        pytest.param(PBX + '[[state]]\nid = "gym"\nprompt = "../a"', "'../a' is not the name", id="prompt-up"),
        pytest.param(
            PBX + '[[state]]\nid = "on-call"\npause_queues = true', "which a queue minds itself", id="call-pause"
        ),
        pytest.param(
            PBX + '[[state]]\nid = "on-call"\ndigit = 7', "'on-call' is never set by a person", id="call-digit"
        ),
        pytest.param(PBX + '[[state]]\nid = "on-call"\nsubtype = "x"', "subtype: needs presence", id="call-subtype"),
        pytest.param(PBX + '[prompts]\nerror = "no.wav"', "error 1: 'no.wav': leave out the ending", id="sound-ending"),
        pytest.param(PBX + "[treatment]\nvip = ['a b']", "[treatment] vip 1: 'a b' is not", id="vip"),
        pytest.param(PBX + "[treatment]\nemergency = ['x']", "[treatment] emergency 1: 'x' is not", id="emergency"),
        pytest.param(
            PBX + "[treatment]\noverride_code = 'x'", "override_code: 'x' is not a feature code", id="override"
        ),
        pytest.param(PBX + "[cluster]\nurl = 'http://x'", "[cluster] url: must begin with redis://", id="cluster"),
    ],
)
def test_broken_configuration_names_key_and_remedy(text: str, expected: str) -> None:
    """A mistake is reported in one line that says where and what."""
    found = complaint(text)
    assert expected in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    "char", [")", "(", ",", "&", "/", "-", "\\n", "\\u0000", "\\u001f", " ", "A", "\\u00e9", "$"], ids=ascii
)
def test_illegal_state_id_is_refused(char: str) -> None:
    """No character that means something to Asterisk can get into a state id."""
    assert "is not a legal state id" in complaint(PBX + f'[[state]]\nid = "a{char}"')


@pytest.mark.parametrize("name", ["presence", "group", "parked", "7up", "", "abcdefghijklmnopq"], ids=ascii)
def test_reserved_or_malformed_state_id_is_refused(name: str) -> None:
    """Words that name other lamps, and ids of the wrong form, are no state ids."""
    assert "is not a legal state id" in complaint(PBX + f'[[state]]\nid = "{name}"')


def test_several_mistakes_are_reported_together() -> None:
    """One run shows all mistakes, each in its own line."""
    found = complaint(PBX + '[lamps]\nwhole = 1\n[users]\ntimezone = "x"\n[prompts]\nerror = ["a b", "c.wav"]')
    assert len(found.splitlines()) == 4


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("ws://h:8088", "must begin with http:// or https://", id="websocket"),
        pytest.param("h:8088", "must begin with http:// or https://", id="no-scheme"),
        pytest.param("http://", "must begin with", id="no-host"),
        pytest.param("http://h:99999", "not a valid address", id="port"),
        pytest.param("http://h:8088/ari/", '"/ari" is added', id="ari"),
        pytest.param("http://h:8088?api_key=a:b", "nothing may follow the path", id="query"),
        pytest.param("http://h h:8088", "must begin with", id="space"),
        pytest.param("http://joe:geheim@h:8088", "leave out what is before the @", id="password"),
    ],
)
def test_bad_url_is_refused_without_repeating_it(url: str, expected: str) -> None:
    """An address may hold a password, so complaints never show it."""
    found = complaint(PBX.replace("http://127.0.0.1:8088", url))
    assert expected in found
    assert "geheim" not in found and "api_key" not in found


def test_url_with_prefix_and_slash_is_kept_without_slash() -> None:
    """A site with `prefix=` in http.conf writes it into the address."""
    assert parse(PBX.replace(":8088", ":8088/voice/")).pbxs[0].url == "http://127.0.0.1:8088/voice"


def test_secrets_are_in_no_text_of_the_configuration() -> None:
    """Neither repr nor str nor JSON shows a password, and the models cannot be changed."""
    config = parse(PBX + 'ami = "127.0.0.1:5038"\nami_username = "a"\nami_password = "other-word"')
    for text in (repr(config), str(config), str(config.pbxs[0].model_dump()), config.pbxs[0].model_dump_json()):
        assert "s3cret-word" not in text and "other-word" not in text
    with pytest.raises(ValidationError, match="frozen"):
        config.pbxs[0].name = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('password = "s3cret\\u0000word"', id="control"),
        pytest.param('password = "s3cret\\nword"', id="newline"),
        pytest.param('password = ["s3cret"]', id="list"),
        pytest.param('pasword = "s3cret"', id="typo"),
        pytest.param('password = "s3cret"\npassword_file = "/x"', id="both"),
        pytest.param('password = "s3cret"\nurl = "gopher://s3cret"', id="url"),
    ],
)
def test_complaint_never_repeats_a_secret(line: str) -> None:
    """However broken the configuration is, the password is not shown."""
    base = '[[pbx]]\nname = "hq"\n' + ("" if "url" in line else 'url = "http://127.0.0.1:8088"\n')
    assert "s3cret" not in complaint(base + line)


def test_missing_password_names_the_key() -> None:
    """A server without a password is an error of that server."""
    assert "[[pbx]] 1, password_file: is missing" in complaint(PBX.replace('password = "s3cret-word"', ""))


def test_bare_password_file_is_looked_up_in_credentials_directory(tmp_path: Path) -> None:
    """A name without a slash is a systemd credential."""
    (tmp_path / "hq").write_text("from-systemd\n")
    text = PBX.replace("password =", "password_file =").replace("s3cret-word", "hq")
    config = parse(text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert config.pbxs[0].password.get_secret_value() == "from-systemd"
    assert "LoadCredential=hq:FILE" in complaint(text)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "the password is empty", id="empty"),
        pytest.param(b"\n", "the password is empty", id="newline-only"),
        pytest.param(b"s3cret\nword\n", "one line", id="two-lines"),
        pytest.param(b"\xff\xfes3cret", "UTF-8", id="not-utf-8"),
        pytest.param(b"x" * 5000, "at most", id="long"),
    ],
)
def test_unusable_password_file_is_named_with_remedy(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """The complaint names the file and what is wrong with it, not what is in it."""
    file = tmp_path / "hq.secret"
    if content is not None:
        file.write_bytes(content)
    found = complaint(PBX.replace("password =", "password_file =").replace("s3cret-word", str(file)))
    assert "[[pbx]] 1, password_file: " in found and str(file) in found and expected in found
    assert "s3cret" not in found


def test_ca_file_needs_https_and_a_certificate(tmp_path: Path) -> None:
    """A file without a certificate is found at load, and so is one that nobody would use."""
    junk = tmp_path / "ca.pem"
    junk.write_text("junk")
    assert "holds no certificate" in complaint(PBX + f'ca_file = "{junk}"')
    real = PBX + f'ca_file = "{certifi.where()}"'
    assert "has no use without TLS" in complaint(real)
    assert parse(real.replace("http:", "https:")).pbxs[0].ca_file == Path(certifi.where())


def test_changed_and_added_states_are_merged() -> None:
    """A change keeps what it does not name; an added state gets what is missing."""
    states = parse(
        PBX
        + '[[state]]\nid = "training"\ndigit = 7\n[[state]]\nid = "lunch"\nlabel = "Mittag"\njoined = "busy"\n'
        + 'digit = "8"\nexpires = "1h"\n[[state]]\nid = "meeting"\nsubtype = ""\ndigit = ""\n'
        + '[[state]]\nid = "on-call"\nwhole = "BUSY"\n[[state]]\nid = "out"\ntreatment = "forward:0170*"\n'
        + 'prompt = "custom/out"\npresence = "away"\noverrides_calls = true\n'
    ).states
    training, lunch, meeting, out = (states.by_id[each] for each in ("training", "lunch", "meeting", "out"))
    assert (training.joined, training.whole, training.presence) == (DeviceState.ONHOLD,) * 2 + (("away", "training"),)
    assert (training.label, training.prompt, states.by_digit["7"]) == ("Training", ("digits/7",), training)
    assert (lunch.label, lunch.joined, lunch.whole) == ("Mittag", DeviceState.BUSY, DeviceState.ONHOLD)
    assert (lunch.digit, lunch.prompt, lunch.expires_s, lunch.presence) == ("8", ("digits/8",), 3600, ("away", "lunch"))
    assert (meeting.digit, meeting.presence, meeting.prompt) == ("", ("dnd", ""), ())
    assert (out.treatment, out.prompt, out.presence, out.overrides_calls) == (
        "forward:0170*",
        ("custom/out",),
        ("away", ""),
        True,
    )
    assert (states.by_id["on-call"].whole, states.by_id["on-call"].joined) == (DeviceState.BUSY, None)


def test_digits_can_be_swapped() -> None:
    """Digits are compared after all changes, so two states can change places."""
    states = parse(PBX + '[[state]]\nid = "away"\ndigit = 2\n[[state]]\nid = "dnd"\ndigit = 1\n').states
    assert (states.by_digit["1"].id, states.by_digit["2"].id) == ("dnd", "away")
    assert states.by_id["dnd"].prompt == ("do-not-disturb",)


def test_time_zone_of_user_goes_before_the_common_one() -> None:
    """The user's own zone, then that of all users, then the system's."""
    text = PBX + '[users]\ntimezone = "Asia/Tokyo"\n[[user]]\nid = "a"\ntimezone = "Europe/London"\n'
    config = parse(text)
    assert [str(config.zone_of(UserId(each))) for each in ("a", "b")] == ["Europe/London", "Asia/Tokyo"]
    assert str(parse(PBX, TZ=":America/Lima").zone_of(UserId("b"))) == "America/Lima"


def test_time_zone_rule_in_environment_is_an_error_unless_configured() -> None:
    """A zone that would be guessed wrong is asked for; one that is configured makes TZ irrelevant."""
    assert "[users] timezone: is not given, and the environment variable TZ" in complaint(PBX, TZ="CET-1CEST")
    assert parse(PBX + '[users]\ntimezone = "UTC"', TZ="CET-1CEST").users.timezone is not None


def test_values_that_turn_something_off_are_none() -> None:
    """Where the documentation says that "" turns a thing off, the field is None or empty."""
    config = parse(PBX + '[treatment]\nrepeat_within = ""\noverride_code = ""\n[http]\nlisten = ""\n[agi]\nlisten = ""')
    assert (config.treatment.repeat_within_s, config.treatment.override_code) == (None, "")
    assert (config.http.listen, config.agi.listen) == (None, None)
    assert parse(PBX + '[http]\nlisten = "[::1]:0"').http.listen == HostPort("::1", 0)


def test_same_file_read_twice_is_equal(tmp_path: Path) -> None:
    """A reload can tell that nothing has changed, and that a password has."""
    (tmp_path / "s").write_text("one")
    text = PBX.replace("password =", "password_file =").replace("s3cret-word", str(tmp_path / "s"))
    first, second = parse(text), parse(text)
    assert first.states is first.states
    assert first == second
    (tmp_path / "s").write_text("two")
    assert parse(text) != first


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(None, "no such file: write one with 'ari-presence init'", id="missing"),
        pytest.param(b'a = 1\nb = "x', "not TOML: Unterminated string", id="unterminated"),
        pytest.param(b"state_dir = /var\n", "line 1", id="no-quotes"),
        pytest.param(b"a = 1\na = 2\n", "line 2", id="twice"),
        pytest.param(b"a = '\xff'", "byte 6 is not UTF-8", id="encoding"),
        pytest.param(b"a = " + b"9" * 5000, "not TOML", id="huge-number"),
        pytest.param(b"a = " + b"[" * 5000, "not TOML", id="nesting"),
    ],
)
def test_unreadable_file_is_one_line(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """A file that is missing or not TOML is named, with line and remedy."""
    file = tmp_path / "a.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    text = str(caught.value)
    assert text.startswith(f"{file}: ") and expected in text and "\n" not in text


def test_folder_as_file_is_one_line(tmp_path: Path) -> None:
    """A path that cannot be read says why."""
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_config(tmp_path, {})


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Editors that write one do no harm."""
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbf" + PBX.encode())
    assert load_config(file, {}).pbxs[0].name == "hq"


def test_option_goes_before_environment_before_default() -> None:
    """The file is the one that is named nearest."""
    environ = {"ARI_PRESENCE_CONFIG": "/b.toml"}
    assert find_config("/a.toml", environ) == Path("/a.toml")
    assert find_config(None, environ) == Path("/b.toml")
    assert find_config(None, {}) == DEFAULT_PATH


def test_system_zone_without_name_is_utc(tmp_path: Path) -> None:
    """A system without a localtime file runs on UTC, one with a copy of a zone on that."""
    from ari_presence.config_values import system_zone

    assert system_zone({}, tmp_path / "none") is UTC
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Paris")
    assert str(system_zone({}, link)) == "Europe/Paris"


def test_rights_are_those_of_the_user_else_of_all() -> None:
    """A state of the site counts as one that can be set, wherever it stands in the file."""
    config = parse(
        PBX
        + """[users]
rights = ["set_group"]
settable = ["dnd", "gym"]
no_set = '^PJSIP/door'
[[user]]
id = "a"
[[user]]
id = "b"
rights = []
settable = []
[[state]]
id = "gym"
"""
    )
    a, b = config.user_list
    assert (config.users.rights, config.users.settable) == (("set_group",), ("dnd", "gym"))
    assert (a.rights, a.settable, b.rights, b.settable) == (None, None, (), ())
    assert config.users.no_set is not None and config.users.no_set.search("PJSIP/door-1")
    assert (parse(PBX).users.rights, parse(PBX).users.settable, parse(PBX).users.no_set) == (("set_self",), None, None)
