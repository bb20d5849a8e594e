"""PKCS#11 URIs (RFC 7512): which token and object is meant, and where its PIN is.

Nothing of a URI but the names of its attributes is ever shown in an error: a bad one may have a PIN anywhere.
"""

from __future__ import annotations

import re

from rolesanywhere_helper.domain.identity_reference import SecretSource, scheme_of
from rolesanywhere_helper.errors import InvalidParameterError
from rolesanywhere_helper.frozen import dataclass, field

SCHEME = "pkcs11"
OBJECT_TYPES = ("cert", "private", "public", "secret-key", "data")
_PATH_NAMES = (
    *("token", "serial", "manufacturer", "model"),
    *("library-manufacturer", "library-description", "library-version"),
    *("object", "id", "type"),
    *("slot-id", "slot-description", "slot-manufacturer"),
)
_QUERY_NAMES = ("pin-source", "pin-value", "module-path", "module-name")
_PINS = frozenset({"pin-source", "pin-value"})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What may stand for itself in any attribute (RFC 3986, "unreserved"); all else is written as %XX.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_EXAMPLE = "for example pkcs11:token=my-token;object=host;type=cert"
# Where a PIN may be, besides in a file, as for --pkcs11-pin-file.
_PLACES = frozenset({"env", "fd", "command", "credential", "prompt"})


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """What a URI says; None is what it does not say, so that everything fits. ``object_id`` are the bytes of CKA_ID."""

    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_description: str | None = None
    library_version: str | None = None
    object: str | None = None
    object_id: bytes | None = None
    type: str | None = None
    slot_id: int | None = None
    slot_description: str | None = None
    slot_manufacturer: str | None = None
    module_path: str | None = None
    module_name: str | None = None
    pin: SecretSource | None = field(default=None, repr=False)

    @property
    def names_library(self) -> bool:
        """Whether it says something of the library itself, which p11-kit's proxy hides."""
        named = (self.library_manufacturer, self.library_description, self.library_version)
        return any(each is not None for each in named)

    def __str__(self) -> str:
        """Write what names token and object, without PIN and module."""
        parts = [
            f"{name}={_encoded(value.encode('utf-8', 'surrogateescape'))}"
            for name, value in (
                ("model", self.model),
                ("manufacturer", self.manufacturer),
                ("serial", self.serial),
                ("token", self.token),
            )
            if value
        ]
        if self.slot_id is not None:
            parts.append(f"slot-id={self.slot_id}")
        if self.object_id:
            parts.append("id=" + "".join(f"%{byte:02X}" for byte in self.object_id))
        if self.object:
            parts.append(f"object={_encoded(self.object.encode('utf-8', 'surrogateescape'))}")
        if self.type:
            parts.append(f"type={self.type}")
        return f"{SCHEME}:{';'.join(parts)}"


def parse(reference: str) -> Pkcs11Uri:
    """Read a URI.

    Vendor attributes are refused in the path, where they narrow what is meant, and ignored in the query (section 2.4).

    Raises:
        InvalidParameterError: it is malformed, or names what is not known.

    """
    if scheme_of(reference) != SCHEME:
        raise InvalidParameterError("this is no PKCS#11 URI: it does not begin with pkcs11:", _EXAMPLE)
    path, _, query = reference.partition(":")[2].partition("?")
    said = _attributes(path, ";", _PATH_NAMES) | _attributes(query, "&", _QUERY_NAMES)
    texts = {name: _text(name, value) for name, value in said.items() if name not in {"id", "pin-value"}}
    kind = texts.get("type")
    if kind is not None and kind not in OBJECT_TYPES:
        raise InvalidParameterError("type= of a PKCS#11 URI has no meaning", f"use one of {', '.join(OBJECT_TYPES)}")
    return Pkcs11Uri(
        token=texts.get("token"),
        serial=texts.get("serial"),
        manufacturer=texts.get("manufacturer"),
        model=texts.get("model"),
        library_manufacturer=texts.get("library-manufacturer"),
        library_description=texts.get("library-description"),
        library_version=texts.get("library-version"),
        object=texts.get("object"),
        object_id=said.get("id"),
        type=kind,
        slot_id=_number(texts.get("slot-id")),
        slot_description=texts.get("slot-description"),
        slot_manufacturer=texts.get("slot-manufacturer"),
        module_path=texts.get("module-path"),
        module_name=_module_name(texts.get("module-name")),
        pin=_pin(texts.get("pin-source"), said.get("pin-value")),
    )


