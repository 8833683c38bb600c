"""Where the command line finds the daemon: the same as the daemon itself says."""

from pathlib import Path

import pytest

from ari_presence import config
from ari_presence.cli.settings import DEFAULT_CONFIG, DEFAULT_STATE_DIR, ENVIRONMENT_KEY, config_path, state_dir
from ari_presence.errors import ConfigError


def test_places_are_those_of_the_configuration() -> None:
    """The small reader and the large one agree."""
    assert config.find_config(None, {}) == DEFAULT_CONFIG
    assert config.find_config(None, {ENVIRONMENT_KEY: "/x"}) == Path("/x")
    assert config.Config.model_fields["state_dir"].default == Path(DEFAULT_STATE_DIR)


def test_option_beats_environment_beats_default() -> None:
    """The order of the contract; an empty variable is none."""
    assert config_path(Path("/a"), {ENVIRONMENT_KEY: "/b"}) == Path("/a")
    assert config_path(None, {ENVIRONMENT_KEY: "/b"}) == Path("/b")
    assert config_path(None, {ENVIRONMENT_KEY: ""}) == DEFAULT_CONFIG


def test_state_dir_is_read_whatever_else_the_file_holds(tmp_path: Path) -> None:
    """Unreadable secrets and unknown keys are the daemon's business."""
    file = tmp_path / "c.toml"
    file.write_bytes(b'\xef\xbb\xbfstate_dir = "/srv/x"\nbogus = 1\n[[pbx]]\npassword_file = "/nonexistent"\n')
    assert state_dir(file, {}) == Path("/srv/x")
    file.write_text("")
    assert state_dir(file, {}) == Path(DEFAULT_STATE_DIR)


def test_folder_as_configuration_is_explained(tmp_path: Path) -> None:
    """What cannot be read is named."""
    with pytest.raises(ConfigError, match="cannot be read"):
        state_dir(tmp_path, {})
