"""``systemd``: prints the units, or puts them in place with the path of this very installation.

The templates are the checkout's ``systemd/`` folder, which a wheel carries inside the package. They name
``/usr/bin/rolesanywhere-helper``, which becomes the installed command. Local changes belong in drop-ins (``systemctl
edit``), so that a later ``--install`` may replace the units.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import render
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.parser import add_switch
from rolesanywhere_helper.errors import HelperError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Iterator, Mapping

    from rolesanywhere_helper.cli.commands import FlagValue, Invocation

EXAMPLE = """\
  rolesanywhere-helper systemd --print rolesanywhere-helper.service
  sudo rolesanywhere-helper systemd --install
  rolesanywhere-helper systemd --install --user"""

PROGRAM = "rolesanywhere-helper"
SERVICE = f"{PROGRAM}.service"
_INSTANCES = f"{PROGRAM}@.service"
_COMMAND_IN_TEMPLATES = f"/usr/bin/{PROGRAM}"
_CONFIGURATION = f"/etc/{PROGRAM}/config.toml"
# What the system service cannot see (ProtectHome=, PrivateTmp=).
_HIDDEN_FROM_SERVICES = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - refused here, not used
# A drop-in holds for the daemon and for its instances, but for this one: it names the daemon's own paths.
_NOT_FOR_INSTANCES = "credentials"
_FIRST_WITH_NOTIFY_RELOAD = 253
_DEBIAN_KEY_GROUP = "ssl-cert"


@dataclass(frozen=True, slots=True)
class Placed:
    """A file and where it goes."""

    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class Units:
    """The templates of one manager, the system's or a user's, with the command's path filled in."""

    templates: Path
    command: str
    for_user: bool

    def files(self) -> tuple[Path, ...]:
        """Return the templates of the units (drop-ins are chosen one by one)."""
        if self.for_user:
            own = sorted((self.templates / "user").glob(f"{PROGRAM}*"))
            sockets = sorted(self.templates.glob(f"{PROGRAM}*.socket"))  # those of the system work here too
            return (*own, *sockets)
        kinds = ("service", "socket", "path")
        return tuple(sorted(file for kind in kinds for file in self.templates.glob(f"{PROGRAM}*.{kind}")))

    def drop_ins(self) -> dict[str, Path]:
        """Return the drop-ins by name."""
        return {file.stem: file for file in sorted((self.templates / "drop-ins").glob("*.conf"))}

    def account(self) -> Path:
        """Return what makes the system service's user."""
        return self.templates / "sysusers.d" / f"{PROGRAM}.conf"

    def named(self, name: str) -> Path:
        """Return one template by its file name; drop-ins too.

        Raises:
            UsageError: there is none.

        """
        files = {file.name: file for file in (*self.files(), *self.drop_ins().values())}
        files.setdefault(f"sysusers.d/{PROGRAM}.conf", self.account())
        if name not in files:
            raise UsageError(f"there is no unit {name!a}", f"there is: {', '.join(files)}")
        return files[name]

    def content(self, file: Path) -> bytes:
        """Return a template with the command's path in it."""
        text = file.read_text(encoding="utf-8")
        return text.replace(f"={_COMMAND_IN_TEMPLATES} ", f"={_quoted(self.command)} ").encode()


def add_flags(parser: ArgumentParser) -> None:
    """Declare what to do, for whom, and with which drop-ins."""
    parser.add_argument(
        "--print", nargs="?", const="", metavar="UNIT", help="print all units, or UNIT alone (also a drop-in's)"
    )
    add_switch(parser, "install", "put the units in place and say what to do next")
    add_switch(parser, "user", "the units of this user's own systemd, instead of the system's")
    parser.add_argument(
        "--with",
        action="append",
        metavar="DROP-IN",
        help="install this drop-in too (repeatable): credentials, dynamic-user, notify-reload, smart-card, ssl-cert, "
        "tpm; ssl-cert and notify-reload are chosen where they fit",
    )
    parser.add_argument("--prefix", metavar="DIR", help="install below DIR, for a package or an image")


def run(invocation: Invocation) -> int:
    """Print or install.

    Raises:
        UsageError: neither or both were asked, or a name is unknown.
        HelperError: a unit cannot be written.

    """
    flags = invocation.flags
    is_print, is_install = "print" in flags, flags.get("install") is True
    if is_print == is_install:
        raise UsageError("say either --print or --install", f"try: {PROGRAM} systemd --print {SERVICE}")
    units = Units(_templates(), installed_command(), for_user=flags.get("user") is True)
    if is_print:
        write_stdout(b"".join(_printed(units, str(flags["print"]))))
        return 0
    _install(units, flags)
    return 0


def _printed(units: Units, name: str) -> Iterator[bytes]:
    if name:
        yield units.content(units.named(name))
        return
    for number, file in enumerate(units.files()):
        yield b"\n" * bool(number) + f"# === {file.name}\n".encode() + units.content(file)


def _install(units: Units, flags: Mapping[str, FlagValue]) -> None:
    prefix = flags.get("prefix")
    below = Path(prefix if isinstance(prefix, str) else "/").absolute()
    asked = flags.get("with", [])
    chosen = dict.fromkeys([*_fitting(units, is_here=prefix is None), *(asked if isinstance(asked, list) else [asked])])
    _warn_of_hidden_places(units)
    placed = tuple(_placed(units, below, [str(name) for name in chosen]))
    _write(placed)
    write_stdout("".join(f"{file.path}\n" for file in placed).encode())
    account_is_made = prefix is None and not units.for_user and _make_account(below)
    for line in _next_steps(units, account_is_made=account_is_made):
        render.message(line)


