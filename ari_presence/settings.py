"""The configuration as the model sees it: from what was written to what is gone by."""

from dataclasses import replace

from ari_presence.config import Config
from ari_presence.config_schedule import table_of
from ari_presence.core.freepbx import FreepbxLamps
from ari_presence.core.kept import Rules
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Prompts, Settings, UserSettings
from ari_presence.core.names import UserId


def settings_of(config: Config) -> Settings:
    """Give what the model must know of a configuration."""
    prompts = config.prompts
    users = config.users
    zone = users.timezone or config.system_timezone
    default = UserSettings(rights=frozenset(users.rights), zone=zone, settable=_set_of(users.settable))
    shared = {default: default}
    listed = {}
    for user, row in config.user_by_id.items():
        rights = users.rights if row.rights is None else row.rights
        settable = _set_of(users.settable if row.settable is None else row.settable)
        own = UserSettings(row.name, row.groups, frozenset(rights), config.zone_of(user), settable)
        listed[user] = shared.setdefault(own, own)
    settings = Settings(
        states=config.states,
        layout=LampLayout(config.states, whole=config.lamps.whole),
        listed=listed,
        endpoints=config.user_by_endpoint,
        discover=config.users.discover,
        exclude=config.users.exclude,
        no_set=config.users.no_set,
        default=default,
        pbxs=tuple(pbx.name for pbx in config.pbxs),
        prompts=Prompts(prompts.activated, prompts.deactivated, prompts.error),
        wrap_up_s=float(config.calls.wrap_up_s),
        history_of_calls=config.calls.history,
        parked_alert_s=float(config.lamps.parked_alert_s),
        schedules=table_of(config),
        remind_after_s=config.users.remind_after_s,
        reset_at=config.users.reset_at,
        reset_on_register=config.users.reset_on_register,
        rules=Rules(**config.treatment.model_dump()),
    )
    if not config.lamps.freepbx:
        return settings
    lamps = FreepbxLamps(_freepbx_devices(config, settings), settings.owner, _rules(config))
    return replace(settings, layout=LampLayout(config.states, whole=config.lamps.whole, freepbx=lamps))


def _freepbx_devices(config: Config, settings: Settings) -> dict[UserId, tuple[str, ...]]:
    """Give FreePBX's devices of users who have others than the one that is named as they are."""
    found = {}
    for user, row in config.user_by_id.items():
        own = (user,) if settings.owner(f"PJSIP/{user}") == user else ()
        devices = tuple(dict.fromkeys((*own, *(endpoint.partition("/")[2] for endpoint in row.endpoints))))
        if devices != (user,):
            found[user] = devices
    return found


def _rules(config: Config) -> str:
    patterns = (config.users.discover, config.users.exclude)
    return " ".join(each.pattern if each is not None else "" for each in patterns)


def _set_of(states: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if states is None else frozenset(states)
