"""A client of the SPIFFE Workload API: one call over a unix socket, which answers at once and at each change.

HTTP/2 is h2's: pure Python, a sixteenth of grpcio's size and half of its start, in processes that live for a moment.
Nothing here needs a cryptography library, so that a process that only waits for changes stays small.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

from rolesanywhere_helper.domain.workload_reference import ENDPOINT_VARIABLE, endpoint_path
from rolesanywhere_helper.errors import ObjectNotFoundError, UsageError, WorkloadApiError
from rolesanywhere_helper.fastpath import sha256
from rolesanywhere_helper.protocol.workload_api import (
    EMPTY_REQUEST,
    PATH,
    PERMISSION_DENIED,
    Frames,
    decode_svids,
    status_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from h2.events import Event

    from rolesanywhere_helper.domain.workload_reference import WorkloadReference
    from rolesanywhere_helper.protocol.workload_api import Svid

ANSWER_SECONDS = 5.0
"""How long an agent may take for its first answer: a third of what a session may take in total."""

_CHUNK = 65_536
_STREAM = 1
_OK = "200"
_HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", PATH),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "rolesanywhere-helper"),
    ("workload.spiffe.io", "true"),  # without it an agent must refuse (Workload Endpoint, section 5)
)


class Call:
    """A call of FetchX509SVID. It has no end of its own: each answer is all that there is at that moment.

    Raises:
        WorkloadApiError: nobody answers at the socket.

    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._frames = Frames()
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(ANSWER_SECONDS)
            self._socket.connect(path)
            self._http.initiate_connection()
            self._http.send_headers(_STREAM, _HEADERS)
            self._http.send_data(_STREAM, EMPTY_REQUEST, end_stream=True)
            self._socket.sendall(self._http.data_to_send())
        except OSError as error:
            self._socket.close()
            self._nobody(error)

    def __enter__(self) -> Self:
        """Be open until the context ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor that can be read when :meth:`read` has something to do."""
        return self._socket.fileno()

    def read(self) -> tuple[Svid, ...] | None:
        """Take what the agent has sent; return the newest answer in it, or None if it was none yet.

        Raises:
            WorkloadApiError: the agent has refused, hung up, or speaks something else.

        """
        try:
            data = self._socket.recv(_CHUNK)
            newest = self._newest(self._http.receive_data(data))
            with suppress(BrokenPipeError):  # it has hung up: what it said before counts
                self._socket.sendall(self._http.data_to_send())
        except OSError as error:
            self._nobody(error)
        except (ProtocolError, ValueError) as error:
            raise WorkloadApiError(
                f"what answers at unix:{self._path} speaks no Workload API", "check which program's socket this is"
            ) from error
        if not data:
            raise WorkloadApiError(f"the SPIFFE agent at unix:{self._path} hung up", "see the agent's log")
        return newest

    def _newest(self, events: Iterable[Event]) -> tuple[Svid, ...] | None:
        newest: tuple[Svid, ...] | None = None
        for event in events:
            match event:
                case ResponseReceived() | TrailersReceived():
                    self._check(dict(event.headers or ()))
                case DataReceived():
                    self._http.acknowledge_received_data(event.flow_controlled_length or 0, _STREAM)
                    for message in self._frames.feed(event.data or b""):
                        newest = decode_svids(message)
                case StreamEnded() | StreamReset() | ConnectionTerminated():
                    raise WorkloadApiError(f"the SPIFFE agent at unix:{self._path} ended the call")
                case _:
                    pass
        return newest

    def _check(self, headers: Mapping[str | bytes, str | bytes]) -> None:
        status = str(headers.get("grpc-status", "0"))
        text = status_text(str(headers.get("grpc-message", "")))
        if status == str(PERMISSION_DENIED):
            raise WorkloadApiError(
                f"the SPIFFE agent at unix:{self._path} has no identity for this process: {text or 'refused'}",
                "make a registration entry whose selectors fit the user or the unit that runs this: "
                "spire-server entry create -selector unix:uid:UID …",
            )
        if status != "0" or str(headers.get(":status", _OK)) != _OK:
            raise WorkloadApiError(f"the SPIFFE agent at unix:{self._path} refused (status {status}): {text}")

    def _nobody(self, error: OSError) -> NoReturn:
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
        raise WorkloadApiError(
            f"no SPIFFE agent answers at unix:{self._path}: {reason}",
            f"check that the agent runs and that this is its socket; name another in {ENDPOINT_VARIABLE}, "
            "or with --certificate spiffe:unix:/PATH",
        ) from error


def socket_of(reference: WorkloadReference, environment: Mapping[str, str]) -> str:
    """Return the path of the agent's socket.

    Raises:
        UsageError: nothing names one, or what names it is no unix socket.

    """
    if reference.socket is not None:
        return reference.socket
    address = environment.get(ENDPOINT_VARIABLE, "")
    if not address:
        raise UsageError(
            f"nothing names the socket of the SPIFFE agent: {ENDPOINT_VARIABLE} is not set",
            "give --certificate spiffe:unix:/PATH; SPIRE's agent listens at /tmp/spire-agent/public/api.sock unless "
            "told otherwise",
        )
    return endpoint_path(address, ENDPOINT_VARIABLE)


def fetch(path: str, seconds: float = ANSWER_SECONDS) -> tuple[Svid, ...]:
    """Return what the agent has for this process, in its order; there is at least one.

    Raises:
        WorkloadApiError: there is no agent, it gives nothing to this process, or no answer in time.

    """
    ends_at = time.monotonic() + seconds
    with Call(path) as call:
        while (left := ends_at - time.monotonic()) > 0 and select.select([call], [], [], left)[0]:
            svids = call.read()
            if svids:
                return svids
            if svids is not None:
                raise WorkloadApiError(f"the SPIFFE agent at unix:{path} has no SVID for this process")
    raise WorkloadApiError(f"the SPIFFE agent at unix:{path} gave no answer within {seconds:g} s")


def fingerprint(svid: Svid) -> str:
    """Return what tells one generation of an SVID from another: a digest of its certificates, in hexadecimal."""
    digest = sha256()
    for certificate in svid.certificates:
        digest.update(certificate)
    return digest.hexdigest()


def choose(svids: tuple[Svid, ...], spiffe_id: str | None) -> tuple[Svid, tuple[str, ...]]:
    """Return the SVID of an ID, or the agent's first, and what the user should hear.

    Raises:
        ObjectNotFoundError: there is none of this ID, or none at all.

    """
    ids = ", ".join(svid.spiffe_id for svid in svids)
    if not svids:
        raise ObjectNotFoundError("the SPIFFE agent has no SVID for this process", "see its registration entries")
    if spiffe_id is not None:
        found = next((svid for svid in svids if svid.spiffe_id == spiffe_id), None)
        if found is None:
            raise ObjectNotFoundError(f"the SPIFFE agent has no SVID {spiffe_id} for this process", f"it has: {ids}")
        return found, ()
    if len(svids) == 1:
        return svids[0], ()
    what = f"the SPIFFE agent has {len(svids)} SVIDs for this process, and its first is used: {svids[0].spiffe_id}"
    return svids[0], (f"{what} (choose with --certificate SPIFFE-ID: {ids})",)
