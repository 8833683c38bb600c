"""The text of a private Asterisk's configuration files: the fewest that start without an error in the log.

Pure: takes names, ports and folders, gives text. Facts about load order and options come from Asterisk 22.10.1 and
16.28.0 on loopback.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

DIALPLAN = Path(__file__).resolve().parents[2] / "dialplan"
"""The project's own dialplan files, loaded by `#include` so that tests and demo run what administrators get."""

DEFAULT_PHONES = (*map(str, range(100, 110)), "100-mobile")
TRUNK = "trunk"

# In 22 res_websocket_client comes before res_ari, or every res_ari_* fails; res_pjsip_outbound_publish comes before
# res_pjsip_exten_state. chan_iax2 stays out: two servers would clash on its port.
MODULES = """
pbx_config res_timing_timerfd res_crypto res_sorcery_config res_sorcery_memory res_sorcery_astdb res_speech
res_http_websocket res_websocket_client res_musiconhold res_agi res_parking res_clialiases
func_timeout func_global func_base64 func_strings func_logic func_db func_devstate func_presencestate func_channel
func_callerid func_cdr func_extstate func_dialplan func_cut func_math func_version func_sprintf func_module
func_env func_rand func_pjsip_endpoint func_pjsip_aor func_pjsip_contact func_sorcery func_hangupcause
app_stack app_playback app_dial app_confbridge app_queue app_originate app_exec app_verbose app_userevent app_echo
app_db app_softhangup app_transfer app_directed_pickup app_chanspy app_read app_playtones app_system app_senddtmf
app_bridgewait app_while app_stasis
bridge_builtin_features bridge_builtin_interval_features bridge_holding bridge_native_rtp bridge_simple
bridge_softmix chan_bridge_media
codec_ulaw codec_alaw codec_gsm codec_a_mu codec_resample format_gsm format_pcm format_sln format_wav
res_format_attr_opus res_rtp_asterisk
res_stasis res_stasis_answer res_stasis_device_state res_stasis_playback res_stasis_recording res_stasis_snoop
res_ari res_ari_model res_ari_applications res_ari_asterisk res_ari_bridges res_ari_channels
res_ari_device_states res_ari_endpoints res_ari_events res_ari_playbacks res_ari_recordings res_ari_sounds
res_manager_devicestate res_manager_presencestate
res_pjproject res_pjsip res_pjsip_session res_pjsip_pubsub res_pjsip_outbound_publish chan_pjsip
res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest res_pjsip_outbound_registration
res_pjsip_endpoint_identifier_user res_pjsip_endpoint_identifier_ip res_pjsip_registrar res_pjsip_exten_state
res_pjsip_dialog_info_body_generator res_pjsip_pidf_body_generator res_pjsip_xpidf_body_generator
res_pjsip_pidf_digium_body_supplement res_pjsip_pidf_eyebeam_body_supplement res_pjsip_sdp_rtp res_pjsip_refer
res_pjsip_caller_id res_pjsip_dtmf_info res_pjsip_dlg_options res_pjsip_diversion res_pjsip_header_funcs
res_pjsip_logger res_pjsip_messaging res_pjsip_nat res_pjsip_path res_pjsip_rfc3326
res_pjsip_acl res_pjsip_transport_websocket res_pjsip_empty_info res_pjsip_publish_asterisk
"""


EMPTY = "stasis pjproject ccss cdr cel queuerules udptl resolver_unbound cli_aliases sorcery codecs"
"""Files that must be there and hold only `[general]`."""

TONES = """dial=350+440
busy=480+620/500,0/500
ring=440+480/2000,0/4000
congestion=480+620/250,0/250
callwaiting=440/300,0/10000
dialrecall=!350+440/100,!0/100,350+440
record=1400/500,0/15000
info=!950/330,!1400/330,!1800/330,0
stutter=!350+440/100,!0/100,350+440
"""


@dataclass(frozen=True)
class Ports:
    """Port numbers on 127.0.0.1; `sip` is UDP and TCP."""

    http: int
    sip: int
    ami: int
    rtp: int


@dataclass(frozen=True)
class Login:
    """The one user of ARI and of AMI."""

    user: str
    password: str


LOTS = (
    ("default", "parkedcalls", 700, 20, 300),
    ("second", "secondlot", 750, 5, 300),
    ("short", "shortlot", 760, 5, 2),
)
"""Parking lots: name, context, extension that parks, how many spaces follow it, seconds until a call comes back."""

