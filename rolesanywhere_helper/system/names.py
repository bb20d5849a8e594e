"""Users and groups of the configuration, resolved to numbers once: at load and at reload, never while serving.

A look-up may ask a directory server over the network, and its answer could change under a running daemon; the numbers
cannot. Whoever joins a group later is let in on unix sockets at once (there the kernel tells the process's groups), on
TCP after a reload.
"""

from __future__ import annotations

import grp
import pwd
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.serving import AccessPolicy
from rolesanywhere_helper.errors import NotYetError

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYONE = "*"
_ROOT = 0
# (uid_t)-1 and (gid_t)-1 mean "none" to the kernel.
_NO_ID = (1 << 32) - 1


def resolve_policy(users: Iterable[str], groups: Iterable[str], own_uid: int) -> AccessPolicy:
    """Resolve ``allow-users`` and ``allow-groups``; root and the daemon's own user are always let in.

    A name stands for the user (group) of this name, or else, if it is a decimal number, for that number, whether it
    has a name or not. ``"*"`` among the users is everybody.

    Raises:
        NotYetError: a name is unknown on this machine.

    """
    users, groups = tuple(users), tuple(groups)
    gids = frozenset(_group_number(name) for name in groups)
    return AccessPolicy(
        uids=frozenset({_ROOT, own_uid, *(_user_number(name) for name in users if name != EVERYONE)}),
        gids=gids,
        member_uids=_members(gids),
        everyone=EVERYONE in users,
        is_stated=bool(users or groups),
    )


def _user_number(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        return _number(name, "user", "allow-users", "getent passwd")


def _group_number(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return _number(name, "group", "allow-groups", "getent group")


def _number(name: str, kind: str, key: str, listing: str) -> int:
    if name.isascii() and name.isdecimal() and len(name) <= len(str(_NO_ID)) and int(name) < _NO_ID:
        return int(name)
    raise NotYetError(
        f"{key} names the {kind} {name!a}, which this machine does not know",
        f"check the spelling ({listing} shows the {kind}s), or start after the service that knows it (sssd, winbind …)",
    )


def _members(gids: frozenset[int]) -> frozenset[int]:
    """Return who is in the groups now: those listed in the group, and those whose primary group it is."""
    if not gids:
        return frozenset()
    primary = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid in gids}
    listed = {uid for gid in gids for name in _listed_members(gid) if (uid := _uid_or_none(name)) is not None}
    return frozenset(primary | listed)


def _listed_members(gid: int) -> list[str]:
    try:
        return grp.getgrgid(gid).gr_mem
    except KeyError:
        return []


def _uid_or_none(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None  # removed from the machine, but not from the group
