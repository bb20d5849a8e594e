"""The backend for SPIFFE Workload APIs, against gRPC's own server."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.errors import (
    HelperError,
    KeyMismatchError,
    MissingExtraError,
    ObjectNotFoundError,
    UnreadableCertificateError,
    UnusableLeafError,
    UsageError,
    WorkloadApiError,
)
from rolesanywhere_helper.identity import registry, workload_api
from rolesanywhere_helper.identity.access import Access
from tests.fakes.workload_agent import SPIFFE_ID, WorkloadAgent, svid
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rolesanywhere_helper.identity.loaded import LoadedIdentity

OTHER = "spiffe://example.org/other"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[WorkloadAgent]:
    with WorkloadAgent(tmp_path) as running:
        yield running


@pytest.fixture
def authority() -> making.Authority:
    return making.Authority.root().intermediate("Lower")


def load(certificate: str, private_key: str = "", environment: dict[str, str] | None = None) -> LoadedIdentity:
    reference = IdentityReference(certificate=certificate, private_key=private_key)
    return registry.load(reference, now=making.NOW, access=Access(environment=environment or {}))


def test_an_svid_comes_with_its_key_and_its_chain(agent: WorkloadAgent, authority: making.Authority) -> None:
    key = making.ec_key()
    leaf = authority.issue(key)
    agent.push(svid(key, leaf, authority.certificate))

    loaded = load(agent.reference)

    assert loaded.identity.leaf_der == making.der(leaf)
    assert loaded.identity.chain_der == (making.der(authority.certificate),)
    assert loaded.warnings == ()


@pytest.mark.parametrize("form", ["unix://{}", "unix:{}"])
def test_the_variable_names_the_socket(form: str, agent: WorkloadAgent, authority: making.Authority) -> None:
    key = making.ec_key()
    agent.push(svid(key, authority.issue(key)))

    named = load("spiffe:", environment={"SPIFFE_ENDPOINT_SOCKET": form.format(agent.socket)})
    # The reference goes before the variable.
    assert load(agent.reference, environment={"SPIFFE_ENDPOINT_SOCKET": "unix:///nowhere"}).identity.leaf_der
    assert named.identity.leaf_der
    with pytest.raises(WorkloadApiError, match="unix:/nowhere"):
        load("spiffe:", environment={"SPIFFE_ENDPOINT_SOCKET": "unix:///nowhere"})


def test_of_several_the_first_is_used_unless_one_is_named(agent: WorkloadAgent, authority: making.Authority) -> None:
    first, second = making.ec_key(), making.ec_key()
    leaf, other = authority.issue(first), authority.issue(second)
    agent.push(svid(first, leaf), svid(second, other, spiffe_id=OTHER))

    by_default, chosen = load(agent.reference), load(f"{OTHER}?socket={agent.socket}")

    assert by_default.identity.leaf_der == making.der(leaf)
    assert len(by_default.warnings) == 1
    assert OTHER in by_default.warnings[0]
    assert (chosen.identity.leaf_der, chosen.warnings) == (making.der(other), ())
    with pytest.raises(ObjectNotFoundError, match="third") as caught:
        load(f"spiffe://example.org/third?socket={agent.socket}")
    assert SPIFFE_ID in caught.value.hint


def test_a_key_and_a_certificate_alone(agent: WorkloadAgent, authority: making.Authority) -> None:
    key = making.ec_key()
    leaf = authority.issue(key)
    agent.push(svid(key, leaf))
    reference = IdentityReference(certificate=agent.reference, private_key=agent.reference)

    assert registry.load_certificate(reference).der == making.der(leaf)
    assert registry.load_signing_key(reference).key.sign(b"message")


@pytest.mark.parametrize(
    ("code", "text", "words", "hint"),
    [
        ("PERMISSION_DENIED", "no identity issued", "no identity for this process: no identity issued", "entry create"),
        ("UNAVAILABLE", "no\nserver, 100 %", r"refused \(status 14\): no\?server, 100 %", "agent runs"),
    ],
)
def test_a_refusal_says_why(code: str, text: str, words: str, hint: str, agent: WorkloadAgent) -> None:
    agent.refuse(code, text)
    with pytest.raises(WorkloadApiError, match=words) as caught:
        load(agent.reference)
    assert hint in caught.value.hint


def test_an_agent_without_an_svid_for_us(agent: WorkloadAgent) -> None:
    agent.push()
    with pytest.raises(WorkloadApiError, match="no SVID for this process"):
        load(agent.reference)


def test_there_is_no_agent(agent: WorkloadAgent) -> None:
    agent.stop()
    with pytest.raises(WorkloadApiError, match="No such file") as caught:
        load(agent.reference)
    assert "SPIFFE_ENDPOINT_SOCKET" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"\0\0\1\1\4\0\0\0\1\xff", "speaks no Workload API"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "hung up"),
        (b"", "hung up"),
        (None, "no answer within"),
    ],
    ids=["broken HTTP/2", "another program", "closed at once", "silence"],
)
def test_what_answers_is_no_agent(
    said: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "other.sock")
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                if said is None:
                    done.wait(20)
                else:
                    connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr(workload_api.fetch, "__defaults__", (0.3,))
        with pytest.raises(WorkloadApiError, match=words):
            load(f"spiffe:unix:{path}")
        done.set()
        thread.join()


def test_an_svid_without_a_subject_is_refused_before_the_service_does(
    agent: WorkloadAgent, authority: making.Authority
) -> None:
    key = making.ec_key()
    agent.push(svid(key, authority.issue(key, making.Wanted(subject=x509.Name([])))))
    with pytest.raises(UnusableLeafError, match="empty subject"):
        load(agent.reference)


def test_an_svid_with_another_ones_key(agent: WorkloadAgent, authority: making.Authority) -> None:
    agent.push(svid(making.ec_key(), authority.issue(making.ec_key())))
    with pytest.raises(KeyMismatchError):
        load(agent.reference)


def test_a_certificate_that_is_none(agent: WorkloadAgent) -> None:
    entry = svid(making.ec_key())
    entry[1] = "MAA="  # an empty SEQUENCE
    agent.push(entry)
    with pytest.raises(UnreadableCertificateError, match=SPIFFE_ID):
        load(agent.reference)


@pytest.mark.parametrize("key", ["/etc/pki/host.key", "spiffe://example.org/other"])
def test_a_key_from_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="together with its key"):
        load("spiffe:", key)


def test_nothing_names_a_socket() -> None:
    with pytest.raises(UsageError, match="SPIFFE_ENDPOINT_SOCKET is not set"):
        load("spiffe:")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "rolesanywhere_helper.identity.workload_api", raising=False)
    monkeypatch.delattr("rolesanywhere_helper.identity.workload_api", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "h2.config", None)
    with pytest.raises(MissingExtraError) as caught:
        load("spiffe:unix:/nowhere")
    assert caught.value.hint == "pip install 'rolesanywhere-helper[spiffe]'"


def test_errors_and_reprs_do_not_show_the_key(agent: WorkloadAgent, authority: making.Authority) -> None:
    key = making.ec_key()
    agent.push(svid(key, authority.issue(key)))
    found = workload_api.fetch(str(agent.socket))
    secret = str(key.private_numbers().private_value)

    assert SPIFFE_ID in repr(found)
    assert "private_key" not in repr(found)
    assert secret not in repr(load(agent.reference))
    with pytest.raises(HelperError) as caught:
        load(f"spiffe://example.org/third?socket={agent.socket}")
    assert secret not in str(caught.value)
