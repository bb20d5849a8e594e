"""Whether ARNs, region and endpoint agree: what each of them says of partition, region and account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor.configuration import is_asked_for, leave_out
from rolesanywhere_helper.doctor.findings import MISCONFIGURED, Finding, Hint, Step, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.doctor.configuration import Asked

# rolesanywhere.REGION.…, rolesanywhere-fips.REGION.…, and VPC endpoints: vpce-….rolesanywhere.REGION.vpce.…
_REGION_OF_HOST = re.compile(r"(?:^|\.)rolesanywhere(?:-fips)?\.([a-z]{2,4}(?:-[a-z]+){1,3}-\d{1,2})\.")


def look(settings: SessionSettings, asked: Asked) -> Iterator[Finding]:
    """Compare; that trust anchor and profile lie side by side is seen to when the settings are made."""
    findings = list(_disagreements(settings, asked))
    yield from findings
    if not findings:
        spec, endpoint = settings.spec, settings.connection.endpoint
        yield ok(
            Step.ARNS,
            f"trust anchor, profile and role agree: account {spec.role_arn.account}, region {spec.region}, "
            f"endpoint {endpoint}",
            region=spec.region,
            endpoint=str(endpoint),
        )


def _disagreements(settings: SessionSettings, asked: Asked) -> Iterator[Finding]:
    spec, endpoint = settings.spec, settings.connection.endpoint
    anchor = spec.trust_anchor_arn
    if spec.region != anchor.region:
        yield problem(
            Step.ARNS,
            "region-mismatch",
            f"CreateSession is signed for {spec.region}, and the trust anchor is in {anchor.region}",
            leave_out(asked, "region"),
            Hint("the trust anchor's ARN names the region"),
            exit_code=MISCONFIGURED,
        )
    found = _REGION_OF_HOST.search(endpoint.host)
    if found is not None and found[1] != spec.region:
        yield problem(
            Step.ARNS,
            "endpoint-mismatch",
            f"the endpoint {endpoint} is in {found[1]}, and the trust anchor in {spec.region}",
            leave_out(asked, "endpoint"),
            Hint("or give the one of the trust anchor's region (--endpoint URL)"),
            exit_code=MISCONFIGURED,
        )
    if is_asked_for(asked, "use-fips-endpoint") and "fips" not in endpoint.host and is_asked_for(asked, "endpoint"):
        yield warning(
            Step.ARNS,
            "fips-not-used",
            f"a FIPS endpoint is asked for, and so is {endpoint}: that one is used as it is",
            leave_out(asked, "use-fips-endpoint"),
            Hint("or leave the endpoint out: that of the region is chosen then"),
        )
    if spec.role_arn.account != anchor.account:
        yield problem(
            Step.ARNS,
            "account-mismatch",
            f"the role is in account {spec.role_arn.account}, and the profile in {anchor.account}",
            Hint(
                f"give as --role-arn a role of account {anchor.account} that the profile lists, and go on from there: "
                f"--assume-role-arn {spec.role_arn}"
            ),
            exit_code=MISCONFIGURED,
        )
