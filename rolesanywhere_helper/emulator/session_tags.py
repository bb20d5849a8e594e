"""Session tags from a certificate (user guide, "Certificate attribute mapping").

A profile's mappings say which attributes of issuer, subject and alternative names become tags. A value that no session
tag can hold keeps the session from being made.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509

from rolesanywhere_helper.emulator.certificates import name_text
from rolesanywhere_helper.emulator.state import DEFAULT_MAPPINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rolesanywhere_helper.emulator.state import Tags

Mappings: TypeAlias = "Iterable[tuple[str, tuple[str, ...]]]"

MOST_TAGS = 50
_LONGEST_VALUE = 256
_PUNCTUATION = frozenset("_.:/=+-@")


def mapped(leaf: x509.Certificate, mappings: Mappings = DEFAULT_MAPPINGS) -> Tags:
    """Return the tags that the mappings make of a leaf; of each type of alternative name, the first."""
    tags: dict[str, str] = {}
    for field, specifiers in mappings:
        for attribute, values in _attributes(leaf, field, specifiers).items():
            tags[f"{field}/{attribute}"] = values[0]
    return tuple(tags.items())


def unmappable(leaf: x509.Certificate, mappings: Mappings = DEFAULT_MAPPINGS) -> str | None:
    """Return the end of the refusal, naming what cannot be a tag; None if everything that is mapped can.

    How the service numbers them is known from one report only (``SAN: [ DNS/2 ]``): a name after the first of its type
    is shown with its place, counted from one.
    """
    bad: dict[str, list[str]] = {"x509Issuer": [], "x509Subject": [], "x509SAN": []}
    for field, specifiers in mappings:
        for attribute, values in _attributes(leaf, field, specifiers).items():
            places = (place for place, value in enumerate(values, 1) if not is_value(value))
            bad[field] += [attribute if place == 1 else f"{attribute}/{place}" for place in places]
    if not any(bad.values()):
        return None
    issuer, subject, names = (", ".join(found) for found in bad.values())
    return (
        "Some attributes failed to be mapped into session tags. "
        f"Issuer: [ {issuer} ]; Subject: [ {subject} ]; SAN: [ {names} ]"
    )


def _attributes(leaf: x509.Certificate, field: str, specifiers: tuple[str, ...]) -> dict[str, list[str]]:
    """Return what the specifiers choose of a field: the attribute's name, and its values."""
    if field == "x509SAN":
        return _chosen(_alternative_names(leaf), specifiers)
    return _chosen(_parts(leaf.subject if field == "x509Subject" else leaf.issuer), specifiers)


def _chosen(attributes: dict[str, list[str]], specifiers: tuple[str, ...]) -> dict[str, list[str]]:
    def is_chosen(attribute: str) -> bool:
        return any(attribute == specifier or _every(specifier, attribute) for specifier in specifiers)

    return {attribute: values for attribute, values in attributes.items() if is_chosen(attribute)}


def _every(specifier: str, attribute: str) -> bool:
    """Tell whether a specifier is a star: of all attributes of a name (``*``) or of a directory name (``Name/*``)."""
    is_of_directory_name = attribute.startswith("Name/")
    return specifier == ("Name/*" if is_of_directory_name else "*") and attribute not in {"DNS", "URI"}


def _parts(name: x509.Name, before: str = "") -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for attribute in name:
        values.setdefault(attribute.rfc4514_attribute_name, []).append(name_text(attribute.value))
    # Several attributes of one type make one tag.
    return {f"{before}{attribute}": ["/".join(found)] for attribute, found in values.items()}


def _alternative_names(leaf: x509.Certificate) -> dict[str, list[str]]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {}
    by_type = {
        "DNS": names.get_values_for_type(x509.DNSName),
        "URI": names.get_values_for_type(x509.UniformResourceIdentifier),
    }
    found = {kind: list(values) for kind, values in by_type.items() if values}
    for directory_name in names.get_values_for_type(x509.DirectoryName)[:1]:
        found |= _parts(directory_name, "Name/")
    return found


def is_value(value: str) -> bool:
    r"""Tell whether this matches STS's pattern for tag values, ``[\p{L}\p{Z}\p{N}_.:/=+\-@]*``."""
    return len(value) <= _LONGEST_VALUE and all(
        character in _PUNCTUATION or unicodedata.category(character)[0] in "LZN" for character in value
    )
