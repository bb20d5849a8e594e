"""Which addresses may connect to which, and how many connections one holder may have."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.vend.http.rules import Capacity, Holder, admission


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


def fill(capacity: Capacity, holder: Holder) -> int:
    """Take connections until there is no room for this holder; return how many they were."""
    count = 0
    while not capacity.is_full and capacity.has_room_for(holder):
        capacity.take(holder)
        count += 1
    return count


@pytest.mark.promise(29, 77)
def test_who_is_alone_may_have_nearly_all_and_others_find_room_still() -> None:
    capacity = Capacity(4096 - 128)  # of 4,096 descriptors
    assert fill(capacity, 1000) == 3720
    # What is reserved is for others, and no other gets all of that either.
    assert [fill(capacity, holder) for holder in (1001, 1002, "192.0.2.1")] == [186, 47, 12]
    assert fill(capacity, 1000) == 0
    assert capacity.has_room_for(1003)
    for _ in range(600):
        capacity.give_back(1000)
    assert fill(capacity, 1003) > 300, "what one gives back another may have"


@pytest.mark.promise(77)
@pytest.mark.parametrize(("most", "alone"), [(896, 832), (64, 48), (16, 12), (1, 1), (0, 0)])
def test_of_few_connections_a_quarter_is_reserved(most: int, alone: int) -> None:
    assert fill(Capacity(most), 1000) == alone
