"""Names of certificates as the official helper writes them, that is as Go does."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from rolesanywhere_helper.identity.distinguished_names import official, spellings
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES = [
    ([(NameOID.COMMON_NAME, "host")], "CN=host"),
    (
        [(NameOID.COMMON_NAME, "host"), (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COUNTRY_NAME, "DE")],
        "CN=host,O=Example,C=DE",
    ),
    (
        [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "host")],
        "CN=host,O=Example,C=DE",
    ),
    (
        [
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "a"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
            (NameOID.COMMON_NAME, "host"),
            (NameOID.SERIAL_NUMBER, "7"),
            (NameOID.LOCALITY_NAME, "L"),
            (NameOID.STATE_OR_PROVINCE_NAME, "ST"),
            (NameOID.STREET_ADDRESS, "Street 1"),
            (NameOID.POSTAL_CODE, "123"),
        ],
        "SERIALNUMBER=7,CN=host,OU=a+OU=b,POSTALCODE=123,STREET=Street 1,L=L,ST=ST",
    ),
    ([(NameOID.COMMON_NAME, ' #a,b+c"d\\e<f>g;h= ')], 'CN=\\ #a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h=\\ '),
    ([(NameOID.COMMON_NAME, "#a")], "CN=\\#a"),
    ([(NameOID.COMMON_NAME, "one"), (NameOID.COMMON_NAME, "two")], "CN=two"),
    (
        [(NameOID.EMAIL_ADDRESS, "a@b"), (NameOID.USER_ID, "me"), (NameOID.COMMON_NAME, "host")],
        "CN=host,0.9.2342.19200300.100.1.1=me,1.2.840.113549.1.9.1=a@b",
    ),
    ([(NameOID.COMMON_NAME, "Jörg")], "CN=Jörg"),
    ([], ""),
]


@pytest.mark.parametrize(("parts", "expected"), CASES, ids=[expected or "empty" for _, expected in CASES])
def test_names_as_go_writes_them(parts: list[tuple[x509.ObjectIdentifier, str]], expected: str) -> None:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    written = official(name)
    assert written == expected
    assert written in spellings(name)
    assert name.rfc4514_string() in spellings(name)


def test_older_releases_wrote_what_they_do_not_know_in_hexadecimal() -> None:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in CASES[7][0]])
    assert "CN=host,0.9.2342.19200300.100.1.1=#13026d65,1.2.840.113549.1.9.1=#0c03614062" in spellings(name)


def test_go_itself_writes_them_so(
    tmp_path: Path, peer: Callable[[str], Path], clean_environment: dict[str, str]
) -> None:
    authority = making.Authority.root()
    names = [x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]) for parts, _ in CASES]
    for number, name in enumerate(names):
        leaf = authority.issue(making.ec_key(), making.Wanted(subject=name))
        making.write(tmp_path / f"{number}.der", making.der(leaf))
    making.write(
        tmp_path / "main.go",
        b'package main\nimport ("crypto/x509";"fmt";"os")\nfunc main() { for _, path := range os.Args[1:] {\n'
        b"data, _ := os.ReadFile(path); c, err := x509.ParseCertificate(data); if err != nil { panic(err) }\n"
        b'fmt.Printf("%s\\x00", c.Subject.String()) } }\n',
    )
    environment = clean_environment | {"GOCACHE": str(tmp_path / "go"), "GOTOOLCHAIN": "local", "GO111MODULE": "off"}
    command: list[str | Path] = [peer("go"), "run", "main.go", *(f"{number}.der" for number in range(len(names)))]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\0")[:-1] == [official(name) for name in names]
