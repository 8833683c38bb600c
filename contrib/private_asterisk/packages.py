"""Folders of Debian packages, fetched without root and used where they lie.

Owns the cache of unpacked trees and how a program inside one is started with the tree's own loader. Knows nothing of
Asterisk's configuration. The mirror is the one that the host's own apt is configured with.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ASTERISK_SUITES = {22: "forky", 16: "bullseye"}
"""Debian suite that holds each tested release of Asterisk."""

ASTERISK_PACKAGES = ("asterisk", "asterisk-core-sounds-en-gsm")
CLIENT_PACKAGES = ("sip-tester", "baresip-core")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MARKER = ".packages"
FETCH_TIMEOUT_S = 600


class PackagesError(Exception):
    """The files cannot be had on this machine: the operator acts, the message says how."""


class SuiteMissingError(PackagesError):
    """The mirror does not carry this suite (any more): tests of it may be skipped."""


@dataclass(frozen=True)
class Tree:
    """A folder of unpacked packages; `root` of `/` means the host's own installation."""

    root: Path

    def command(self, program: str) -> list[str]:
        """Give the words that start a program of the tree, by the tree's loader and libraries.

        Args:
            program: path below the tree's root, such as `usr/sbin/asterisk`.
        """
        path = str(self.root / program)
        if self.root == Path("/"):
            return [path]
        return [str(self.loader()), "--library-path", ":".join(map(str, self.libraries())), path]

    def loader(self) -> Path:
        """Find the dynamic loader; Debian 11 has it as `ld-2.31.so`, its other names dangle outside a chroot."""
        for folder in self.libraries():
            for pattern in ("ld-linux*.so*", "ld-*.so*"):
                for found in sorted(folder.glob(pattern)):
                    if found.is_file():
                        return found
        raise PackagesError(f"no dynamic loader in {self.root}: remove that folder, it is made again")

    def libraries(self) -> list[Path]:
        """List the library folders, the multiarch ones first."""
        found = [folder for top in ("usr/lib", "lib") for folder in sorted((self.root / top).glob("*-linux-gnu*"))]
        for folder in list(found):
            found += [each for each in (folder / "asterisk", folder / "baresip") if each.is_dir()]
        return [*found, self.root / "usr/lib"]

    def modules(self) -> Path:
        """Find Asterisk's module folder; a wrong one starts, but then ARI answers 404."""
        for folder in [*sorted(self.root.glob("usr/lib/*/asterisk/modules")), self.root / "usr/lib/asterisk/modules"]:
            if any(folder.glob("res_ari*.so")):
                return folder
        raise PackagesError(f"no Asterisk modules below {self.root}/usr/lib: install the package asterisk")


def tree(suite: str) -> Tree:
    """Give the unpacked packages of one suite, fetching them the first time.

    Safe to call from several processes at once: the first fetches, the others wait for it.

    Raises:
        SuiteMissingError: the mirror does not carry the suite.
        PackagesError: no apt, no network or no room.
    """
    wanted = packages_of(suite)
    folder = cache_folder() / suite
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f"{suite}.lock"):
        if not _is_whole(folder, wanted):
            _fetch(suite, wanted, folder)
    return Tree(folder)


def find_asterisk(version: int = 22) -> Tree:
    """Give a tree with Asterisk: for 22 the one on the PATH is preferred, if it is a 22 or later.

    Raises:
        PackagesError: neither installed nor to be fetched.
    """
    if version == max(ASTERISK_SUITES) and _installed_version() >= version:
        return Tree(Path("/"))
    return tree(ASTERISK_SUITES[version])


def find_clients() -> Tree:
    """Give a tree with sipp and baresip: those on the PATH if both are there.

    Raises:
        PackagesError: neither installed nor to be fetched.
    """
    if all(Path("/usr/bin", name).is_file() for name in ("sipp", "baresip")):
        return Tree(Path("/"))
    return tree(host_suite())


def is_here(version: int | None) -> bool:
    """Tell whether a release of Asterisk, or for None the SIP clients, can be had without fetching."""
    if version is None:
        installed, suite = all(Path("/usr/bin", name).is_file() for name in ("sipp", "baresip")), host_suite()
    else:
        installed, suite = version == max(ASTERISK_SUITES) <= _installed_version(), ASTERISK_SUITES[version]
    return installed or _is_whole(cache_folder() / suite, packages_of(suite))


