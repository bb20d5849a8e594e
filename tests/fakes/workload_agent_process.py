"""The process behind :mod:`tests.fakes.workload_agent`: a SPIFFE Workload API with gRPC's own server.

Each line on standard input is a JSON object, ``{"svids": [[ID, certificates, key], …]}`` (base64 of DER) or
``{"status": [CODE, TEXT]}``: from then on every caller gets that, and those who are waiting are told at once. Each line
is answered with one on standard output.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"


def number(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(rest) if rest else bytes([low])


def field(tag: int, value: bytes) -> bytes:
    return number(tag << 3 | 2) + number(len(value)) + value


def response(svids: list[list[str]]) -> bytes:
    """Write an X509SVIDResponse, with a bundle and a hint, and a field that nobody knows yet."""
    messages = []
    for spiffe_id, certificates, key in svids:
        parts = (spiffe_id.encode(), base64.b64decode(certificates), base64.b64decode(key), b"bundle", b"hint")
        messages.append(b"".join(field(tag, part) for tag, part in enumerate(parts, 1)))
    return b"".join(field(1, each) for each in messages) + number(15 << 3) + number(300)


class Agent:
    """What every caller is told, and when it changes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._told: dict[str, Any] = {"svids": []}
        self._generation = 0

    def tell(self, told: dict[str, Any]) -> None:
        with self._changed:
            self._told = told
            self._generation += 1
            self._changed.notify_all()

    def fetch(self, request: bytes, context: Any) -> Iterator[bytes]:
        if request or dict(context.invocation_metadata()).get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        seen = -1
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda: self._generation != seen, timeout=0.2)  # noqa: B023 - called here only
                told, is_new, seen = self._told, self._generation != seen, self._generation
            if is_new and "status" in told:
                code, text = told["status"]
                context.abort(grpc.StatusCode[code], text)
            if is_new:
                yield response(told["svids"])


class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Knows the one method."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def service(self, details: Any) -> Any:
        return grpc.unary_stream_rpc_method_handler(self._agent.fetch) if details.method == METHOD else None


def main() -> None:
    agent = Agent()
    server = grpc.server(ThreadPoolExecutor(max_workers=32), handlers=[Handler(agent)])
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    server.start()
    for line in sys.stdin:
        agent.tell(json.loads(line))
        print("told", flush=True)
    server.stop(None).wait()


if __name__ == "__main__":
    main()
