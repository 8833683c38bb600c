"""FreePBX's conventions for do not disturb: which lamps a user has there, what they mean, what presence others write.

FreePBX keeps it in four places: `DND/<user>` in AstDB, `Custom:DND<user>`, `Custom:DEVDND<device>` and
`CustomPresence:<user>`. All of them say the same: on while the state that the user shows without calls is one of "dnd".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import AWAY, DND, StateDef, StateTable

ON, OFF = DeviceState.BUSY, DeviceState.UNAVAILABLE
OF_USER = "freepbx-user"
_SEEN: Mapping[DeviceState, DeviceState] = {
    DeviceState.UNKNOWN: OFF,
    DeviceState.NOT_INUSE: OFF,  # written by older releases
    DeviceState.INUSE: ON,  # written by the hot-desk script
}
_CLEAR = frozenset({"available", "chat", "not_set"})
_PLAIN: Mapping[str, StateId] = {
    "dnd": DND,
    "away": AWAY,
    "xa": StateId("out"),
    "unavailable": StateId("out"),
}


@dataclass(frozen=True)
class FreepbxLamps:
    """The lamps of do not disturb that FreePBX knows: one for each user, one for each of the user's devices.

    Every user has as many kinds of lamps as the one with the most devices; where there is no such device, the kind
    stands for the user's lamp once more.

    Attributes:
        devices: Names of devices, `100`, of users who have others than the one that is named as they are.
        owner: Tells whose endpoint (`PJSIP/100`) is which.
        rules: What `owner` goes by, as text: lamps of equal devices and rules are the same.
    """

    devices: Mapping[UserId, tuple[str, ...]] = field(default_factory=dict)
    owner: Callable[[str], UserId | None] = field(default=lambda _: None, compare=False)
    rules: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Name the kinds of lamps, that of the user first; each has a dash, as no state has."""
        most = max(map(len, self.devices.values()), default=1)
        return (OF_USER, *(f"freepbx-device{number}" for number in range(1, max(most, 1) + 1)))

    def device(self, place: int, user: UserId) -> str:
        """Name the device at a place of `kinds`."""
        if place:
            devices = self.devices.get(user, (user,))
            if place <= len(devices):
                return f"Custom:DEVDND{devices[place - 1]}"
        return f"Custom:DND{user}"

    def places(self) -> Mapping[str, tuple[UserId, int]]:
        """Tell whose the devices in `devices` are, and at which place."""
        return {name: (user, place) for user, names in self.devices.items() for place, name in enumerate(names, 1)}

    def locate(self, name: str, places: Mapping[str, tuple[UserId, int]]) -> tuple[UserId, int] | None:
        """Tell whose lamp `DND100` or `DEVDND100` is and at which place of `kinds`; None if it is nobody's.

        Args:
            name: A device without its provider.
            places: What `places` gave.
        """
        if name.startswith("DND"):
            return UserId(name[3:]), 0
        if not name.startswith("DEVDND"):
            return None
        device = name[6:]
        found = places.get(device)
        if found is None and UserId(device) not in self.devices and self.owner(f"PJSIP/{device}") == device:
            found = UserId(device), 1
        return found


def seen(value: DeviceState) -> DeviceState:
    """Give what a lamp shows that reads so."""
    return _SEEN.get(value, value)


def is_dnd(state: StateDef) -> bool:
    """Tell whether a state counts as do not disturb in FreePBX: where its presence says so."""
    return state.id == DND or (state.presence is not None and state.presence[0] == "dnd")


def state_of_presence(states: StateTable, kind: str, subtype: str) -> StateId | None:
    """Tell which state somebody means who wrote this presence state; None for none at all.

    Args:
        states: All states.
        kind: Type, such as `away`; one that is not known counts as `available`.
        subtype: Chooses among the states of one type; one that is not known counts as none.
    """
    kind = kind.lower()
    if kind in _CLEAR:
        return None
    fitting = (state.id for state in states.settable if state.presence == (kind, subtype.lower()))
    return next(fitting, _PLAIN.get(kind))