def packages_of(suite: str) -> tuple[str, ...]:
    """List the packages that the tree of a suite is made for, sorted."""
    asterisk = ASTERISK_PACKAGES if suite in ASTERISK_SUITES.values() else ()
    clients = CLIENT_PACKAGES if suite == host_suite() else ()
    if not asterisk + clients:
        raise PackagesError(f"suite {suite!r}: use one of {', '.join(ASTERISK_SUITES.values())}, {host_suite()}")
    return tuple(sorted(asterisk + clients))


def host_suite() -> str:
    """Name the host's own suite; the SIP clients come from it."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")


def cache_folder() -> Path:
    """Name the folder of all trees: `$ARI_PRESENCE_CACHE`, else below the user's cache folder."""
    named = os.environ.get("ARI_PRESENCE_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache" / "ari-presence"


def _installed_version() -> int:
    """Read the main version of the Asterisk on the PATH; 0 without one."""
    program = shutil.which("asterisk")
    if program is None or Path(program).resolve() != Path("/usr/sbin/asterisk"):
        return 0
    words = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout.split()
    digits = words[1].split(".")[0] if len(words) > 1 else ""
    return int(digits) if digits.isdigit() else 0


def _is_whole(folder: Path, wanted: tuple[str, ...]) -> bool:
    marker = folder / MARKER
    return marker.is_file() and marker.read_text().split() == list(wanted)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(suite: str, wanted: tuple[str, ...], folder: Path) -> None:
    for program, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(program) is None:
            names = " ".join(wanted)
            raise PackagesError(f"{suite}: no {program} here (package {package}): install {names} some other way")
    print(f"fetching {' '.join(wanted)} of Debian {suite} into {folder}", file=sys.stderr)
    # A killed run leaves its sibling behind; nobody else holds the lock, so it is rubbish.
    for rubbish in folder.parent.glob(f"{suite}.new-*"):
        shutil.rmtree(rubbish)
    new = Path(tempfile.mkdtemp(prefix=f"{suite}.new-", dir=folder.parent))
    try:
        _download(suite, wanted, new / "apt")
        for archive in sorted((new / "apt/cache/archives").glob("*.deb")):
            _run(suite, ["dpkg-deb", "-x", str(archive), str(new / "tree")], dict(os.environ))
        (new / "tree" / MARKER).write_text("\n".join(wanted) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        (new / "tree").rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _download(suite: str, wanted: tuple[str, ...], work: Path) -> None:
    """Fetch the packages and all they depend on: an empty status file says that nothing is installed."""
    for name in ("state/lists/partial", "cache/archives/partial", "log", "sources"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    source = f"Types: deb\nURIs: {_mirror(suite)}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    (work / "sources/suite.sources").write_text(source)
    options: dict[str, object] = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourceparts": work / "sources",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Log": work / "log",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": 0,
        "APT::Default-Release": "",
        "Acquire::Retries": 3,
    }
    words = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    environ = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
    _run(suite, [*words, "update", "--error-on=any"], environ)
    _run(suite, [*words, "-y", "--download-only", "install", *wanted], environ)


def _mirror(suite: str) -> str:
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    found = _run(suite, words, dict(os.environ, LC_ALL="C")).split()
    if not found or not KEYRING.is_file():
        raise PackagesError(
            f"{suite}: apt has no Debian mirror with {KEYRING}: install {' '.join(packages_of(suite))} yourself"
        )
    return found[0]


def _run(suite: str, words: list[str], environ: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            words,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackagesError(f"{suite}: {words[0]}: {error}: check network and disk, then try again") from error
    if done.returncode == 0:
        return done.stdout
    last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[0]
    if "does not have a Release file" in done.stderr or "no longer has a Release file" in done.stderr:
        raise SuiteMissingError(f"{suite}: the mirror does not carry it: {last}")
    raise PackagesError(f"{suite}: {words[0]} failed: {last}: check network and mirror, then try again")
