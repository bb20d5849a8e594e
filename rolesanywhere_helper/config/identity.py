"""Who we are, of the values by flag name: certificate, key, and where passphrases and PINs come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.flags import SECRETS
from rolesanywhere_helper.config.values import absolute
from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource, scheme_of
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.config.values import Value, Values

    # Returns the content of a file that nobody else could have written, or None if there is none.
    Read = Callable[[str, str], bytes | None]

_VARIABLE = "env:"
_PIN = "pkcs11-pin"


def make_identity(values: Values, surroundings: Surroundings, read: Read) -> IdentityReference:
    """Make the reference of an identity of values by flag name, whatever is missing of it.

    Raises:
        UsageError: they contradict each other, or name what is not here.
        UnsafeFileError: a file that chooses a certificate is not to be trusted.

    """
    refuse_platform_stores(values)
    # A URI goes into keys of the cache, logs and questions to children: the PIN in it does not.
    certificate, its_pin = _without_pin(values.text("certificate") or "")
    private_key, pin = _without_pin(values.text("private-key") or "")
    return IdentityReference(
        certificate=certificate,
        private_key=private_key,
        intermediates=values.text("intermediates"),
        strict_key_permissions=values.switch("strict-key-permissions"),
        accept_insecure_key_file=values.switch("accept-insecure-private-key-file"),
        secrets=_with_pin(_secrets(values), pin or its_pin),
        pkcs11_library=values.text("pkcs11-lib"),
        reuse_pin=values.switch("reuse-pin"),
        no_tpm_key_password=values.switch("no-tpm-key-password"),
        certificate_selector=_selector(values.text("cert-selector"), surroundings, read),
        certificate_directory=values.text("cert-directory"),
        use_latest_expiring=values.switch("use-latest-expiring-certificate"),
    )


def refuse_platform_stores(values: Values) -> None:
    """Refuse what means a certificate store of the platform, where there is none.

    Raises:
        UsageError: such a store was asked for.

    """
    if values.text("system-store-name"):
        raise UsageError(
            "--system-store-name names a certificate store of Windows, and there is none here",
            "choose from a directory of certificates: --cert-directory DIRECTORY --cert-selector SELECTOR",
        )
    if values.text("cert-selector") and not values.text("cert-directory"):
        raise UsageError(
            "--cert-selector alone chooses from the certificate store of Windows or macOS, and there is none here",
            "name a directory of certificates to choose from: --cert-directory DIRECTORY",
        )
    if values.text("certificate") and values.text("cert-directory"):
        raise UsageError("--certificate and --cert-directory are both given", "keep the one that is meant")


def _selector(text: str | None, surroundings: Surroundings, read: Read) -> str | None:
    """Return a selector in its one form; what stands in a file stands in the settings from then on."""
    if text is None:
        return None
    from rolesanywhere_helper.domain import certificate_selector as selectors  # noqa: PLC0415 - few use one

    path = selectors.selector_file(text)
    if path is None:
        return str(selectors.parse_selector(text))
    whole = absolute(path, "--cert-selector", surroundings.working_directory)
    content = read(whole, "certificate selector")
    if content is None:
        raise UsageError(f"there is no certificate selector {whole}", "check the path after file://")
    return str(selectors.parse_json_selector(content.decode("utf-8", "replace")))


def _secrets(values: Values) -> tuple[tuple[str, SecretSource], ...]:
    found: list[tuple[str, SecretSource]] = []
    for name in SECRETS:
        text, place = values.text(name), values.text(f"{name}-file")
        if text is not None and place is not None:
            raise UsageError(f"--{name} and --{name}-file are both given", f"keep --{name}-file")
        if place is not None:
            found.append((name, SecretSource(place)))
        elif text is not None:
            found.append((name, SecretSource(text) if text.startswith(_VARIABLE) else SecretSource(text=text)))
    return tuple(found)


def _without_pin(reference: str) -> tuple[str, SecretSource | None]:
    if scheme_of(reference) != "pkcs11":
        return reference, None
    from rolesanywhere_helper.domain.pkcs11_uri import take_pin  # noqa: PLC0415 - only where there is a token

    return take_pin(reference)


def _with_pin(
    secrets: tuple[tuple[str, SecretSource], ...], pin: SecretSource | None
) -> tuple[tuple[str, SecretSource], ...]:
    """Add the PIN of a PKCS#11 URI, where no flag says another."""
    is_said = any(name == _PIN for name, _ in secrets)
    return secrets if pin is None or is_said else (*secrets, (_PIN, pin))


def warnings_of_secrets(flags: Mapping[str, object], written: Mapping[str, Value]) -> tuple[str, ...]:
    """Warn of secrets that others may read; those in variables of the environment are nobody else's."""
    typed = [name for name in SECRETS if _is_secret_itself(flags.get(name))]
    in_file = [name for name in SECRETS if _is_secret_itself(written.get(name))]
    uris = [name for name in ("certificate", "private-key") if _has_pin_value(flags.get(name))]
    uris_in_file = [name for name in ("certificate", "private-key") if _has_pin_value(written.get(name))]
    return (
        *(f"--{name}: every user of this machine can read a command line; use --{name}-file" for name in typed),
        *(f"{name} stands in the configuration file: use {name}-file" for name in in_file),
        *(
            f"pin-value in --{name}: every user of this machine can read a command line; use pin-source"
            for name in uris
        ),
        *(f"pin-value in {name} stands in the configuration file: use pin-source" for name in uris_in_file),
    )


def _has_pin_value(reference: object) -> bool:
    pin = _without_pin(reference)[1] if isinstance(reference, str) else None
    return pin is not None and pin.text is not None


def _is_secret_itself(text: object) -> bool:
    return isinstance(text, str) and bool(text) and not text.startswith(_VARIABLE)
