"""People, and the ears that take down what their server tells: equipment of `record_calls.py`."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import websocket

from private_asterisk import People, PrivateAsterisk, wait_until

APP, OTHER_APP = "ari-presence", "other-app"
LINES = ("100", "100-mobile", "101", "102", "103", "trunk")
SPACES = ("701@parkedcalls", "702@parkedcalls", "751@secondlot", "761@shortlot")
DEVICES = (*(f"PJSIP/{line}" for line in LINES), *(f"park:{space}" for space in SPACES))
UNUSED = ("ChannelVarset", "ChannelDialplan", "ChannelCallerId", "ChannelHangupRequest", "ChannelDtmfReceived")
QUIET_S = 0.7
STEP_S = 10.0


class Scene(People):
    """People, and the ears that take down what their server tells.

    Attributes:
        lines: What was recorded of the present case.
        heard_at: When the last event came.
    """

    def __init__(self, server: PrivateAsterisk) -> None:
        """Nothing is heard before `listening`."""
        super().__init__(server, LINES)
        self.lines: list[dict[str, Any]] = []
        self.heard_at = 0.0

    # --- what is taken down

    def step(self, name: str) -> None:
        """Wait until all is quiet and note what Asterisk says."""
        self._rest(name)
        devices = {device: self.server.device_state(device) for device in DEVICES}
        found = {kind: self.server.ari("GET", kind).json() for kind in ("channels", "bridges")}
        self.lines.append({"step": name, "devices": devices, **found})

    def _rest(self, name: str) -> None:
        self.heard_at = time.monotonic()
        assert wait_until(lambda: time.monotonic() - self.heard_at > QUIET_S, STEP_S), f"{name}: never quiet"

    def begin(self) -> None:
        """Begin a case: all phones are idle."""
        self._rest("begin")
        found = {kind: self.server.ari("GET", kind).json() for kind in ("channels", "bridges")}
        endpoints = [f"{each['technology']}/{each['resource']}" for each in self.server.ari("GET", "endpoints").json()]
        self.lines = [{"listing": {"endpoints": endpoints, **found}}]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Connect as the daemon does, and as another application that has its own bridges."""
        secret = f"{self.server.ari_user}:{self.server.ari_password}"
        url = f"{self.server.url.replace('http', 'ws')}/ari/events?api_key={secret}&app="
        sockets = [websocket.create_connection(url + app) for app in (APP, OTHER_APP)]
        threads = [threading.Thread(target=self._hear, args=(each,), daemon=True) for each in sockets]
        for thread in threads:
            thread.start()
        sources = ("channel:", "bridge:", *(f"deviceState:{device}" for device in DEVICES))
        answer = self.server.ari("POST", f"applications/{APP}/subscription", eventSource=",".join(sources))
        assert answer.status_code == 200, answer.text
        filtered = {"disallowed": [{"type": each} for each in UNUSED]}
        self.server.ari("PUT", f"applications/{APP}/eventFilter", filtered)
        try:
            yield
        finally:
            for each in sockets:
                each.close()

    def _hear(self, ear: Any) -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            while frame := ear.recv():
                event = json.loads(frame)
                if event["application"] == APP:
                    self.heard_at = time.monotonic()
                    self.lines.append(event)
