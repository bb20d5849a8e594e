"""The doors through which an identity of this process is read, and the person who may be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import EncryptedKeyError, UsageError
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.references import References

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.domain.identity_reference import HeldAs, IdentityReference, SecretSource
    from rolesanywhere_helper.identity.access import Access

_QUESTIONS: Mapping[str, str] = {
    "pkcs8-password": "Passphrase of the private key",
    "pkcs12-password": "Password of the PKCS#12 file",
    "pkcs11-pin": "PIN of the token",
    "pkcs11-key-pin": "PIN of the token again, for the signature (--reuse-pin asks once)",
    "tpm-key-password": "Password of the TPM key",
    "tpm-parent-password": "Password of the TPM key's parent",
    "ca-password": "Passphrase of the CA's key",
}
_Result = TypeVar("_Result")


def open_access(  # noqa: PLR0913 - what the doors are made of, each by name
    environment: Mapping[str, str],
    *,
    secrets: Mapping[str, str] | None = None,
    references: References | None = None,
    cache_directory: str | None = None,
    in_gitlab_ci: bool = False,
    is_attended: bool = True,
) -> Access:
    """Return the doors.

    ``secrets`` are those that somebody has typed in, or the daemon has brought; ``references`` is given where something
    was read through it before, which must not be read twice; ``cache_directory`` is where refused PINs are written
    down (promise 57). ``is_attended`` says that the secrets were typed in just now, and not brought by the daemon.
    """
    from rolesanywhere_helper.cache.pin_attempts import DiskPinAttempts  # noqa: PLC0415 - only when something is read
    from rolesanywhere_helper.identity.access import Access  # noqa: PLC0415 - as above

    return Access(
        references=References(environment) if references is None else references,
        secrets={} if secrets is None else secrets,
        pins=DiskPinAttempts(cache_directory, SystemClock()),
        environment=environment,
        in_gitlab_ci=in_gitlab_ci,
        is_attended=is_attended,
    )


def asking(
    call: Callable[[Mapping[str, str]], _Result], ask: Callable[[str], str | None], known: Mapping[str, str]
) -> _Result:
    """Call with the secrets that are known, and once more for each that somebody at the terminal adds.

    Raises:
        EncryptedKeyError: a secret is needed and nobody gave it.

    """
    given = dict(known)
    while True:
        try:
            return call(given)
        except EncryptedKeyError as error:
            typed = None if error.needs is None or error.needs in given else ask(question_for(error.needs))
            if typed is None or error.needs is None:
                raise
            given[error.needs] = typed


def question_for(secret: str) -> str:
    """Return what somebody is asked for a secret, by the name of its flag."""
    return f"{_QUESTIONS.get(secret, secret)}: "


def secrets_to_ask(identity: IdentityReference) -> tuple[str, ...]:
    """Name the secrets of an identity that are written as ``prompt:``."""
    return tuple(name for name, source in identity.secrets if _scheme(source) == "prompt")


def secrets_to_hold(
    identity: IdentityReference,
    references: References,
    ask: Callable[[str], str | None],
    known: Mapping[HeldAs, str],
) -> dict[HeldAs, str]:
    """Read the secrets that only this process can get at, and only once: typed in, or from variable or descriptor.

    All others are read by whoever needs them, when they are needed; those that are ``known`` are not read again.

    Raises:
        UsageError: a variable or descriptor is not there, or nobody can be asked.
        UnsafeFileError, SilentSourceError: as :meth:`References.read` raises them.

    """
    held: dict[HeldAs, str] = {}
    for name, source in identity.secrets:
        scheme, held_as = _scheme(source), identity.held_as(name)
        if held_as is None or held_as in known:
            continue
        if scheme == "prompt":
            typed = ask(question_for(name))
            if typed is None:
                raise UsageError(
                    f"--{name}-file prompt: needs a terminal to ask at, and there is none",
                    "under systemd use LoadCredential= and credential:NAME; otherwise the path of a file",
                )
            held[held_as] = typed
        elif scheme in {"env", "fd"} and source.reference is not None:
            content = references.read(source.reference).content
            held[held_as] = content.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
    return held


def _scheme(source: SecretSource) -> str | None:
    return None if source.reference is None else scheme_of(source.reference)
