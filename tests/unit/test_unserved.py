"""What a configuration asks for that cannot be had is found, with a remedy."""

import tomllib

import pytest

from ari_presence.config import parse_config
from ari_presence.unserved import findings

PBX = '[[pbx]]\nname = "hq"\nurl = "http://127.0.0.1:1"\npassword = "x"\n'
AMI = 'ami = "127.0.0.1:5038"\nami_username = "a"\nami_password = "b"\n'
QUEUES = '[[state]]\nid = "lunch"\npause_queues = true\n'
FREEPBX = "[lamps]\nfreepbx = true\n"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        pytest.param(PBX, [], id="nothing-asked"),
        pytest.param(PBX + QUEUES, ["queues-without-ami"], id="queues"),
        pytest.param(PBX + FREEPBX, ["presence-without-ami"], id="freepbx"),
        pytest.param(PBX + AMI + QUEUES + FREEPBX, [], id="with-ami"),
        pytest.param(PBX + AMI + PBX.replace("hq", "b") + QUEUES, ["queues-without-ami"], id="one-of-two"),
    ],
)
def test_what_needs_ami_is_found(text: str, codes: list[str]) -> None:
    """For each server without it; place and remedy are named."""
    found = findings(parse_config(tomllib.loads(text), {}))
    assert [each.code for each in found] == codes
    for each in found:
        assert each.place.startswith("[[pbx]]") and "ami_password_file" in each.remedy
