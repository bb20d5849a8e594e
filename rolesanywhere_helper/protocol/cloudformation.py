"""The set-up of an account as a CloudFormation template, in JSON (user guide, "AWS::RolesAnywhere")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.domain.account_setup import TAG_KEY, trust_policy

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.account_setup import Wanted

_ANCHOR, _ROLE, _PROFILE, _CRL = "TrustAnchor", "Role", "Profile", "RevocationList"
_ANCHOR_ARN = {"Fn::GetAtt": [_ANCHOR, "TrustAnchorArn"]}
_ROLE_ARN = {"Fn::GetAtt": [_ROLE, "Arn"]}
_PROFILE_ARN = {"Fn::GetAtt": [_PROFILE, "ProfileArn"]}


def render(asked: Wanted) -> str:
    """Write the template. Its outputs are named as the keys of a session in ``config.toml`` would be."""
    tags = [{"Key": TAG_KEY, "Value": asked.name}]
    role: dict[str, Any] = {
        "RoleName": asked.role_name,
        "AssumeRolePolicyDocument": trust_policy(_ANCHOR_ARN, asked.subjects),
        "MaxSessionDuration": asked.longest_role_seconds,
        "Tags": tags,
    }
    if asked.policy_arns:
        role["ManagedPolicyArns"] = list(asked.policy_arns)
    anchor = {
        "Name": asked.name,
        "Enabled": True,
        "Source": {"SourceType": "CERTIFICATE_BUNDLE", "SourceData": {"X509CertificateData": asked.bundle}},
        "Tags": tags,
    }
    profile = {
        "Name": asked.name,
        "Enabled": True,
        "RoleArns": [_ROLE_ARN],
        "DurationSeconds": asked.duration_seconds,
        "Tags": tags,
    }
    resources: dict[str, Any] = {
        _ANCHOR: {"Type": "AWS::RolesAnywhere::TrustAnchor", "Properties": anchor},
        _ROLE: {"Type": "AWS::IAM::Role", "Properties": role},
        _PROFILE: {"Type": "AWS::RolesAnywhere::Profile", "Properties": profile},
    }
    if asked.crl is not None:
        crl = {
            "Name": asked.name,
            "Enabled": True,
            "TrustAnchorArn": _ANCHOR_ARN,
            "CrlData": asked.crl,
            "Tags": tags,
        }
        resources[_CRL] = {"Type": "AWS::RolesAnywhere::CRL", "Properties": crl}
        # What was revoked must not be let in for a moment.
        resources[_ROLE]["DependsOn"] = _CRL
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"IAM Roles Anywhere for {asked.name}: trust anchor, role and profile",
        "Resources": resources,
        "Outputs": {
            "TrustAnchorArn": {"Value": _ANCHOR_ARN},
            "ProfileArn": {"Value": _PROFILE_ARN},
            "RoleArn": {"Value": _ROLE_ARN},
        },
    }
    return json.dumps(template, indent=2, ensure_ascii=False) + "\n"
