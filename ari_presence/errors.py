"""The exception tree; each class says who acts on it.

AriPresenceError
├── ConfigError              the operator: mend the configuration
├── Refused                  the person who asked: not allowed, or nonsense
├── AriError
│   ├── AriConnectionError   nobody: tried again
│   ├── AriAuthError         the operator: credentials or certificate
│   ├── AriReplacedError     the operator: another daemon uses the same application
│   ├── AriResponseError     the caller: Asterisk refused one request
│   └── AriDecodeError       nobody: counted and skipped
├── PublishError             a bug: a lamp value that Asterisk does not take
├── StoreError               the operator: disk, permissions, damaged file
│   ├── SchemaTooNew         the operator: a newer program wrote the file
│   └── StoreSlow            the operator: not stored yet, nobody knows whether it will be
└── ControlError             the operator: the daemon cannot be reached or its answer makes no sense
"""


class AriPresenceError(Exception):
    """Base of all; its text is one line that an operator can act on."""


class ConfigError(AriPresenceError):
    """The configuration cannot be used; the text names file, key and remedy (exit 2)."""


class Refused(AriPresenceError):
    """A person may not do this, or asked for nonsense; nothing was changed."""

    def __init__(self, reason: str, *, code: str = "refused") -> None:
        """Keep the sentence for people and a stable word for programs (`unknown-user`, `bad-time`, ...)."""
        super().__init__(reason)
        self.code = code


class AriError(AriPresenceError):
    """Something about one Asterisk server."""


class AriConnectionError(AriError):
    """The server cannot be reached, is booting or fell silent: tried again."""


class AriAuthError(AriError):
    """401, 403 or a certificate that does not verify: fatal, the operator acts (exit 2)."""


class AriReplacedError(AriError):
    """Another websocket took our Stasis application: fatal (exit 4)."""


class AriResponseError(AriError):
    """Asterisk answered a request with an error."""

    def __init__(self, status: int, path: str, message: str = "") -> None:
        """Keep the HTTP status, the path asked for (no secrets in it) and Asterisk's message."""
        super().__init__(f"{path}: Asterisk answered {status} {message}".rstrip())
        self.status = status
        self.path = path


class AriDecodeError(AriError):
    """A frame that is not an ARI event as we know it: counted and skipped."""


class PublishError(AriPresenceError):
    """A lamp or value that must never be sent to Asterisk: a bug."""


class StoreError(AriPresenceError):
    """The store cannot be read or written; the text says what to do."""


class SchemaTooNew(StoreError):
    """A newer program wrote the file: refused rather than damaged."""


class StoreSlow(StoreError):
    """A change was not stored in time: it stays once the store takes it, and is taken back if the store refuses it (exit 3)."""


class ControlError(AriPresenceError):
    """The daemon's control socket does not answer as it should (exit 3)."""