CALLS = {
    "600": "Dial(PJSIP/100&PJSIP/100-mobile,30)",
    "610": "Dial(PJSIP/101&PJSIP/102,30)",
    "611": "Dial(Local/101@internal/n&Local/102@internal/n,30)",
    "_62XXX": "Dial(Local/${EXTEN:2}@internal/n,30)",
    "_63XXX": "Dial(Local/${EXTEN:2}@internal,30)",
    "_65XXX": "Dial(PJSIP/${EXTEN:2},30,tTkK)",
    "_67XXX": "PickupChan(PJSIP/${EXTEN:2},p)",
}
"""Ways to call: a user's two phones, a group, a group through Local channels, one through a Local channel that stays and
one that is optimised away, one with the features of features.conf, and taking a call that rings elsewhere."""

SERVICES = {
    "9000": ("Answer()", "Echo()"),
    "9001": ("Answer()", "Wait(600)"),
    "9002": ("Answer()", "MusicOnHold(default,600)"),
    "9003": ("Answer()", "ConfBridge(room)"),
    "9004": ("Answer()", "Queue(sales,,,,60)"),
    "9005": ("Answer()", "Stasis(other-app)"),
    "9006": ("Progress()", "Playback(one-moment-please,noanswer)", "Answer()", "Wait(600)"),
    "9007": ("Progress()", "Playtones(ring)", "Wait(600)"),
}
"""What is no person: echo, silence, music, conference, queue, another ARI application, a voice that speaks before it
answers, and one that never answers."""


def phone_password(name: str) -> str:
    """Give the SIP password of an endpoint."""
    return f"secret-{name}"


def whole_hints(users: Iterable[str]) -> dict[str, str]:
    """Make hints `whole-<user>` that name only the person, for the `hints` argument."""
    return {f"whole-{user}": f"Stasis:presence-{user},CustomPresence:{user}" for user in users}


def files(
    ports: Ports,
    login: Login,
    *,
    phones: Iterable[str],
    hints: Mapping[str, str],
    moh: Path,
    contact_port: int = 0,
) -> dict[str, str]:
    """Make all files but asterisk.conf and modules.conf, which name folders of the tree.

    Args:
        ports: what the server listens on.
        login: user of ARI and AMI.
        phones: names of the endpoints.
        hints: further hints of the context `hints`: extension to what follows `hint,`.
        moh: folder with the music on hold.
        contact_port: where phones can be reached without being registered; 9 is nobody, 0 is nowhere.
    """
    general = "[general]\n"
    return (
        {
            "logger.conf": general + "dateformat=%F %T.%3q\n[logfiles]\nmessages.log => notice,warning,error\n",
            "http.conf": general + f"enabled=yes\nbindaddr=127.0.0.1\nbindport={ports.http}\nsessionlimit=500\n",
            "ari.conf": general
            + "enabled=yes\nwebsocket_write_timeout=1000\n"
            + f"[{login.user}]\ntype=user\nread_only=no\npassword={login.password}\n",
            "manager.conf": general
            + f"enabled=yes\nbindaddr=127.0.0.1\nport={ports.ami}\n"
            + f"[{login.user}]\nsecret={login.password}\nread=all\nwrite=all\nwritetimeout=1000\n",
            "rtp.conf": general + f"rtpstart={ports.rtp}\nrtpend={ports.rtp + 400}\nicesupport=no\n",
            "res_parking.conf": general + "".join(_lot(*lot) for lot in LOTS),
            "musiconhold.conf": f"[default]\nmode=files\ndirectory={moh}\n",
            "queues.conf": general + "persistentmembers=no\n[sales]\nstrategy=ringall\nringinuse=no\n",
            "confbridge.conf": general + "[default_user]\ntype=user\nquiet=yes\n[default_bridge]\ntype=bridge\n",
            "features.conf": general + "transferdigittimeout=1\n[featuremap]\nblindxfer=#1\natxfer=*2\nparkcall=#72\n",
            "indications.conf": general + "country=us\n[us]\ndescription=us\nringcadence=2000,4000\n" + TONES,
            "pjsip.conf": pjsip(ports, phones, contact_port=contact_port),
            "extensions.conf": extensions(hints),
        }
        | {f"{name}.conf": general for name in EMPTY.split()}
        | {"acl.conf": "", "websocket_client.conf": ""}
    )


