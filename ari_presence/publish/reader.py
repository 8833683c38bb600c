"""Reading many lamps of one server: one by one when they are few, all at once through a channel of our own else.

The channel is made when it is needed, removed when all is right, and done without where the server does not go along.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Protocol

import structlog

from ari_presence.ari.wire import Request, Response
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import Presence
from ari_presence.core.names import UserId
from ari_presence.publish import requests as lamps

SINGLE_READS = 24  # up to so many lamps are read one by one
NOT_THERE = 404
EXISTS = 409

log = structlog.get_logger(__name__)

Values = list[DeviceState | None]


class Submit(Protocol):
    """How a group of requests is sent; `done` is not called when the session ends first."""

    def __call__(self, requests: list[Request], done: Callable[[list[Response]], None], *, urgent: bool) -> None:
        """Send the group."""


class _State(Enum):
    NONE = "none"
    MAKING = "making"
    LATER = "later"
    READY = "ready"
    FAILED = "failed"


class LampReader:
    """Chooses how lamps are read during one session."""

    def __init__(self, pbx: str, app: str, submit: Submit, *, over_websocket: bool, one_by_one: bool = False) -> None:
        """Begin without a channel; stay so with `one_by_one`."""
        self._pbx = pbx
        self._app = app
        self._channel = ""
        self._submit = submit
        self._over_websocket = over_websocket
        self._state = _State.FAILED if one_by_one else _State.NONE

    def prepare(self, reads: int) -> bool:
        """Make the channel if so many reads want it; True when nothing has to be waited for."""
        if self._state is _State.LATER:
            self._state = _State.NONE
        elif reads > SINGLE_READS and self._state is _State.NONE:
            self._state = _State.MAKING
            self._submit([lamps.drop_reader(id_) for id_ in self._ids()], self._dropped, urgent=True)
        return self._state is not _State.MAKING

    def _ids(self) -> tuple[str, str]:
        return f"{self._app}-reader", f"{self._app}-reader-2"

    def _dropped(self, responses: list[Response]) -> None:
        """Make the channel with an id that is free: one that was there takes a moment to be hung up."""
        free = [id_ for id_, answer in zip(self._ids(), responses, strict=True) if answer.status == NOT_THERE]
        if not free:
            self._state = _State.LATER
            return
        self._channel = free[0]
        self._submit([lamps.make_reader(self._channel, self._app)], self._made, urgent=True)

    def _made(self, responses: list[Response]) -> None:
        status = responses[-1].status
        if responses[-1].ok:
            self._state = _State.READY
        elif status == EXISTS:  # the one removed last is still being hung up: the next group does without
            self._state = _State.LATER
        else:
            self._state = _State.FAILED
            log.warning("lamps are read one by one", pbx=self._pbx, status=status)

    def _lost(self, response: Response) -> None:
        """Make the channel anew where somebody hung it up; do without it where it does not answer as it should."""
        if self._state is _State.READY:
            self._state = _State.NONE if response.status == 404 else _State.FAILED
            log.warning("lamps could not be read at once", pbx=self._pbx, status=response.status)

    def release(self) -> None:
        """Remove the channel: nothing is left to be read."""
        if self._state is _State.READY:
            self._state = _State.NONE
            self._submit([lamps.drop_reader(self._channel)], lambda _: None, urgent=False)

    def devices(self, devices: Sequence[str]) -> tuple[list[Request], Callable[[list[Response]], Values]]:
        """Choose how to read devices.

        Returns:
            The requests, and what reads their answers: values in the order of `devices`, None for each failed one.
        """
        if self._state is not _State.READY or len(devices) <= SINGLE_READS:
            return [lamps.read_lamp(device) for device in devices], lambda r: [lamps.lamp_value(one) for one in r]
        calls = list(lamps.read_lamps(self._channel, devices, over_websocket=self._over_websocket))

        def parse(responses: list[Response]) -> Values:
            values: Values = []
            for (_, count), response in zip(calls, responses, strict=True):
                found = lamps.lamp_values(response, count)
                if found is None:
                    self._lost(response)
                values += found or [None] * count
            return values

        return [request for request, _ in calls], parse

    def presences(
        self, users: Sequence[UserId]
    ) -> tuple[list[Request], Callable[[list[Response]], Iterator[tuple[UserId, Presence]]]]:
        """Read presence states, where that can be done at all: through the channel.

        Returns:
            The requests (none without the channel), and what reads their answers, leaving out what failed.
        """
        size = lamps.PRESENCES_PER_CALL
        blocks = [users[i : i + size] for i in range(0, len(users), size)] if self._state is _State.READY else []

        def parse(responses: list[Response]) -> Iterator[tuple[UserId, Presence]]:
            for block, response in zip(blocks, responses, strict=True):
                yield from zip(block, lamps.presence_values(response, len(block)) or (), strict=False)

        return [lamps.read_presences(self._channel, block) for block in blocks], parse
