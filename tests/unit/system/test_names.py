"""Users and groups become numbers when the configuration is loaded."""

from __future__ import annotations

import grp
import pwd

import pytest

from rolesanywhere_helper.domain.serving import AccessPolicy, Peer
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.system.names import resolve_policy

DAEMON = 991
# Of every Debian; `daemon` has uid and gid 1.
KNOWN = pwd.getpwnam("daemon")


def user(name: str, uid: int, gid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with users and groups of its own."""
    users = [user("alice", 1001, 100), user("bob", 1002, 200), user("eve", 1003, 300), user("1001", 4711, 300)]
    groups = [
        grp.struct_group(("staff", "x", 100, [])),
        grp.struct_group(("deployers", "x", 500, ["bob", "gone"])),
        grp.struct_group(("empty", "x", 600, [])),
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {entry.pw_name: entry for entry in users}[name])
    monkeypatch.setattr(grp, "getgrnam", lambda name: {entry.gr_name: entry for entry in groups}[name])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: {entry.gr_gid: entry for entry in groups}[gid])


@pytest.mark.promise(26)
def test_nothing_said_is_root_and_the_daemons_own_user() -> None:
    policy = resolve_policy((), (), DAEMON)
    assert policy == AccessPolicy(frozenset({0, DAEMON}), is_stated=False)
    assert policy.allows(Peer("unix", 0))
    assert policy.allows(Peer("tcp", DAEMON))
    assert not policy.allows(Peer("unix", 1000))
    assert not policy.allows(Peer("tcp", None))


@pytest.mark.promise(26)
def test_a_name_or_a_number_lets_one_user_in_besides() -> None:
    policy = resolve_policy([KNOWN.pw_name, "424242"], (), DAEMON)
    assert policy.uids == {0, DAEMON, KNOWN.pw_uid, 424_242}
    assert policy.is_stated
    assert not policy.everyone


@pytest.mark.promise(26)
def test_a_star_is_everybody_also_who_is_unknown() -> None:
    policy = resolve_policy(["*"], (), DAEMON)
    assert policy.everyone
    assert policy.allows(Peer("tcp", None))


@pytest.mark.promise(26)
@pytest.mark.parametrize(
    "name", ["no-such-user", "", "-1", "4294967295", "99999999999", "1e3", "\u0661", "a\0b", " root"]
)
def test_an_unknown_name_is_an_error_that_names_it_and_the_setting(name: str) -> None:
    with pytest.raises(ConfigurationError) as user_error:
        resolve_policy([name], (), DAEMON)
    with pytest.raises(ConfigurationError) as group_error:
        resolve_policy((), [name], DAEMON)
    assert ascii(name) in user_error.value.what
    assert "allow-users" in user_error.value.what
    assert "allow-groups" in group_error.value.what
    assert "getent group" in group_error.value.hint


@pytest.mark.promise(26)
def test_a_star_is_no_group() -> None:
    with pytest.raises(ConfigurationError, match="allow-groups"):
        resolve_policy((), ["*"], DAEMON)


@pytest.mark.usefixtures("directory")
@pytest.mark.promise(26)
def test_a_group_is_its_number_and_for_tcp_those_who_are_in_it_now() -> None:
    policy = resolve_policy((), ["deployers", "100", "600", "777"], DAEMON)
    assert policy.gids == {500, 100, 600, 777}
    assert policy.member_uids == {1001, 1002}, "alice by her primary group, bob as a member; not who is gone"
    assert policy.allows(Peer("tcp", 1002))
    assert policy.allows(Peer("unix", 5555, frozenset({500})))
    assert not policy.allows(Peer("tcp", 1003))


@pytest.mark.usefixtures("directory")
def test_a_name_of_digits_is_a_name_first() -> None:
    assert resolve_policy(["1001"], (), DAEMON).uids == {0, DAEMON, 4711}


@pytest.mark.promise(26)
def test_nothing_is_looked_up_while_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = resolve_policy([KNOWN.pw_name], [grp.getgrgid(KNOWN.pw_gid).gr_name], DAEMON)

    def forbidden(*_: object) -> None:
        pytest.fail("a name was looked up")

    for module, name in ((pwd, "getpwnam"), (pwd, "getpwuid"), (pwd, "getpwall"), (grp, "getgrnam"), (grp, "getgrgid")):
        monkeypatch.setattr(module, name, forbidden)
    assert policy.allows(Peer("tcp", KNOWN.pw_uid))
    assert not policy.allows(Peer("tcp", 77_777))
