"""Passphrases and PINs, read when they are needed, from where the user said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import EncryptedKeyError, WrongSecretError
from rolesanywhere_helper.system.inputs import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.identity_reference import SecretSource
    from rolesanywhere_helper.system.references import References


class Passphrases:
    """The secrets of one identity by the name of their flag; none is kept here after it was read.

    Args:
        sources: Where they come from (:attr:`IdentityReference.secrets`).
        references: Reads those places.
        given: What somebody has typed in already, or the daemon has brought, by the same names.

    """

    def __init__(
        self, sources: tuple[tuple[str, SecretSource], ...], references: References, given: Mapping[str, str]
    ) -> None:
        self._sources = dict(sources)
        self._references = references
        self._given = given

    def is_known(self, name: str) -> bool:
        """Tell whether there is a source for a secret, so that nobody need be asked."""
        return name in self._given or (name in self._sources and not self._must_be_asked(name))

    def read(self, name: str) -> bytes | None:
        """Return a secret, without the one newline at the end of a file; None if nobody said where it is.

        Raises:
            EncryptedKeyError: somebody has to be asked (``prompt:``).
            WrongSecretError: its file cannot be read.
            UnsafeFileError, UsageError, SilentSourceError: as :meth:`References.read` raises them.

        """
        if name in self._given:
            return self._given[name].encode("utf-8", "surrogateescape")
        source = self._sources.get(name)
        if source is None:
            return None
        if source.text is not None:
            return source.text.encode("utf-8", "surrogateescape")
        if self._must_be_asked(name) or source.reference is None:
            raise EncryptedKeyError(f"--{name}-file prompt: needs somebody to ask", needs=name)
        try:
            found = self._references.read(source.reference).content
        except OSError as error:
            what, hint = explain(error, source.reference)
            raise WrongSecretError(what, hint) from error
        return found.removesuffix(b"\n").removesuffix(b"\r")

    def _must_be_asked(self, name: str) -> bool:
        source = self._sources.get(name)
        reference = None if source is None else source.reference
        return reference is not None and scheme_of(reference) == "prompt"