def pjsip(ports: Ports, phones: Iterable[str], *, contact_port: int = 0) -> str:
    """Make pjsip.conf: one endpoint, auth and aor for each phone, and one trunk.

    There is no `identify` for 127.0.0.1, or every local client would be that one endpoint. `remove_existing` with one
    contact: a phone of an earlier test must not be rung. With a `contact_port` all phones have a contact there, so that
    Asterisk takes them for reachable without a registration.
    """
    address = f"bind=127.0.0.1:{ports.sip}\n"
    head = (
        "[global]\ntype=global\nendpoint_identifier_order=auth_username,username,ip\nuser_agent=private asterisk\n"
        f"[udp]\ntype=transport\nprotocol=udp\n{address}[tcp]\ntype=transport\nprotocol=tcp\n{address}"
        "[endpoint](!)\ntype=endpoint\ndisallow=all\nallow=ulaw,alaw,gsm\ndirect_media=no\nmedia_address=127.0.0.1\n"
        "bind_rtp_to_media_address=yes\nnotify_early_inuse_ringing=no\nidentify_by=auth_username,username\n"
        "[phone](!,endpoint)\ncontext=internal\nsubscribe_context=hints\n"
        "[auth](!)\ntype=auth\nauth_type=userpass\n"
        "[aor](!)\ntype=aor\nmax_contacts=1\nremove_existing=yes\nminimum_expiration=2\n"
    )
    there = f"contact=sip:phone@127.0.0.1:{contact_port}\n" if contact_port else ""
    trunk = _endpoint(TRUNK, "endpoint") + "context=from-trunk\nset_var=PRESENCE_USER=-\n"
    return head + trunk + "".join(_endpoint(name, "phone", there) + _person(name) for name in phones)


def _endpoint(name: str, template: str, contact: str = "") -> str:
    return (
        f"[{name}](auth)\nusername={name}\npassword={phone_password(name)}\n"
        f"[{name}](aor)\n{contact}"
        f"[{name}]({template})\nauth={name}\naors={name}\n"
    )


def _person(name: str) -> str:
    """Tell the dialplan whose phone this is, where it is not the endpoint's name: `100-mobile` is of user 100."""
    user, _, second = name.partition("-")
    return f"set_var=PRESENCE_USER={user}\n" if second else ""


def extensions(hints: Mapping[str, str]) -> str:
    """Make extensions.conf around the project's own dialplan files; one that does not exist is left out."""
    lines = ["[globals]", *_include("presence-globals.conf")]
    for each in ("presence-codes", "presence-codes-agi", "presence-hints", "presence-treat", "presence-freepbx"):
        lines += _include(f"{each}.conf")
    lines += ["[internal]", *_context("presence-codes"), *(f"include => {lot[1]}" for lot in LOTS)]
    lines += [f"exten => _1{'X' * more},1,Dial(PJSIP/${{EXTEN}},30)" for more in (2, 4)]
    lines += ["exten => _0X.,1,Dial(PJSIP/${EXTEN}@trunk,30)"]
    lines += [f"exten => {number},1,{application}" for number, application in CALLS.items()]
    for number, (first, *further) in SERVICES.items():
        lines += [f"exten => {number},1,{first}", *(f" same => n,{application}" for application in further)]
    lines += ["[from-trunk]", "exten => _1XX,1,Dial(PJSIP/${EXTEN},30)"]
    lines += ["[hints]", *_context("presence-hints"), *PARKING_HINTS]
    lines += [f"exten => {extension},hint,{what}" for extension, what in hints.items()]
    return "\n".join(lines) + "\n"


PARKING_HINTS = [
    f"exten => {first + space},hint,park:${{EXTEN}}@{context}"
    for _, context, first, spaces, _ in LOTS
    for space in range(1, spaces + 1)
]


def _lot(name: str, context: str, first: int, spaces: int, seconds: int) -> str:
    return (
        f"[{name}]\nparkext={first}\nparkpos={first + 1}-{first + spaces}\ncontext={context}\nparkinghints=yes\n"
        f"parkext_exclusive=yes\nparkingtime={seconds}\nfindslot=next\ncomebacktoorigin=yes\n"
    )


def _include(name: str) -> list[str]:
    return [f'#include "{DIALPLAN / name}"'] if (DIALPLAN / name).is_file() else []


def _context(name: str) -> list[str]:
    return [f"include => {name}"] if (DIALPLAN / f"{name}.conf").is_file() else []


def modules(folder: Path) -> str:
    """Make modules.conf: what of `MODULES` this release has."""
    present = [name for name in MODULES.split() if (folder / f"{name}.so").is_file()]
    return "[modules]\nautoload=no\n" + "".join(f"load = {name}.so\n" for name in present)
