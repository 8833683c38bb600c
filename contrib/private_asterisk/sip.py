"""SIP as text: messages, digest answers, session descriptions and what a NOTIFY shows. Pure, no sockets.

Sources: RFC 3261 (messages), RFC 2617 (digest with MD5), RFC 4566 (SDP), RFC 4235 (dialog-info), RFC 3863 (PIDF).
"""

import hashlib
import re
import secrets
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

COMPACT = {
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "v": "via",
    "l": "content-length",
    "c": "content-type",
    "o": "event",
    "u": "allow-events",
    "r": "refer-to",
    "k": "supported",
}


@dataclass
class Message:
    """A request or a response; `headers` keeps order and repetition."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""

    @classmethod
    def parse(cls, data: bytes) -> "Message":
        """Read one datagram; folded headers are not read, nobody here sends them."""
        head, _, body = data.decode(errors="replace").partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines if ":" in line)
        names = ((name.strip().lower(), value.strip()) for name, _, value in pairs)
        return cls(start, [(COMPACT.get(name, name), value) for name, value in names], body)

    def encode(self) -> bytes:
        """Write the message as one datagram; the length of the body is added here."""
        body = self.body.encode()
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers), f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def get(self, name: str) -> str:
        """Give the first header of that name (lower case), or an empty string."""
        return next((value for each, value in self.headers if each.lower() == name), "")

    def all(self, name: str) -> list[str]:
        """Give all headers of that name (lower case)."""
        return [value for each, value in self.headers if each.lower() == name]

    @property
    def status(self) -> int:
        """Status of a response, 0 for a request."""
        words = self.start.split()
        return int(words[1]) if words[0] == "SIP/2.0" else 0

    @property
    def method(self) -> str:
        """Method of a request, or of the request that this answers."""
        return self.get("cseq").split()[-1]

    @property
    def cseq(self) -> int:
        """Number of the request."""
        return int(self.get("cseq").split()[0])

    @property
    def branch(self) -> str:
        """Branch of the topmost Via."""
        return parameter(self.get("via"), "branch")

    @property
    def contact(self) -> str:
        """URI of the Contact."""
        return uri(self.get("contact"))


def parameter(value: str, name: str) -> str:
    """Give a header parameter such as `tag`, or an empty string."""
    found = re.search(rf";\s*{name}=\"?([^;\",>\s]*)", value.rpartition(">")[2] or value)
    return found[1] if found else ""


def uri(value: str) -> str:
    """Give the URI out of a name-addr."""
    found = re.search(r"<([^>]*)>", value)
    return found[1] if found else value.partition(";")[0].strip()


def authorization(challenge: str, *, method: str, target: str, user: str, password: str) -> str:
    """Answer a digest challenge (RFC 2617, MD5, with or without `qop=auth`)."""
    pairs = re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', challenge)
    given = {name.lower(): quoted or plain for name, quoted, plain in pairs}
    realm, nonce = given.get("realm", ""), given.get("nonce", "")
    words = {"username": user, "realm": realm, "nonce": nonce, "uri": target, "algorithm": "MD5"}
    secret, request = _md5(f"{user}:{realm}:{password}"), _md5(f"{method}:{target}")
    quality = ""
    if "auth" in given.get("qop", "").split(","):
        words["cnonce"] = secrets.token_hex(8)
        quality = ", qop=auth, nc=00000001"
        words["response"] = _md5(f"{secret}:{nonce}:00000001:{words['cnonce']}:auth:{request}")
    else:
        words["response"] = _md5(f"{secret}:{nonce}:{request}")
    if "opaque" in given:
        words["opaque"] = given["opaque"]
    plain = words.pop("algorithm")
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in words.items()) + f", algorithm={plain}{quality}"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def session(port: int, *, version: int = 1, direction: str = "sendrecv") -> str:
    """Describe an audio session on 127.0.0.1 (µ-law, A-law, telephone events)."""
    lines = ("v=0", f"o=- 1 {version} IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0")
    media = (f"m=audio {port} RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000", f"a={direction}")
    return "\r\n".join((*lines, *media, ""))


def media_port(body: str) -> int:
    """Give the port of the audio in a session description; 0 if there is none."""
    found = re.search(r"^m=audio (\d+)", body, re.MULTILINE)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class Shown:
    """What one NOTIFY tells a phone.

    Attributes:
        state: dialog-info: `terminated`, `early` or `confirmed`; PIDF: `open` or `closed`; XPIDF: its substatus.
        hold: dialog-info only: the line is on hold (`+sip.rendering` is `no`).
        remote: dialog-info only: who calls, if it says so.
        note: PIDF only, such as `On the phone`.
        presence, subtype, message: the Digium tuple; empty where there is none.
    """

    state: str
    hold: bool = False
    remote: str = ""
    note: str = ""
    presence: str = ""
    subtype: str = ""
    message: str = ""


def shown(body: str) -> Shown | None:
    """Read the body of a NOTIFY; None for an empty one or a kind not known here.

    Raises:
        xml.etree.ElementTree.ParseError: Asterisk sent what is no XML.
    """
    if not body.strip():
        return None
    # XPIDF names a document type; the parser needs none.
    root = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", body))  # noqa: S314 - from the private server only
    readers = {"dialog-info": _dialog_info, "presence": _pidf}
    reader = readers.get(root.tag.rpartition("}")[2])
    return reader(root) if reader else None


def _dialog_info(root: ET.Element) -> Shown:
    states = [each.text or "" for each in root.iterfind("{*}dialog/{*}state")]
    params = root.iterfind("{*}dialog/{*}local/{*}target/{*}param")
    hold = any(each.get("pname") == "+sip.rendering" and each.get("pvalue") == "no" for each in params)
    remote = root.find("{*}dialog/{*}remote/{*}identity")
    caller = "" if remote is None else (remote.text or "")
    return Shown(states[0] if states else "terminated", hold=hold, remote=caller)


def _pidf(root: ET.Element) -> Shown:
    substatus = root.find("{*}atom/{*}address/{*}msnsubstatus")
    if substatus is not None:
        return Shown(substatus.get("substatus", ""))
    digium = root.find("{*}tuple/{*}status/{*}digium_presence")
    if digium is None:
        digium = ET.Element("none")
    return Shown(
        (root.findtext("{*}tuple/{*}status/{*}basic") or "").strip(),
        note=(root.findtext("{*}note") or root.findtext("{*}tuple/{*}note") or "").strip(),
        presence=digium.get("type", ""),
        subtype=digium.get("subtype", ""),
        message=digium.text or "",
    )
