"""Which addresses may connect to which."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.vend.http.rules import admission


@pytest.mark.promise(16)
@pytest.mark.parametrize("local", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
def test_to_loopback_only_this_machine_may_connect(local: str) -> None:
    rule = admission(local, ("0.0.0.0/0", "::/0"))

    for remote in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert rule.admits(remote)
    for remote in ("10.0.0.1", "192.168.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "2001:db8::1"):
        assert not rule.admits(remote)


@pytest.mark.promise(16)
def test_to_any_other_address_only_the_named_networks_may() -> None:
    rule = admission("10.0.0.5", ("10.0.0.0/24", "fd00:ec2::/64"))

    assert rule.admits("10.0.0.77")
    assert rule.admits("::ffff:10.0.0.77")
    assert rule.admits("fd00:ec2::9")
    assert not rule.admits("10.0.1.1")
    assert not rule.admits("127.0.0.1")
    assert not admission("10.0.0.5", ()).admits("10.0.0.5")


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/24"):
        admission("10.0.0.5", ("10.0.0.1/24",))
