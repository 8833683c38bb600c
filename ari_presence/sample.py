"""What `ari-presence init` writes and prints: a commented configuration, and the lines that Asterisk needs.

In the configuration a setting that is commented out has no space behind the `#` and shows its default or an example.
"""

import json
from pathlib import Path

_CONFIG = """\
# ari-presence: user presence for Asterisk.
# A line that begins with "#" and no space is a setting: take the "#" away to use it. Those with a value of their own
# show the default. After a change: ari-presence reload (or systemctl reload ari-presence).

# Folder of the store, the lock and the control socket.
@state_dir = {state_dir}
# Days that the history is kept; 0 keeps none.
#history_days = 365

# One [[pbx]] for each Asterisk server.
[[pbx]]
# Shown in messages and in the history.
name = "hq"
# Asterisk's HTTP server, without /ari; https:// for TLS.
url = "http://127.0.0.1:8088"
# The user in ari.conf, and the file that holds its password, readable by the user that runs the daemon. With the
# systemd unit write "hq.secret": a bare name is looked up in $CREDENTIALS_DIRECTORY (LoadCredential=hq.secret:FILE).
# password = "..." instead keeps it in this file.
username = "ari-presence"
password_file = {password_file}
# Name of the Stasis application: PRESENCE_APP in the dialplan.
#app = "ari-presence"
# For https:// with a private certificate authority; the default is the system's. Certificates are always verified.
#ca_file = "/etc/ari-presence/ca.pem"
# The manager interface, optional: exact parking spaces, queue pause, FreePBX presence.
#ami = "127.0.0.1:5038"
#ami_username = "ari-presence"
#ami_password_file = "/etc/ari-presence/hq-ami.secret"
# Parking spaces, parkpos and context of each lot in res_parking.conf; from these it is worked out who is where without AMI.
#parking_spaces = ["701-720@parkedcalls"]

[users]
# Endpoints that are users without being listed; the group named user is the user's id. "" turns it off.
#discover = '^PJSIP/(?P<user>\\d{{2,6}})$'
# Endpoints that are never users.
#exclude = '^PJSIP/trunk'
# For times of day such as "until 13:30"; the default is the system's.
#timezone = "Europe/Berlin"
# A state set by hand that lasts longer may be forgotten: its owner hears it when dialling a code; "" for never.
#remind_after = "12h"
# Clears forgotten states (without remind_after: all that have no end) at a time of day of the user; "" for never.
#reset_at = "04:00"
# Clears them when a user who was offline can be reached again.
#reset_on_register = false
# Whom users may set by phone: set_self, set_group (who is in a group with them) or set_others; [] for nobody.
#rights = ["set_self"]
# Which states they may set; the default is all.
#settable = ["dnd", "lunch"]
# Endpoints from which nothing may be set.
#no_set = '^PJSIP/door'

# One [[user]] for each user of whom discovery cannot know everything.
#[[user]]
#id = "100"
#name = "Alice Example"
#endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
#groups = ["sales"]
# In place of those of [users].
#rights = ["set_others"]
#settable = ["dnd", "lunch", "meeting"]
#timezone = "Europe/London"

# One [[state]] for each state to change or to add. Built in: available, away (1), dnd (2), lunch (3), meeting (4),
# brb (5), out (6). Keep the dialplan's presence-globals.conf equal.
#[[state]]
#id = "lunch"
# Ends by itself after this time.
#expires = "60m"

#[[state]]
#id = "training"
#label = "In a training"
# Dialled for it, 1 to 8; "" for none.
#digit = 7
# Lamp beside the phone's own (Custom:presence-<user>), and alone (Stasis:presence-<user>).
#joined = "BUSY"
#whole = "BUSY"
# Text for phones that show it: not_set, unavailable, available, away, xa, chat or dnd.
#presence = "dnd"
#subtype = "training"
# What happens to calls: ring, refuse, voicemail or forward:<number>.
#treatment = "voicemail"
# Shown during a call, too.
#overrides_calls = false
# Sounds that are played before "activated".
#prompt = ["digits/7"]
# Paused in the queues meanwhile; needs ami.
#pause_queues = false

# One [[schedule]] for each kind of working hours. A user's own comes before a group's, and that before the one for all.
#[[schedule]]
#name = "office"
#users = []
#groups = ["sales"]
#all = false
# The default is the zone of each user.
#timezone = "Europe/Berlin"
# Days and ranges of days; 22:00-06:00 ends on the next day, 24:00 is the end of a day.
#hours = {{ mon-thu = "08:30-12:00, 13:00-17:00", fri = "08:30-14:00" }}
# The state within the hours, of the rest, and of holidays; "" for none.
#inside = ""
#outside = "out"
#holiday = "out"
#holidays = ["01-01", "2026-12-24..2026-12-31"]
#exceptions = [{{ date = "2026-12-23", hours = "08:30-12:00" }}]

# One [[calendar]] for each file, folder or address of calendars (iCalendar).
#[[calendar]]
# Its states have the source calendar:<name>.
#name = "work"
# An address, which may hold {{user}}; or a file, or a folder, as below.
#url = "https://cloud.example.org/{{user}}.ics"
# Whose it is: users and members of groups, or all = true for everybody's.
#users = ["100"]
#groups = ["sales"]
# For the server; password = "..." instead keeps it in this file.
#username = "presence"
#password_file = "/etc/ari-presence/calendar.secret"
# For https:// with a private certificate authority.
#ca_file = "/etc/ari-presence/ca.pem"
# How often it is looked at, 1s to 1d.
#refresh = "5m"
# For times without a zone; the default is each user's.
#timezone = "Europe/Berlin"
# Whether the title of an entry is shown.
#titles = true
# The owner's e-mail: what it declined does not count.
#address = ["{{user}}@example.org"]
# The first that fits decides: words of the title, categories, busy (busy, tentative, oof, free, workingelsewhere), and
# the state, "" for none. Afterwards oof is out and busy is meeting.
#rules = [{{ words = ["lunch"], categories = ["Food"], busy = ["busy", "free"], state = "lunch" }}]

#[[calendar]]
#name = "holidays"
#file = "/etc/ari-presence/holidays.ics"
#all = true

#[[calendar]]
#name = "own"
# With one <user>.ics for each user.
#folder = "/srv/calendars"
#users = ["100"]

[calls]
# How long a user is "Wrapping up" after a call.
#wrap_up = "0s"
# Keep the states that come from calls in the history too.
#history = false

[lamps]
# Write Stasis:presence-<user>, for hints that name only the person.
#whole = true
# Keep FreePBX's do not disturb equal, with dialplan/presence-freepbx.conf.
#freepbx = false
# A parked call that waits longer lights the lamp in another way.
#parked_alert = "2m"

[treatment]
# Callers who always get through, * for anything, ? for one character: a convenience, caller ID can be forged.
#vip = ["0170555*"]
# Callers who get through; dialling one lets every call-back through for an hour.
#emergency = ["112", "911"]
# Dialled before the number, gets through; equal to PRESENCE_OVERRIDE in the dialplan; "" turns it off.
#override_code = "*86"
# The second call within this time gets through; "" turns it off.
#repeat_within = "3m"

[agi]
# The FastAGI server; AGI has no passwords, so keep it on loopback. "" turns it off.
#listen = "127.0.0.1:4573"

[http]
#listen = "127.0.0.1:8090"

[prompts]
# Own recordings in place of the standard ones, as for Playback(): one, or a list.
#activated = "activated"
#deactivated = "de-activated"
#error = "beeperr"

[cluster]
# redis://... for several daemons.
#url = ""
"""

