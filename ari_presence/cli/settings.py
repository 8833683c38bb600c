"""What the command line must know of the configuration: where the daemon's state lies, and nothing more.

A member of the service's group may use the control socket without being able to read the daemon's secrets, so the
configuration is not loaded as a whole here.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ari_presence.errors import ConfigError

ENVIRONMENT_KEY = "ARI_PRESENCE_CONFIG"
DEFAULT_CONFIG = Path("/etc/ari-presence/ari-presence.toml")
DEFAULT_STATE_DIR = "/var/lib/ari-presence"


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command; `config` is the value of `--config`, if given."""

    config: Path | None


def config_path(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Give the configuration file: the option, else the environment, else the default place."""
    return option or Path(environ.get(ENVIRONMENT_KEY) or DEFAULT_CONFIG)


def state_dir(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Read `state_dir` from the configuration, ignoring everything else in it.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    path = config_path(option, environ)
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        remedy = "name it with --config FILE, or make one with 'ari-presence init'"
        raise ConfigError(f"{path}: there is no such configuration; {remedy}") from None
    except OSError as error:
        remedy = "use sudo, or join the group of the service"
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}; mend that place") from None
    found = document.get("state_dir", DEFAULT_STATE_DIR)
    if not isinstance(found, str) or not Path(found).is_absolute():
        raise ConfigError(f'{path}: state_dir: must be a whole path, such as "{DEFAULT_STATE_DIR}"')
    return Path(found)
