from __future__ import annotations

import asyncio
import http.client
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator import control
from rolesanywhere_helper.emulator.arrival import Arrival
from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.unit.emulator.signing import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulator.conftest import Bench


def _order(bench: Bench, **fault: Any) -> None:
    assert call(bench.endpoint, "POST", "/_emulator/faults", fault).status == 200


def test_a_status_counts_down(bench: Bench) -> None:
    _order(bench, status=500, times=2)
    assert [bench.create().status for _ in range(4)] == [500, 500, 201, 201]


def test_without_times_a_fault_stays_until_it_is_cleared(bench: Bench) -> None:
    _order(bench, status=503)
    assert [bench.create().status for _ in range(3)] == [503, 503, 503]
    assert call(bench.endpoint, "DELETE", "/_emulator/faults").status == 200
    assert bench.create().status == 201


def test_keys_combine_within_a_fault_and_between_faults(bench: Bench) -> None:
    _order(bench, status=429, type="ThrottlingException", message="Rate exceeded")
    _order(bench, headers={"Retry-After": "2"}, times=1)
    first, second = bench.create(), bench.create()
    assert first.refusal == second.refusal == (429, "ThrottlingException", "Rate exceeded")
    assert first.headers["Retry-After"] == "2"
    assert second.headers["Retry-After"] is None


def test_a_message_alone_is_a_403(bench: Bench) -> None:
    _order(bench, message="Certificate revoked", times=1)
    assert bench.create().refusal == (403, "AccessDeniedException", "Certificate revoked")
    assert bench.create().status == 201


def test_a_body_takes_the_answers_place(bench: Bench) -> None:
    _order(bench, body="<html>a captive portal</html>", status=200)
    reply = bench.create()
    assert (reply.status, reply.body) == (200, b"<html>a captive portal</html>")


def test_a_delay_is_waited_for_after_the_request_is_listed(open_bench: Callable[..., Bench]) -> None:
    slept: list[tuple[float, int]] = []
    bench: Bench

    async def sleep(seconds: float) -> None:
        slept.append((seconds, len(bench.emulator._emulator.service.journal.documents())))

    bench = open_bench(sleep=sleep)
    _order(bench, delaySeconds=5, times=1)
    assert bench.create().status == 201
    assert bench.create().status == 201
    assert slept == [(5, 1)]


def test_credentials_expire_as_ordered(bench: Bench) -> None:
    _order(bench, expiresInSeconds=-1)
    credentials = bench.create().json["credentialSet"][0]["credentials"]
    _order(bench, expiresInSeconds=240)
    later = bench.create().json["credentialSet"][0]["credentials"]
    assert credentials["expiration"] < later["expiration"]


def test_a_truncated_answer_breaks_off(bench: Bench) -> None:
    _order(bench, truncate=True, times=1)
    with pytest.raises(http.client.IncompleteRead) as caught:
        bench.create()
    assert caught.value.partial.startswith(b'{"credentialSet"')
    assert bench.create().status == 201


def test_a_fault_applies_to_its_operation_only(bench: Bench) -> None:
    _order(bench, operation="AssumeRole", status=500)
    assert bench.create().status == 201
    reply = call(bench.endpoint, "POST", "/", None)
    assert reply.status == 400
    form = "/?Action=AssumeRole&Version=2011-06-15"
    refused = call(bench.endpoint, "GET", form)
    assert (refused.status, b"<Code>InternalServerException</Code>" in refused.body) == (500, True)


NONSENSE: list[tuple[Any, str]] = [
    ({}, "at least one key"),
    ([], "a JSON object"),
    ({"statsu": 500}, "unknown keys: statsu; known: operation"),
    ({"status": "500"}, "status has to be a whole number from 200 to 599"),
    ({"status": 99}, "status has to be"),
    ({"times": 0}, "times has to be a whole number from 1 to 1000000"),
    ({"times": True}, "times has to be"),
    ({"delaySeconds": -1}, "delaySeconds has to be a number from 0 to 86400"),
    ({"delaySeconds": 1e300}, "delaySeconds has to be"),
    ({"delaySeconds": float("nan")}, "delaySeconds has to be"),
    ({"operation": "ListBuckets"}, "operation has to be the name of an operation"),
    ({"operation": []}, "operation has to be"),
    ({"headers": {"X": "a\r\nb"}}, "headers has to be"),
    ({"headers": {"X Y": "a"}}, "headers has to be"),
    ({"headers": {"Content-Length": "5"}}, "other than content-length and transfer-encoding"),
    ({"type": "a\r\nb"}, "type has to be 1 to 256 printable ASCII characters"),
    ({"type": ""}, "type has to be"),
    ({"body": "\ud800"}, "body has to be text"),
    ({"message": 5}, "message has to be text"),
    ({"truncate": 1}, "truncate has to be true or false"),
    ({"expiresInSeconds": 10**12}, "expiresInSeconds has to be a whole number from -315360000 to 315360000"),
    ({"expiresInSeconds": 0.5}, "expiresInSeconds has to be"),
    ({"status": 500, "times": 0, "truncate": "no"}, "1000000; truncate has to be"),
]


