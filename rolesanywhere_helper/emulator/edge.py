"""HTTP for the emulator, with aiohttp: bytes to an :class:`Arrival`, and a :class:`Reply` to bytes."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from rolesanywhere_helper.emulator import control, unforeseen
from rolesanywhere_helper.emulator.answers import json_refusal, xml_refusal
from rolesanywhere_helper.emulator.arrival import Arrival
from rolesanywhere_helper.emulator.service import Reply, Service
from rolesanywhere_helper.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rolesanywhere_helper.emulator.directory import Directory

_LARGEST_BODY = 1 << 20
# Five intermediates with ML-DSA-87 keys and signatures are over 50 KB of base64.
_LARGEST_HEADER = 1 << 17
# Answers that a fault delays are not waited for.
_SHUTDOWN_SECONDS = 0.5
# Closing takes a round of the loop for the socket, and one for the TLS above it.
_ROUNDS_TO_CLOSE = 2


def new_runner(service: Service, sleep: Callable[[float], Awaitable[None]]) -> web.AppRunner:
    """Make what serves; ``sleep`` waits when a fault delays an answer."""
    return web.AppRunner(
        _application(service, sleep),
        access_log=None,
        auto_decompress=False,  # the signature is over the body as sent
        max_line_size=_LARGEST_HEADER,
        max_field_size=_LARGEST_HEADER,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )


async def listen(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None) -> int:
    """Open the socket and return its port.

    Raises:
        ConfigurationError: the address is taken, or not this machine's.

    """
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        raise ConfigurationError(
            f"the emulator cannot listen on {host} port {port}: {error.strerror}",
            "choose another --port, or 0 for a free one",
        ) from error
    return int(runner.addresses[0][1])


async def close(runner: web.AppRunner) -> None:
    """Stop listening and close every connection."""
    server = runner.server
    transports = [connection.transport for connection in server.connections] if server else []
    await runner.cleanup()
    # A client that keeps its connection would be waited for to say goodbye (TLS), after the loop has ended.
    for transport in transports:
        if transport is not None:
            transport.abort()
    for _ in range(_ROUNDS_TO_CLOSE):
        await asyncio.sleep(0)


def _application(service: Service, sleep: Callable[[float], Awaitable[None]]) -> web.Application:
    async def handle(request: web.Request) -> web.StreamResponse:
        body, remote = await request.read(), request.remote or ""
        arrival = Arrival(request.method, request.raw_path, tuple(request.raw_headers), body, remote)
        reply, date = _judge(arrival, service), service.now()
        if reply.delay_seconds:
            await sleep(reply.delay_seconds)
        return await _send(request, reply, date)

    application = web.Application(client_max_size=_LARGEST_BODY)
    application.router.add_route("*", "/{path:.*}", handle)
    return application


def _judge(arrival: Arrival, service: Service) -> Reply:
    try:
        if arrival.path.startswith(control.PREFIX):
            return Reply(control.answer(arrival, service))
        return service.handle(arrival)
    except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
        refuse = xml_refusal if arrival.path == "/" else json_refusal
        return Reply(refuse(unforeseen.refusal_of(error, arrival.path)))


async def _send(request: web.Request, reply: Reply, now: float) -> web.StreamResponse:
    answer = reply.answer
    headers = {
        "Date": formatdate(now, usegmt=True),
        "Content-Type": answer.content_type,
        "Cache-Control": "no-store",
        "x-amzn-RequestId": str(uuid.uuid4()),
        **dict(answer.headers),
    }
    if not reply.truncate:
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    broken = web.StreamResponse(status=answer.status, headers=headers)
    broken.content_length = len(answer.body)
    await broken.prepare(request)
    await broken.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return broken


def tls_context(directory: Directory) -> ssl.SSLContext:
    """Load the server's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory.file("tls.pem"), directory.file("tls.key"))
    return context