_ASTERISK = """\
; /etc/asterisk/ari.conf
[general]
enabled=yes

[{username}]
type=user
read_only=no
password_format=plain
password={password}

; /etc/asterisk/http.conf
[general]
enabled=yes
bindaddr=127.0.0.1
bindport=8088

; /etc/asterisk/extensions.conf
[globals]
#include "{dialplan}presence-globals.conf"

#include "{dialplan}presence-codes.conf"
#include "{dialplan}presence-hints.conf"
#include "{dialplan}presence-treat.conf"

; in the context of the phones (context= in pjsip.conf):
[internal]
include => presence-codes
; and, where they call users, what becomes of a call, before the Dial ("Treating calls" in README.rst):
; exten => _1XX,1,Gosub(presence-treat,s,1(${{EXTEN}}))

; in the context of their subscriptions (subscribe_context= in pjsip.conf):
[hints]
include => presence-hints
"""

DEFAULT_STATE_DIR = "/var/lib/ari-presence"
DEFAULT_PASSWORD_FILE = "/etc/ari-presence/hq.secret"  # noqa: S105 - the name of a file


def sample_config(password_file: str | Path = DEFAULT_PASSWORD_FILE, *, state_dir: str = DEFAULT_STATE_DIR) -> str:
    """Give a commented configuration (TOML) that loads as it is, once `password_file` exists.

    Args:
        password_file: Whole path, or a bare name for `$CREDENTIALS_DIRECTORY`.
        state_dir: Whole path; the standard one is shown commented out.
    """
    marker = "#" if state_dir == DEFAULT_STATE_DIR else ""
    text = _CONFIG.format(state_dir=_toml(state_dir), password_file=_toml(str(password_file)))
    return text.replace("@state_dir", f"{marker}state_dir", 1)


def asterisk_lines(password: str, *, username: str = "ari-presence", dialplan_dir: str = "") -> str:
    """Give the lines that `ari.conf`, `http.conf` and `extensions.conf` need.

    Args:
        password: What stands in `ari.conf`; where it must not be shown, words that say where it is.
        username: The ARI user.
        dialplan_dir: Folder of the presence dialplan; "" is Asterisk's own configuration folder.
    """
    folder = f"{dialplan_dir.rstrip('/')}/" if dialplan_dir else ""
    return _ASTERISK.format(username=username, password=password, dialplan=folder)


def _toml(text: str) -> str:
    """Write text as a TOML basic string, whose escapes are those of JSON (TOML 1.0, section String)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