def test_a_fault_that_makes_no_sense_is_refused_with_all_that_is_wrong(bench: Bench) -> None:
    for fault, said in NONSENSE:
        refused = call(bench.endpoint, "POST", "/_emulator/faults", fault)
        assert refused.refusal[:2] == (400, "ValidationException"), fault
        assert said in refused.refusal[2]
    assert bench.create().status == 201


def test_the_furthest_values_of_a_fault_can_be_answered_with(bench: Bench) -> None:
    _order(bench, expiresInSeconds=315_360_000, times=1)
    _order(bench, operation="AssumeRole", type="x" * 256, message="\x00<&", status=599)
    assert bench.create().json["credentialSet"][0]["credentials"]["expiration"].startswith("20")
    assert call(bench.endpoint, "GET", "/?Action=AssumeRole&Version=2011-06-15").status == 599


# The list of requests, and who may ask for it


def test_the_list_tells_what_happened_and_no_secret(bench: Bench) -> None:
    request = bench.signed(body={"roleSessionName": "deploy"})
    granted = bench.send(request).json["credentialSet"][0]["credentials"]
    bench.create(body={"durationSeconds": 5})
    listed = call(bench.endpoint, "GET", "/_emulator/requests")
    first, second = listed.json
    assert first["operation"] == "CreateSession"
    assert (first["status"], first["error"], first["accessKeyId"]) == (201, None, granted["accessKeyId"])
    assert (first["roleArn"], first["roleSessionName"]) == (bench.arns["roleArn"], "deploy")
    assert first["serial"].isdecimal()
    assert (second["status"], second["accessKeyId"]) == (400, None)
    assert "durationSeconds" in second["error"]
    signature = request.header("Authorization").rpartition("=")[2]
    for secret in (granted["secretAccessKey"], granted["sessionToken"], signature):
        assert secret.encode() not in listed.body
    assert call(bench.endpoint, "DELETE", "/_emulator/requests").status == 200
    assert call(bench.endpoint, "GET", "/_emulator/requests").json == []


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "10.0.0.1:80"}, {"Host": "127.0.0.1.evil.example"}, {"Origin": "http://evil"}],
    ids=str,
)
def test_a_browser_elsewhere_cannot_use_the_control_routes(bench: Bench, headers: dict[str, str]) -> None:
    assert call(bench.endpoint, "GET", "/_emulator/requests", **headers).status == 403
    assert call(bench.endpoint, "POST", "/_emulator/faults", {"status": 500}, **headers).status == 403
    assert bench.create().status == 201


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:9911", "LOCALHOST:80"])
def test_a_loopback_host_can(bench: Bench, host: str) -> None:
    assert call(bench.endpoint, "GET", "/_emulator/requests", Host=host).status == 200


@pytest.mark.parametrize(("remote", "status"), [("127.0.0.2", 200), ("::1", 200), ("192.0.2.7", 403), ("", 403)])
def test_another_machine_cannot_pretend_to_be_this_one(bench: Bench, remote: str, status: int) -> None:
    arrival = Arrival("GET", "/_emulator/requests", ((b"Host", b"localhost"),), b"", remote)
    assert control.answer(arrival, bench.emulator._emulator.service).status == status


def test_other_control_routes_are_404(bench: Bench) -> None:
    assert call(bench.endpoint, "PUT", "/_emulator/faults", {"status": 500}).status == 404
    assert call(bench.endpoint, "GET", "/_emulator/secrets").status == 404


def test_an_answer_that_is_still_delayed_does_not_keep_the_emulator_from_ending(
    tmp_path: Path, made_directory: Path
) -> None:
    directory = Path(shutil.copytree(made_directory, tmp_path / "emulator"))
    waiting = threading.Event()
    outcome: list[BaseException] = []

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    def ask(endpoint: str) -> None:
        try:
            call(endpoint, "POST", "/sessions", {})
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    with running(Settings(directory), sleep=sleep) as emulator:
        emulator.set_fault(delaySeconds=600)
        client = threading.Thread(target=ask, args=(emulator.endpoint,))
        client.start()
        assert waiting.wait(10)
    client.join(10)
    assert len(outcome) == 1
