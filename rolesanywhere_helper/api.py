"""The library: credentials inside a Python program, without a line in an AWS configuration file.

.. code-block:: python

    import rolesanywhere_helper

    s3 = rolesanywhere_helper.boto3_session(session="deploy").client("s3")

The keyword arguments (:class:`SessionArguments`) are the flags of the command line by the same names, and mean the
same; what is not given comes from ``ROLESANYWHERE_HELPER_…`` variables and the configuration file, as it does there.
docs/python.md has more.

Everything raised on purpose is a :class:`rolesanywhere_helper.errors.HelperError`, but for the ``TypeError`` of an
argument that there is not, or of a wrong type. Nobody is asked at a terminal, no process is started in the background,
and all of it may be used by many threads.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.config.flags import AGENT_SOCKET, SECRETS, SESSION_FLAGS, Flag, Kind
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import MissingExtraError

if TYPE_CHECKING:
    from typing import Unpack

    import boto3
    from aiobotocore.session import AioSession

    from rolesanywhere_helper.config.settings import LoadedSettings

__all__ = ["Credentials", "SessionArguments", "aiobotocore_session", "boto3_session", "credentials"]
StrPath = str | os.PathLike[str]
LEFT_OUT: Mapping[str, str] = {
    **{
        name: f"a secret among the arguments is shown by tracebacks: name the place where it is, {name}-file"
        for name in SECRETS
    },
    "system-store-name": "this platform has no certificate store",
}
"""The session flags that are no arguments here, each with the reason."""
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_log = logging.getLogger(__name__)


class SessionArguments(TypedDict, total=False):
    """The flags of the command line as keyword arguments; None is as good as not given.

    ``config`` is the configuration file. Paths may be URIs where the flag takes one (docs/keys.md).
    """

    session: str | None
    config: StrPath | None
    certificate: StrPath | None
    private_key: StrPath | None
    intermediates: StrPath | None
    pkcs8_password_file: StrPath | None
    pkcs12_password_file: StrPath | None
    pkcs11_pin_file: StrPath | None
    tpm_key_password_file: StrPath | None
    tpm_parent_password_file: StrPath | None
    no_tpm_key_password: bool | None
    pkcs11_lib: StrPath | None
    reuse_pin: bool | None
    cert_selector: str | None
    cert_directory: StrPath | None
    use_latest_expiring_certificate: bool | None
    trust_anchor_arn: str | None
    profile_arn: str | None
    role_arn: str | None
    session_duration: int | str | None
    role_session_name: str | None
    instance_properties: Mapping[str, str] | None
    region: str | None
    endpoint: str | None
    use_fips_endpoint: bool | None
    use_dualstack_endpoint: bool | None
    ca_bundle: StrPath | None
    with_proxy: bool | None
    no_verify_ssl: bool | None
    strict_key_permissions: bool | None
    accept_insecure_private_key_file: bool | None
    no_cache: bool | None
    assume_role_arn: str | Sequence[str] | None
    external_id: str | None
    session_tags: Mapping[str, str] | None
    transitive_tag_keys: str | Sequence[str] | None
    sts_endpoint: str | None
    agent_socket: StrPath | None


def boto3_session(**arguments: Unpack[SessionArguments]) -> boto3.Session:
    """Return a boto3 session whose credentials are renewed for as long as it is used.

    Nothing is signed or sent before the first call that needs credentials. The session reads none of the user's AWS
    files, so no profile can stand in for it or lead back here; other ``AWS_…`` variables count as ever. Its region is
    ``region``, else ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, else that of the trust anchor.

    Raises:
        UsageError: the arguments are incomplete, contradictory or malformed.
        UnsafeFileError: the configuration file or CA bundle is not to be trusted.
        TypeError: there is no such argument, or it cannot be of that type.

    Calls of its clients raise ``HelperError`` too, where there are no credentials to be had.
    """
    loaded = _load("boto3_session", arguments)
    from rolesanywhere_helper.aws.refreshing import refreshing_session  # noqa: PLC0415 - imports boto3
    from rolesanywhere_helper.wiring.library import source_of  # noqa: PLC0415 - only when called

    return refreshing_session(source_of(loaded), _region(arguments, loaded))


def aiobotocore_session(**arguments: Unpack[SessionArguments]) -> AioSession:
    """Return the same for aiobotocore: a session for one event loop, which never waits for a renewal itself.

    Raises:
        MissingExtraError: aiobotocore is not installed.
        UsageError, UnsafeFileError, TypeError: as for :func:`boto3_session`.

    """
    loaded = _load("aiobotocore_session", arguments)
    try:
        from rolesanywhere_helper.aws.aio_refreshing import aio_session  # noqa: PLC0415 - imports aiobotocore
    except ModuleNotFoundError:
        raise MissingExtraError(
            "aiobotocore_session needs aiobotocore, which is not installed", "pip install 'aiobotocore[boto3]'"
        ) from None
    from rolesanywhere_helper.wiring.library import in_threads, source_of  # noqa: PLC0415 - only when called

    return aio_session(in_threads(source_of(loaded)), _region(arguments, loaded))


def credentials(**arguments: Unpack[SessionArguments]) -> Credentials:
    """Return credentials that are valid now, from the cache or freshly made: those of ``credential-process``.

    They are one frozen value with ``access_key_id``, ``secret_access_key``, ``session_token`` and ``expires_at``
    (seconds since the epoch), and nobody renews them: ask again.

    Raises:
        HelperError: there are none to be had.
        TypeError: there is no such argument, or it cannot be of that type.

    """
    loaded = _load("credentials", arguments)
    from rolesanywhere_helper.wiring.library import source_of  # noqa: PLC0415 - only when called

    return source_of(loaded).get()


def _region(arguments: SessionArguments, loaded: LoadedSettings) -> str:
    given = next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)
    return arguments.get("region") or given or loaded.settings.spec.region


def _load(caller: str, arguments: SessionArguments) -> LoadedSettings:
    given = {name: value for name, value in arguments.items() if value is not None}
    config = given.pop("config", None)
    known = {flag.name.replace("-", "_"): flag for flag in (*SESSION_FLAGS, AGENT_SOCKET)}
    for name in given:
        if name not in known or known[name].name in LEFT_OUT:
            why = f": {LEFT_OUT[known[name].name]}" if name in known else ""
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}{why.replace('-', '_')}")
    flags = {known[name].name: _written(name, known[name], value) for name, value in given.items()}
    surroundings = Surroundings(dict(os.environ), _working_directory(), is_root=os.geteuid() == 0)
    loaded = load_session(flags, surroundings, read_trusted, None if config is None else _path("config", config))
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    for note in loaded.notes:
        _log.info("%s", note)
    return loaded


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is wanted
    except FileNotFoundError:  # it was removed: only relative paths need it
        return ""


def _written(  # noqa: PLR0911 - one for each form of each kind
    name: str, flag: Flag, value: object
) -> str | bool | list[str]:
    """Write a value as the command line has it."""
    match flag.kind, value:
        case (Kind.SWITCH, bool()):
            return value
        case (Kind.SWITCH, _):
            raise _wrong_type(name, value)
        case (Kind.DURATION, int()) if not isinstance(value, bool):
            return str(value)
        case (Kind.PROPERTIES, Mapping()):
            return json.dumps(dict(value))
        case (Kind.PATH | Kind.REFERENCE, _):
            return _path(name, value)
        case (Kind.NAMES, ""):  # which is not as good as none: what was to name a role was empty
            return []
        case (_, str()):
            return value
        case (Kind.NAMES, Sequence()) if all(isinstance(each, str) for each in value):
            return list(value)
    raise _wrong_type(name, value)


def _path(name: str, value: object) -> str:
    if isinstance(value, str | os.PathLike):
        return os.fsdecode(value)
    raise _wrong_type(name, value)


def _wrong_type(name: str, value: object) -> TypeError:
    return TypeError(f"{name} cannot be of the type {type(value).__name__}")
