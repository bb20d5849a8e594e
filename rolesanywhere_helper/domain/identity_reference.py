"""Where an identity is to be found: what the user named, before anything of it is opened."""

from __future__ import annotations

from rolesanywhere_helper.frozen import dataclass, field


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a passphrase or PIN comes from.

    Either ``reference``, a path or ``env:NAME``, ``fd:N``, ``credential:NAME``, ``command:…``, ``prompt:``; or
    ``text``, the secret itself, as a command line, a variable or the daemon's question brought it.
    """

    reference: str | None = None
    text: str | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Show where it is from, and nothing that may be secret."""
        return f"SecretSource({'a text' if self.reference is None else shown_reference(self.reference)})"


HeldAs = tuple[str, str, str, str]
"""Certificate, key, the secret's name, and its source: what changes one of them needs another secret."""


@dataclass(frozen=True, slots=True)
class IdentityReference:
    """A certificate, its key and what lies between it and the trust anchor, each a path or ``scheme:…``.

    ``certificate`` or ``private_key`` is empty where the other's source holds both (PKCS#12, a token, a Workload API),
    both where ``certificate_directory`` is to be searched, by ``certificate_selector`` as it was written.
    ``strict_key_permissions`` refuses a key file that everybody may read, ``accept_insecure_key_file`` turns every
    refusal of a key file's permissions into a warning (and wins over the former). ``secrets`` are the sources of
    passphrases and PINs by the name of their flag (``pkcs8-password`` …).
    """

    certificate: str
    private_key: str
    intermediates: str | None = None
    strict_key_permissions: bool = False
    accept_insecure_key_file: bool = False
    secrets: tuple[tuple[str, SecretSource], ...] = ()
    pkcs11_library: str | None = None
    reuse_pin: bool = False
    no_tpm_key_password: bool = False
    certificate_selector: str | None = None
    certificate_directory: str | None = None
    use_latest_expiring: bool = False

    def __repr__(self) -> str:
        """Show where it is, without the words of commands, which may be secret."""
        places = (self.certificate, self.private_key, self.intermediates or "")
        return f"IdentityReference({', '.join(shown_reference(place) for place in places if place)})"

    def held_as(self, name: str) -> HeldAs | None:
        """Return under what a secret that one process alone can get at is held: whose it is, and where it is from."""
        source = self.secret(name)
        if source is None or source.reference is None:
            return None
        return self.certificate, self.private_key, name, source.reference

    def secret(self, name: str) -> SecretSource | None:
        """Return the source of a secret by the name of its flag, or None if none was given."""
        return next((source for known, source in self.secrets if known == name), None)


def shown_reference(reference: str) -> str:
    """Name a reference in an error or log: of a command only the program, since its words may be secret."""
    scheme, _, rest = reference.partition(":")
    if scheme_of(reference) != "command":
        return reference
    program = rest.split(maxsplit=1)[0] if rest.strip() else ""
    return f"{scheme}:{program if '=' not in program else '…'}"


def scheme_of(reference: str) -> str | None:
    """Return the scheme of a reference in lower case, or None for a path (RFC 3986, section 3.1).

    A single letter is the drive of a Windows path. A path whose first component has a colon must be written with
    ``./`` before it.
    """
    head, colon, _ = reference.partition(":")
    is_name = len(head) > 1 and head.isascii() and head[0].isalpha()
    return head.lower() if colon and is_name and all(each.isalnum() or each in "+.-" for each in head) else None