def _placed(units: Units, below: Path, drop_ins: Iterable[str]) -> Iterator[Placed]:
    """Say what goes where.

    Raises:
        UsageError: a drop-in is unknown.

    """
    place = below / _unit_directory(units).relative_to("/")
    for file in units.files():
        yield Placed(place / file.name, units.content(file))
    if not units.for_user:
        yield Placed(below / "etc/sysusers.d" / units.account().name, units.content(units.account()))
    known = units.drop_ins()
    for name in drop_ins:
        if name not in known:
            raise UsageError(f"--with: there is no drop-in {name!a}", f"there is: {', '.join(known)}")
        content = units.content(known[name])
        yield Placed(place / f"{SERVICE}.d" / f"{name}.conf", content)
        if name != _NOT_FOR_INSTANCES and not units.for_user:
            yield Placed(place / f"{_INSTANCES}.d" / f"{name}.conf", content)


def _write(placed: Iterable[Placed]) -> None:
    from rolesanywhere_helper.system.public_file import put_in_place  # noqa: PLC0415 - only when chosen

    for file in placed:
        try:
            put_in_place(file.path, file.content)
        except OSError as error:
            raise HelperError(
                f"cannot write {file.path}: {error.strerror}",
                "the system's units are root's to install (sudo); --user installs those of your own systemd",
            ) from error


def _unit_directory(units: Units) -> Path:
    if not units.for_user:
        return Path("/etc/systemd/system")
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return base / "systemd/user"


def _fitting(units: Units, *, is_here: bool) -> Iterator[str]:
    """Return the drop-ins that fit this machine."""
    if not is_here:
        return
    if not units.for_user and _group_exists(_DEBIAN_KEY_GROUP):
        yield "ssl-cert"
    if _systemd_version() >= _FIRST_WITH_NOTIFY_RELOAD:
        yield "notify-reload"


def _group_exists(name: str) -> bool:
    import grp  # noqa: PLC0415 - only when chosen

    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _systemd_version() -> int:
    """Return the version of this machine's systemd, 0 where it cannot be told."""
    words = _output("systemctl", "--version").split()
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


def _make_account(below: Path) -> bool:
    """Make the service's user from the file that was just installed; tell whether it is there."""
    import pwd  # noqa: PLC0415 - only when chosen

    _output("systemd-sysusers", str(below / "etc/sysusers.d" / f"{PROGRAM}.conf"))
    try:
        pwd.getpwnam(PROGRAM)
    except KeyError:
        return False
    return True


def _output(*command: str) -> str:
    """Run a program of systemd's and return what it prints; nothing where it is missing or fails."""
    import subprocess  # noqa: PLC0415 - only when chosen; fixed programs, no shell

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - the same
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _next_steps(units: Units, *, account_is_made: bool) -> Iterator[str]:
    yield "next:"
    if units.for_user:
        yield f"  write {_unit_directory(units).parents[1] / PROGRAM / 'config.toml'}"
        yield "  systemctl --user daemon-reload"
        yield f"  systemctl --user enable --now {SERVICE}"
        yield "  loginctl enable-linger     (to have it run without a login)"
        return
    if not account_is_made:
        yield f"  systemd-sysusers           (makes the user {PROGRAM})"
    yield f"  write {_CONFIGURATION}, and let the group {PROGRAM} read it"
    yield "  systemctl daemon-reload"
    yield f"  systemctl enable --now {SERVICE}"


def _warn_of_hidden_places(units: Units) -> None:
    if units.for_user:
        return
    for path in (units.command, str(Path(sys.executable).resolve())):
        hidden = next((place for place in _HIDDEN_FROM_SERVICES if path.startswith(f"{place}/")), None)
        if hidden is not None:
            render.message(f"warning: the system service cannot see {path}: it does not look below {hidden}")
            render.message(
                f"hint: python3 -m venv /opt/{PROGRAM} && /opt/{PROGRAM}/bin/pip install {PROGRAM}, then install the "
                f"units with /opt/{PROGRAM}/bin/{PROGRAM}"
            )
            return


def _templates() -> Path:
    """Return the folder of the templates: in the package, or beside it in a checkout.

    Raises:
        HelperError: this installation has none.

    """
    package = Path(__file__).resolve().parents[1]
    for place in (package / "systemd_units", package.parent / "systemd"):
        if (place / SERVICE).is_file():
            return place
    raise HelperError("this installation came without its systemd units", f"install {PROGRAM} again, from a wheel")


def installed_command() -> str:
    """Return the absolute path of the installed command.

    Raises:
        HelperError: it is not beside this Python, nor on the PATH.

    """
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)
    if found is None:
        raise HelperError(
            f"the command {PROGRAM} is neither beside {sys.executable} nor on the PATH",
            f"install it, for example: python3 -m venv /opt/{PROGRAM} && /opt/{PROGRAM}/bin/pip install {PROGRAM}",
        )
    return str(Path(found).absolute())


def _quoted(path: str) -> str:
    """Write a path as systemd reads it at the begin of a command (systemd.syntax(7), "Quoting")."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if escaped == path and " " not in path else f'"{escaped}"'
