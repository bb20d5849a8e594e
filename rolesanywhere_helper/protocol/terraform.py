"""The set-up of an account as a Terraform configuration (HCL), for the provider ``hashicorp/aws``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.domain.account_setup import TAG_KEY, trust_policy
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.account_setup import Wanted

# hashicorp/aws has trust anchors and profiles, but no resource for this.
_CRL_COMMENT = """\
# The provider has no resource for revocation lists, and the CA has revoked certificates, which are let in until its
# list is imported: after each apply run "rolesanywhere-helper setup" with the same flags and without --print.
"""
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Expression:
    """What stands in HCL as it is, and not as a text."""

    text: str


def render(asked: Wanted) -> str:
    """Write trust anchor, role, attachments and profile, with their ARNs as outputs.

    A revocation list cannot be written: a comment says so.
    """
    label = asked.name if asked.name[0].isalpha() else f"_{asked.name}"
    tags = {TAG_KEY: asked.name}
    anchor, role = (f"{kind}.{label}" for kind in ("aws_rolesanywhere_trust_anchor", "aws_iam_role"))
    policy = _value(trust_policy(_Expression(f"{anchor}.arn"), asked.subjects), 1)
    blocks = [
        _block(
            f'resource "aws_rolesanywhere_trust_anchor" "{label}"',
            f"name    = {_value(asked.name)}",
            "enabled = true",
            f"tags = {_value(tags, 1)}",
            "",
            "source {",
            '  source_type = "CERTIFICATE_BUNDLE"',
            "  source_data {",
            # No text of PEM can end it, or begin an interpolation.
            f"    x509_certificate_data = <<EOT\n{asked.bundle.rstrip()}\nEOT",
            "  }",
            "}",
        ),
        _block(
            f'resource "aws_iam_role" "{label}"',
            f"name                 = {_value(asked.role_name)}",
            f"max_session_duration = {asked.longest_role_seconds}",
            f"tags = {_value(tags, 1)}",
            f"assume_role_policy = jsonencode({policy})",
        ),
        *(
            _block(
                f'resource "aws_iam_role_policy_attachment" "{label}-{number}"',
                f"role       = {role}.name",
                f"policy_arn = {_value(arn)}",
            )
            for number, arn in enumerate(asked.policy_arns, 1)
        ),
        _block(
            f'resource "aws_rolesanywhere_profile" "{label}"',
            f"name             = {_value(asked.name)}",
            "enabled          = true",
            f"role_arns        = [{role}.arn]",
            f"duration_seconds = {asked.duration_seconds}",
            f"tags = {_value(tags, 1)}",
        ),
        *(
            _block(f'output "{name}_arn"', f"value = {resource}.arn")
            for name, resource in (
                ("trust_anchor", anchor),
                ("profile", f"aws_rolesanywhere_profile.{label}"),
                ("role", role),
            )
        ),
    ]
    return "\n".join(blocks if asked.crl is None else [_CRL_COMMENT, *blocks])


def _block(head: str, *lines: str) -> str:
    """Write a block; of what runs over several lines only the first one is indented here."""
    return "\n".join([f"{head} {{", *(f"  {line}" if line else "" for line in lines), "}", ""])


def _value(value: Any, depth: int = 0) -> str:
    """Write a value: texts, lists of them, objects, expressions."""
    if isinstance(value, _Expression):
        return value.text
    if isinstance(value, dict):
        outer, inner = "  " * depth, "  " * (depth + 1)
        members = (f"{inner}{_key(key)} = {_value(member, depth + 1)}" for key, member in value.items())
        return "\n".join(["{", *members, f"{outer}}}"])
    if isinstance(value, list):
        return f"[{', '.join(_value(each, depth) for each in value)}]"
    # A text of JSON is one of HCL, where interpolation and directives have been taken their meaning.
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def _key(name: str) -> str:
    return name if _KEY.fullmatch(name) else _value(name)
