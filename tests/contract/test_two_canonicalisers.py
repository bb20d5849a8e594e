"""The client's canonical request and the emulator's, written apart from each other, over the same random requests.

One signs and the other verifies: a mistake that only one of them makes is found here. What a mistake looks like to the
comparison is shown by variants that are wrong on purpose.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.endpoint import parse_endpoint, regional_endpoint
from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.domain.ports import HttpRequest
from rolesanywhere_helper.domain.session import SessionSpec, session_spec
from rolesanywhere_helper.emulator import canonical, signatures
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.arrival import Arrival
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.protocol import create_session, sigv4_x509

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from rolesanywhere_helper.domain.endpoint import Endpoint
    from rolesanywhere_helper.domain.ports import Identity

SEED = 20_260_601
REQUESTS = 10_000
SESSIONS = 200
NOW = 1_800_000_000  # 2027-01-15T08:00:00Z

# Each is the path that the client signs, to a server that normalises.
PATHS = ("/sessions", "/sessions", "/sessions", "//sessions", "/./sessions", "/up/../sessions", "/../sessions")
NAMES = (
    "Host", "host", "Content-Type", "content-type", "X-Amz-Date", "X-AMZ-DATE", "X-Amz-X509", "X-Amz-X509-Chain", "x",
    "X-Amz", "x-amz-x", "User-Agent", "x_y", "x.y", "x1", "X-1",
)  # fmt: skip
# More of what is treated in a particular way than of what is not.
VALUE_CHARACTERS = '   \t\tab,;:="%+AZ09/\\~é€'
QUERY_CHARACTERS = "&&&===%%+ abAZ09-._~*!'()/:@$,;?[]\"<>\\^`{|}é€😀"
ESCAPES = ("%20", "%2B", "%2b", "%26", "%3D", "%25", "%7E", "%c3%a9", "%C3", "%00", "%zz", "%2", "%41")


def seeded() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - the same requests every time, nothing secret


def text(draw: random.Random, characters: str, most: int) -> str:
    return "".join(draw.choices(characters, k=draw.randint(0, most)))


def query(draw: random.Random) -> str:
    pieces = [draw.choice(ESCAPES) if draw.random() < 0.2 else text(draw, QUERY_CHARACTERS, 6) for _ in range(5)]
    some = "".join(pieces[: draw.randint(0, 5)])
    # The same parameter again, with another value, with the same, or with none.
    return draw.choice([some, some, f"{some}&a=2&a=1&a", f"a-b=1&{some}&a=2&a%2Db=3", f"&&{some}&"])


def request(draw: random.Random) -> HttpRequest:
    names = draw.choices(NAMES, k=draw.randint(1, 10))
    headers = tuple((name, text(draw, VALUE_CHARACTERS, 12)) for name in names)
    asked = query(draw) if draw.random() < 0.8 else None
    target = draw.choice(PATHS) + ("" if asked is None else f"?{asked}")
    method = draw.choice(("POST", "GET", "PUT", "DELETE", "OPTIONS"))
    return HttpRequest(method, f"https://host.example{target}", target, headers, draw.randbytes(draw.randint(0, 40)))


def requests() -> Iterator[tuple[HttpRequest, frozenset[str]]]:
    """Return the same random requests every time, each with the names of the headers to sign."""
    draw = seeded()
    for _ in range(REQUESTS):
        made = request(draw)
        sent = sorted({name.lower() for name, _ in made.headers})
        yield made, frozenset(draw.sample(sent, draw.randint(1, len(sent))))


def as_sent(made: HttpRequest) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in made.headers)


def differences() -> list[HttpRequest]:
    """Return the requests whose two canonical forms are not the same bytes."""
    found = []
    for made, signed in requests():
        ours = sigv4_x509.canonical_request(made, signed).encode()
        theirs = canonical.canonical_request(made.method, made.target, as_sent(made), tuple(sorted(signed)), made.body)
        if ours != theirs:
            found.append(made)
    return found


def test_both_agree_on_ten_thousand_random_requests() -> None:
    assert differences() == []


def test_the_random_requests_hold_what_could_be_treated_differently() -> None:
    """The control of the generator: agreement on dull requests would mean nothing."""
    made = [request for request, _ in requests()]
    queries = [request.target.partition("?")[2] for request in made]
    values = [value for request in made for _, value in request.headers]
    some = REQUESTS // 100
    assert sum("+" in asked for asked in queries) > some
    assert sum("%2B" in asked or "%2b" in asked for asked in queries) > some
    assert sum(asked.count("a=") > 1 for asked in queries) > some
    assert sum(not asked.isascii() for asked in queries) > some
    assert sum(value == "" for value in values) > some
    assert sum("  " in value.strip(" \t") for value in values) > some
    assert sum(value != value.strip(" \t") for value in values) > some
    assert sum(not value.isascii() for value in values) > some
    assert sum(len({name.lower() for name, _ in request.headers}) < len(request.headers) for request in made) > some
    assert sum(request.body == b"" for request in made) > some


# Negative controls: mistakes that clients and servers have been seen to make, one at a time, on either side.


def query_sorted_as_text(asked: str) -> str:
    parts = [part.partition("=") for part in asked.split("&") if part]
    return "&".join(sorted(f"{sigv4_x509._encoded(name)}={sigv4_x509._encoded(value)}" for name, _, value in parts))


def query_not_sorted(asked: str) -> str:
    parts = [part.partition("=") for part in asked.split("&") if part]
    return "&".join(f"{sigv4_x509._encoded(name)}={sigv4_x509._encoded(value)}" for name, _, value in parts)


def query_without_empty_values(asked: str) -> str:
    return "&".join(pair for pair in sigv4_x509_query(asked).split("&") if not pair.endswith("="))


def query_of_a_form(asked: str) -> str:
    return sigv4_x509_query(asked.replace("+", "%20"))


def query_encoded_twice(asked: str) -> str:
    return sigv4_x509_query(asked.replace("%", "%25"))


def headers_joined_in_order_of_value(headers: Iterable[tuple[str, str]], signed: Collection[str]) -> tuple[str, str]:
    return sigv4_x509_headers(sorted(headers, key=lambda header: header[1]), signed)


def headers_without_duplicates(headers: Iterable[tuple[str, str]], signed: Collection[str]) -> tuple[str, str]:
    return sigv4_x509_headers({name.lower(): value for name, value in headers}.items(), signed)


def headers_in_order_of_arrival(headers: Iterable[tuple[str, str]], signed: Collection[str]) -> tuple[str, str]:
    arrived = list(dict.fromkeys(name.lower() for name, _ in headers))
    blocks = [sigv4_x509_headers(headers, {name}) for name in arrived if name in signed]
    return "".join(block for block, _ in blocks), ";".join(name for _, name in blocks)


sigv4_x509_query = sigv4_x509.canonical_query
sigv4_x509_headers = sigv4_x509.canonical_headers
canonical_path = canonical._canonical_path
header_line = canonical._header_line

MISTAKES: dict[str, tuple[object, str, Callable[..., object]]] = {
    "client: white space is not trimmed": (sigv4_x509, "trim_all", str),
    "client: inner white space stays": (sigv4_x509, "trim_all", lambda value: value.strip(" \t")),
    "client: tabs are spaces": (sigv4_x509, "trim_all", lambda value: " ".join(value.split())),
    "client: parameters are sorted as text": (sigv4_x509, "canonical_query", query_sorted_as_text),
    "client: parameters are not sorted": (sigv4_x509, "canonical_query", query_not_sorted),
    "client: empty values are left out": (sigv4_x509, "canonical_query", query_without_empty_values),
    "client: plus is a space": (sigv4_x509, "canonical_query", query_of_a_form),
    "client: parameters are encoded twice": (sigv4_x509, "canonical_query", query_encoded_twice),
    "client: values are sorted": (sigv4_x509, "canonical_headers", headers_joined_in_order_of_value),
    "client: the last value counts": (sigv4_x509, "canonical_headers", headers_without_duplicates),
    "client: headers are not sorted": (sigv4_x509, "canonical_headers", headers_in_order_of_arrival),
    "client: a slash is unreserved": (sigv4_x509, "_UNRESERVED", lambda: "-_.~/"),
    "emulator: a slash is unreserved": (canonical, "_UNRESERVED", lambda: "-._~/"),
    "emulator: the path is not normalised": (canonical, "_canonical_path", lambda path: path.encode()),
    "emulator: header values are in lower case": (
        canonical,
        "_header_line",
        lambda name, headers: header_line(name, headers).lower(),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_one_side_is_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, wrong = MISTAKES[mistake]
    monkeypatch.setattr(module, name, wrong() if name == "_UNRESERVED" else wrong)
    monkeypatch.setattr(f"{__name__}.REQUESTS", 1_000)
    assert differences() != []


@pytest.mark.parametrize("path", ["/", "/sessions/", "/session", "/sessions/x", "/Sessions", "/%73essions"])
def test_another_path_is_another_request(path: str) -> None:
    made = HttpRequest("POST", f"https://host.example{path}", path, (("Host", "host.example"),), b"")
    theirs = canonical.canonical_request("POST", path, as_sent(made), ("host",), b"")
    assert theirs != sigv4_x509.canonical_request(made, {"host"}).encode()


def test_a_header_that_was_not_sent_is_refused_by_the_emulator_and_left_out_by_the_client() -> None:
    made = HttpRequest("POST", "https://host.example/sessions", "/sessions", (("Host", "host.example"),), b"")
    assert sigv4_x509.canonical_headers(made.headers, {"host", "x-amz-date"})[1] == "host"
    with pytest.raises(canonical.CanonicalError):
        canonical.canonical_request("POST", "/sessions", as_sent(made), ("host", "x-amz-date"), b"")


# From end to end: what the client signs, the emulator's check accepts; one byte more or less, and it does not.


@dataclass(frozen=True)
class Signed:
    """A signed request, and where and when it is good."""

    request: HttpRequest
    region: str

    def arrival(self) -> Arrival:
        """Return it as it arrives, behind a gateway that has taken the endpoint's prefix off."""
        return Arrival(self.request.method, "/sessions", as_sent(self.request), self.request.body)


