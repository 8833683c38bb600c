"""What `init` writes: a configuration that loads, and lines for Asterisk."""

import re
import tomllib
from pathlib import Path

import pytest

from ari_presence.config import Config, load_config
from ari_presence.sample import asterisk_lines, sample_config


def _load(text: str, folder: Path) -> Config:
    file = folder / "ari-presence.toml"
    file.write_text(text)
    return load_config(file, {"TZ": "UTC"})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Make the file with the password, in a folder that needs quoting."""
    folder = tmp_path / 'a "b" \\c'
    folder.mkdir()
    (folder / "hq.secret").write_text("word\n")
    return folder / "hq.secret"


def test_sample_loads_without_change(secret: Path, tmp_path: Path) -> None:
    """The file that `init` writes needs nothing but its password file."""
    config = _load(sample_config(secret, state_dir="/srv/presence"), tmp_path)
    assert config.pbxs[0].password.get_secret_value() == "word"
    assert config.state_dir == Path("/srv/presence")


def _all_on(secret: Path) -> str:
    text = re.sub(r"^#(?=[a-z\[])", "", sample_config(secret), flags=re.MULTILINE)
    text = text.replace("/etc/ari-presence/calendar.secret", "/etc/ari-presence/hq-ami.secret")
    text = text.replace("/etc/ari-presence/hq-ami.secret", "hq-ami.secret").replace(str(secret.parent), "")
    return re.sub(r"^ca_file.*\n", "", text, flags=re.MULTILINE)


def test_sample_with_every_setting_taken_loads(secret: Path, tmp_path: Path) -> None:
    """Each setting that is commented out is legal."""
    (secret.parent / "hq-ami.secret").write_text("word\n")
    text = _all_on(secret).replace('"hq-ami.secret"', f"'{secret.parent}/hq-ami.secret'")
    config = _load(text, tmp_path)
    assert config.states.by_id["training"].digit == "7"
    assert config.user_list[0].rights == ("set_others",)


def test_commented_settings_show_the_defaults(secret: Path, tmp_path: Path) -> None:
    """What the sample shows for sections without examples is what holds anyway."""
    plain = _load(sample_config(secret), tmp_path)
    (secret.parent / "hq-ami.secret").write_text("word\n")
    full = _load(_all_on(secret).replace('"hq-ami.secret"', f"'{secret.parent}/hq-ami.secret'"), tmp_path)
    for section in ("state_dir", "history_days", "calls", "lamps", "agi", "http", "prompts", "cluster"):
        assert getattr(plain, section) == getattr(full, section), section
    assert plain.users.discover == full.users.discover
    assert plain.treatment.model_copy(update={"vip": full.treatment.vip}) == full.treatment


def test_sample_shows_every_key(secret: Path) -> None:
    """No setting is left out of the sample, except `password`, which is explained in words."""
    from ari_presence.config_errors import _keys, _sections

    data = tomllib.loads(re.sub(r"^#(?=[a-z\[])", "", sample_config(secret), flags=re.MULTILINE))
    assert set(data) == set(_keys(Config))
    for name, section in _sections(Config).items():
        shown = data[name] if isinstance(data[name], dict) else {key: 1 for row in data[name] for key in row}
        assert set(_keys(section)) - {"password", "ami_password"} == set(shown), name


def test_asterisk_lines_hold_user_password_and_includes() -> None:
    """The lines name the user, its password and the dialplan files in their folder."""
    text = asterisk_lines("pass{word}", username="joe", dialplan_dir="/opt/presence/")
    assert "[joe]\ntype=user\n" in text and "password=pass{word}\n" in text
    assert '#include "/opt/presence/presence-codes.conf"' in text
    assert "; exten => _1XX,1,Gosub(presence-treat,s,1(${EXTEN}))\n" in text
    assert text.index("presence-globals.conf") < text.index("presence-codes.conf")
    assert '#include "presence-codes.conf"' in asterisk_lines("x")
