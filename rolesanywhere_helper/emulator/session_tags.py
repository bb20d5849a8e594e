"""Session tags from a certificate, as far as they can fail (user guide, "trust model", attribute mapping).

Every attribute of issuer, subject and alternative names becomes a tag. A value that no session tag can hold keeps the
session from being made.
"""

from __future__ import annotations

import unicodedata

from cryptography import x509

_LONGEST_VALUE = 256
_PUNCTUATION = frozenset("_.:/=+-@")


def unmappable(leaf: x509.Certificate) -> str | None:
    """Return the end of the refusal, naming what cannot be a tag; None if everything can.

    How the service numbers them is known from one report only (``SAN: [ DNS/2 ]``): a name after the first of its type
    is shown with its place, counted from one.
    """
    issuer, subject, names = _bad_parts(leaf.issuer), _bad_parts(leaf.subject), _bad_names(leaf)
    if not issuer and not subject and not names:
        return None
    return (
        "Some attributes failed to be mapped into session tags. "
        f"Issuer: [ {', '.join(issuer)} ]; Subject: [ {', '.join(subject)} ]; SAN: [ {', '.join(names)} ]"
    )


def _bad_parts(name: x509.Name) -> list[str]:
    values: dict[str, list[str]] = {}
    for attribute in name:
        value = attribute.value
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        values.setdefault(attribute.rfc4514_attribute_name, []).append(text)
    # Several attributes of one type make one tag.
    return [part for part, found in values.items() if not _fits("/".join(found))]


def _bad_names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found: list[str] = []
    by_type = {
        "DNS": names.get_values_for_type(x509.DNSName),
        "URI": names.get_values_for_type(x509.UniformResourceIdentifier),
    }
    for kind, values in by_type.items():
        places = (place for place, value in enumerate(values, 1) if not _fits(value))
        found += [kind if place == 1 else f"{kind}/{place}" for place in places]
    for directory_name in names.get_values_for_type(x509.DirectoryName)[:1]:
        found += [f"Name/{part}" for part in _bad_parts(directory_name)]
    return found


def _fits(value: str) -> bool:
    r"""Tell whether this matches STS's pattern for tag values, ``[\p{L}\p{Z}\p{N}_.:/=+\-@]*``."""
    return len(value) <= _LONGEST_VALUE and all(
        character in _PUNCTUATION or unicodedata.category(character)[0] in "LZN" for character in value
    )
