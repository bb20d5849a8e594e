"""Which proxy is used, and when (promise 65)."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.config.proxy import proxy_for
from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.errors import InvalidParameterError

HOST = "rolesanywhere.eu-central-1.amazonaws.com"
PROXY = "http://proxy.example.com:3128"
CANARY = "CANARY-proxy-password"
OTHER_ROLE = "arn:aws:iam::444455556666:role/Consultant"


def chosen(environment: dict[str, str], endpoint: str = f"https://{HOST}") -> str | None:
    return proxy_for(parse_endpoint(endpoint), Surroundings(environment, "/here"))


@pytest.mark.promise(65)
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": "http://other:1", "HTTPS_PROXY": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY, "http_proxy": PROXY}, None),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "https://proxy:3128"}, "https://proxy:3128"),
    ],
)
def test_which_variable_names_the_proxy(environment: dict[str, str], expected: str | None) -> None:
    assert chosen(environment) == expected


@pytest.mark.promise(65)
@pytest.mark.parametrize(
    ("exceptions", "is_excepted"),
    [
        ("*", True),
        (HOST, True),
        (HOST.upper(), True),
        ("amazonaws.com", True),
        (".amazonaws.com", True),
        ("*.amazonaws.com", True),
        ("example.com, amazonaws.com", True),
        (f"{HOST}:443", True),
        (f"{HOST}:8443", False),
        ("aws.com", False),
        ("example.com", False),
        ("", False),
        (",", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy(exceptions: str, is_excepted: bool) -> None:  # noqa: FBT001 - a column of the table
    for name in ("NO_PROXY", "no_proxy"):
        assert (chosen({"HTTPS_PROXY": PROXY, name: exceptions}) is None) is is_excepted


@pytest.mark.parametrize(
    ("endpoint", "exceptions", "is_excepted"),
    [
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3:8443", "10.1.2.3:443", False),
        ("https://10.1.2.3", "192.168.0.0/16", False),
        ("https://[fd00::1]", "fd00::/8", True),
        ("https://[fd00::1]", "[fd00::1]:443", True),
        ("https://[fd00::1]", "fd00::1", True),
        ("https://[fd00::1]", "fd00::2", False),
    ],
)
def test_no_proxy_with_addresses(endpoint: str, exceptions: str, is_excepted: bool) -> None:  # noqa: FBT001 - a column
    assert (chosen({"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}, endpoint) is None) is is_excepted


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "https://localhost:9", "https://[::1]:9"])
def test_this_machine_is_never_reached_through_a_proxy(endpoint: str) -> None:
    assert chosen({"HTTPS_PROXY": PROXY}, endpoint) is None


@pytest.mark.parametrize("text", ["http://", "http://h:port", "socks5://h:1", "http://a b\n", "http://h:0"])
def test_what_is_no_proxy_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        chosen({"HTTPS_PROXY": text.replace("//", f"//me:{CANARY}@", 1)})

    assert "HTTPS_PROXY" in caught.value.what
    assert CANARY not in caught.value.what + caught.value.hint


@pytest.mark.promise(65, 72)
def test_only_with_the_switch_and_then_the_log_says_so_without_the_password(complete: dict[str, str | bool]) -> None:
    surroundings = Surroundings({"HTTPS_PROXY": f"http://me:{CANARY}@proxy:3128"}, "/here")

    without = load_session(complete, surroundings, lambda _path, _what: None)
    with_proxy = load_session(complete | {"with-proxy": True}, surroundings, lambda _path, _what: None)

    assert without.settings.connection.proxy is None
    assert without.notes == ()
    assert with_proxy.settings.connection.proxy == f"http://me:{CANARY}@proxy:3128"
    assert "http://proxy:3128" in with_proxy.notes[0]
    assert CANARY not in repr(with_proxy) + "".join(with_proxy.notes)


@pytest.mark.promise(65)
@pytest.mark.parametrize(
    ("exceptions", "is_direct"),
    [
        ("", (False, False)),
        ("rolesanywhere.eu-central-1.amazonaws.com", (True, False)),
        ("sts.eu-central-1.amazonaws.com", (False, True)),
        ("sts.eu-west-1.amazonaws.com", (False, False)),
        (".amazonaws.com", (True, True)),
    ],
)
def test_each_call_is_judged_by_the_host_that_is_asked(
    complete: dict[str, str | bool], exceptions: str, is_direct: tuple[bool, bool]
) -> None:
    flags = complete | {"with-proxy": True, "region": "eu-central-1", "assume-role-arn": [OTHER_ROLE]}
    surroundings = Surroundings({"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}, "/here")

    loaded = load_session(flags, surroundings, lambda _path, _what: None)

    (hop,) = loaded.settings.hops
    chosen_ones = (loaded.settings.connection.proxy, hop.proxy)
    assert chosen_ones == tuple(None if direct else PROXY for direct in is_direct)
    assert len(loaded.notes) == is_direct.count(False)
    assert all(PROXY in note for note in loaded.notes)


@pytest.mark.promise(65, 72)
def test_sts_elsewhere_has_a_proxy_though_the_service_is_on_this_machine(complete: dict[str, str | bool]) -> None:
    surroundings = Surroundings({"HTTPS_PROXY": f"http://me:{CANARY}@proxy:3128"}, "/here")
    flags = complete | {"assume-role-arn": [OTHER_ROLE], "endpoint": "http://127.0.0.1:9"}
    elsewhere = flags | {"sts-endpoint": "https://sts.example"}

    without = load_session(elsewhere, surroundings, lambda _path, _what: None)
    beside = load_session(flags | {"with-proxy": True}, surroundings, lambda _path, _what: None)
    loaded = load_session(elsewhere | {"with-proxy": True}, surroundings, lambda _path, _what: None)

    assert [hop.proxy for each in (without, beside) for hop in each.settings.hops] == [None, None]
    assert loaded.settings.connection.proxy is None
    assert loaded.settings.hops[0].proxy == f"http://me:{CANARY}@proxy:3128"
    assert OTHER_ROLE in loaded.notes[0]
    assert CANARY not in repr(loaded) + "".join(loaded.notes)
