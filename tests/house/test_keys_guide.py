"""The matrix in docs/keys.md, held against the backends that the contract suite runs and what pyproject.toml offers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rolesanywhere_helper.config.flags import SCHEMES, SECRET_SCHEMES, SECRETS
from tests.contract import test_identity as contract

CHECKOUT = Path(__file__).parents[2]
FAMILIES = {"RSA": "RSA", "EC": "EC", "ML-DSA": "ML-DSA"}
GUIDE = (CHECKOUT / "docs" / "keys.md").read_text(encoding="utf-8")


def matrix(guide: str) -> dict[str, dict[str, str]]:
    """Return the first table of the guide: by source, the cells by column."""
    lines = [line for line in guide.partition("\n| source |")[2].partition("\n\n")[0].splitlines() if line]
    columns = [cell.strip() for cell in ("source |" + lines[0]).strip("| ").split("|")]
    rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines[2:])
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def key_types(backend: str) -> set[str]:
    """Return the families of keys with which the contract suite runs a backend."""
    kinds = {kind for name, kind in contract.PAIRS if name == backend}
    return {family for family in FAMILIES if any(kind.startswith(family) for kind in kinds)}


def drift(guide: str) -> list[str]:
    """Say where the matrix and the suite differ."""
    told = matrix(guide)
    run = {name for name, _ in contract.PAIRS}
    wrong = [f"{name}: told or run, not both" for name in sorted(set(told) ^ run)]
    return wrong + [
        f"{name}: {row['key types']}"
        for name, row in told.items()
        if name in run and set(row["key types"].split(", ")) != key_types(name)
    ]


def test_the_matrix_tells_what_the_contract_suite_runs() -> None:
    assert drift(GUIDE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| PKCS#12 | `--cert", "| PKCS#13 | `--cert"),
        ("| directory | `--cert-directory DIR", "| folder | `--cert-directory DIR"),
        ("| RSA, EC | in the token", "| RSA, EC, ML-DSA | in the token"),
    ],
)
def test_a_matrix_that_has_drifted_is_noticed(old: str, new: str) -> None:
    assert old in GUIDE
    assert drift(GUIDE.replace(old, new)) != []


def test_the_extras_are_those_that_there_are() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    told = {row["extra"].strip("`") for row in matrix(GUIDE).values()} - {"-"}
    asked = {
        name
        for file in (CHECKOUT / "rolesanywhere_helper" / "identity").glob("*.py")
        for name in re.findall(r"MissingExtraError\.named\([^)]*\"(\w+)\"\)", file.read_text(encoding="utf-8"))
    }

    assert told <= set(extras)
    assert told == asked


def test_every_scheme_and_every_secret_is_told() -> None:
    for scheme in (*SCHEMES, *SECRET_SCHEMES):
        assert f"{scheme}:" in GUIDE, scheme
    for secret in SECRETS:
        assert f"--{secret}-file" in GUIDE, secret