@pytest.fixture(scope="module", params=[KeyKind.RSA_2048, KeyKind.P_256, KeyKind.P_521], ids=lambda kind: kind.value)
def identity(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Load a throwaway leaf with one intermediate above it, as the client does."""
    folder: Path = tmp_path_factory.mktemp("identity")
    validity = Validity.days(NOW, 30)
    authority = CertificateAuthority.root("Root", validity, KeyKind.P_256).intermediate(
        "Below", validity, request.param
    )
    issued = authority.issue(LeafRequest(validity, key=request.param))
    (folder / "leaf.pem").write_bytes(issued.full_chain_pem)
    key = folder / "leaf.key"
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem())
    return registry.load(IdentityReference(str(folder / "leaf.pem"), str(key)), now=NOW).identity


def random_spec(draw: random.Random) -> SessionSpec:
    partition, region = draw.choice(
        [("aws", "eu-central-1"), ("aws", "us-east-1"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")]
    )
    account = f"{draw.randrange(10**12):012}"
    beside = f"arn:{partition}:rolesanywhere:{region}:{account}"
    name = draw.choice([None, text(draw, "abcXYZ019_+=,.@-", 60) + "ab"])
    properties = {
        f"{number}{text(draw, VALUE_CHARACTERS, 9)}": text(draw, VALUE_CHARACTERS, 20) + "v" for number in range(3)
    }
    return session_spec(
        trust_anchor_arn=f"{beside}:trust-anchor/{draw.randrange(10**9)}",
        profile_arn=f"{beside}:profile/{draw.randrange(10**9)}",
        role_arn=f"arn:{partition}:iam::{account}:role/{draw.choice(['', 'path/', 'a/b/'])}Role{draw.randrange(99)}",
        region=draw.choice([None, "eu-west-3"]),
        duration_seconds=draw.randint(900, 43_200),
        role_session_name=name,
        instance_properties=draw.choice([(), tuple(sorted(properties.items()))]),
    )


def random_endpoint(draw: random.Random, spec: SessionSpec) -> Endpoint:
    given = [
        "http://127.0.0.1:8080",
        "https://gateway.example/roles/anywhere",
        "https://host.example:8443",
        "http://[::1]",
    ]
    usual = regional_endpoint(spec.trust_anchor_arn.partition, spec.region, use_fips=False, use_dualstack=False)
    return draw.choice([usual, *map(parse_endpoint, given)])


def signed_sessions(identity: Identity) -> Iterator[tuple[Signed, random.Random]]:
    draw = seeded()
    for _ in range(SESSIONS):
        spec = random_spec(draw)
        made = create_session.build(spec, random_endpoint(draw, spec))
        request = sigv4_x509.sign_request(made, identity, region=spec.region, at=NOW + draw.randint(-290, 290))
        yield Signed(request, spec.region), draw


def refusal(arrival: Arrival, region: str) -> str | None:
    """Let the emulator check certificate headers and signature; return what it says, None if it accepts."""
    try:
        leaf, _ = signatures.read_certificates(arrival)
        assert signatures.verify(arrival, leaf, region, NOW) == {}, "a deviation"
    except Refusal as refused:
        return refused.message
    return None


def flipped(content: bytes, draw: random.Random) -> bytes:
    """Change one bit of one byte; what was ASCII stays so."""
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << draw.randrange(7))]) + content[at + 1 :]


def with_header_flipped(arrival: Arrival, wanted: bytes, draw: random.Random) -> Arrival:
    return replace(
        arrival,
        headers=tuple((name, flipped(value, draw) if name == wanted else value) for name, value in arrival.headers),
    )


def test_what_the_client_signs_is_accepted(identity: Identity) -> None:
    refused = [refusal(signed.arrival(), signed.region) for signed, _ in signed_sessions(identity)]
    assert refused == [None] * SESSIONS


def test_one_changed_byte_is_refused_wherever_it_is(identity: Identity) -> None:
    said = []
    places = (b"", b"Host", b"Content-Type", b"X-Amz-Date", b"X-Amz-X509", b"X-Amz-X509-Chain", b"Authorization")
    for number, (signed, draw) in enumerate(signed_sessions(identity)):
        arrival, place = signed.arrival(), places[number % len(places)]
        if place:
            changed = with_header_flipped(arrival, place, draw)
        else:
            changed = replace(arrival, body=flipped(arrival.body, draw))
        assert changed != arrival
        said.append(refusal(changed, signed.region))
    assert said == ["Invalid signature"] * SESSIONS


def test_what_is_not_signed_may_change_on_the_way(identity: Identity) -> None:
    """The control of the one before: it is the signature that refuses, not everything that is changed."""
    for signed, draw in signed_sessions(identity):
        changed = with_header_flipped(signed.arrival(), b"User-Agent", draw)
        assert changed != signed.arrival()
        assert refusal(changed, signed.region) is None


def test_a_parameter_added_on_the_way_is_refused(identity: Identity) -> None:
    signed, _ = next(signed_sessions(identity))
    changed = replace(signed.arrival(), target="/sessions?durationSeconds=43200")
    assert refusal(changed, signed.region) == "Invalid signature"