def take_pin(reference: str) -> tuple[str, SecretSource | None]:
    """Part a reference from the PIN that its URI brings, so that what is passed on and written down has none.

    Any other reference is returned as it is.

    Raises:
        InvalidParameterError: the URI is malformed.

    """
    if scheme_of(reference) != SCHEME:
        return reference, None
    pin = parse(reference).pin
    path, _, query = reference.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in _PINS]
    return path + (f"?{'&'.join(kept)}" if kept else ""), pin


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for position, part in enumerate(text.split(separator) if text else (), start=1):
        name, equals, value = part.partition("=")
        if not equals or not _NAME.fullmatch(name):
            where = "path" if separator == ";" else "query"
            raise InvalidParameterError(
                f"attribute {position} in the {where} of a PKCS#11 URI is not NAME=VALUE",
                f"{_EXAMPLE}; those before '?' are parted by ';', those after it by '&'; other characters are %XX",
            )
        if name in found:
            raise InvalidParameterError(f"a PKCS#11 URI has {name}= twice", "keep one of them")
        if name not in known:
            if separator == "&":
                continue  # a vendor's query attribute (RFC 7512, section 2.4)
            raise InvalidParameterError(f"a PKCS#11 URI cannot have {name}= in its path", _instead(name))
        found[name] = _decoded(name, value)
    return found


def _instead(name: str) -> str:
    if name in _QUERY_NAMES:
        return f"{name}= stands after a question mark: pkcs11:token=my-token?{name}=…"
    return f"known are {', '.join(_PATH_NAMES)}"


def _decoded(name: str, value: str) -> bytes:
    octets = value.encode("utf-8", "surrogateescape")
    if octets.count(b"%") != len(_PERCENT.findall(octets)):
        raise InvalidParameterError(
            f"{name}= of a PKCS#11 URI has a % without two hexadecimal digits", "write a percent sign as %25"
        )
    return _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), octets)


def _encoded(octets: bytes) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in octets)


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidParameterError(f"{name}= of a PKCS#11 URI is not UTF-8", "write it as p11tool does") from None
    if "\0" in text:
        raise InvalidParameterError(f"{name}= of a PKCS#11 URI has a NUL character", "leave it out")
    return text


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(1 << 64))):
        raise InvalidParameterError("slot-id= of a PKCS#11 URI is not a number", "for example slot-id=0")
    return int(text)


def _module_name(text: str | None) -> str | None:
    if text is not None and (not text or "/" in text):
        raise InvalidParameterError(
            "module-name= of a PKCS#11 URI is not the name of a module", "give the path of a file with --pkcs11-lib"
        )
    return text


def _pin(source: str | None, value: bytes | None) -> SecretSource | None:
    if source is not None and value is not None:
        raise InvalidParameterError("a PKCS#11 URI has both pin-source= and pin-value=", "keep pin-source=")
    if value is not None:
        return SecretSource(text=value.decode("utf-8", "surrogateescape"))
    return None if source is None else SecretSource(_place(source))


def _place(source: str) -> str:
    """Return where a ``pin-source`` leads: an absolute path, or a place that --pkcs11-pin-file may name."""
    scheme = scheme_of(source)
    if scheme in _PLACES:
        return source
    path = source.partition(":")[2] if scheme == "file" else source
    if scheme == "file" and path.startswith("//"):
        host, _, rest = path[2:].partition("/")
        path = f"/{rest}" if host in {"", "localhost"} else ""
    if scheme not in {None, "file"} or not path.startswith("/"):
        what = "runs a program" if source.startswith("|") else "is not the whole path of a file"
        raise InvalidParameterError(
            f"pin-source= of a PKCS#11 URI {what}",
            "for example pin-source=file:/etc/pki/token.pin, or credential:NAME, command:PROGRAM ARGUMENT",
        )
    return path
