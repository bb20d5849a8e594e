"""Where the services are, beside what botocore says."""

from __future__ import annotations

import os
from itertools import product
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import Session

from rolesanywhere_helper.domain.endpoint import sts_endpoint
from rolesanywhere_helper.errors import InvalidParameterError


def test_sts_is_where_botocore_calls_it() -> None:
    variables = {"config_file": os.devnull, "credentials_file": os.devnull, "sts_regional_endpoints": "regional"}
    session: Any = Session(session_vars={name: (None, None, value, None) for name, value in variables.items()})
    regions = (("aws", "eu-central-1"), ("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-north-1"))
    for (partition, region), fips, dual in product(regions, (False, True), (False, True)):
        config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual)
        client = session.create_client(
            "sts", region, config=config, aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="example"
        )

        ours = sts_endpoint(partition, region, use_fips=fips, use_dualstack=dual)

        assert str(ours) == client.meta.endpoint_url


@pytest.mark.parametrize(("partition", "dual"), [("aws-nowhere", False), ("aws-iso-e", True)])
def test_where_there_is_none_it_is_an_error(partition: str, dual: bool) -> None:  # noqa: FBT001 - a column
    with pytest.raises(InvalidParameterError):
        sts_endpoint(partition, "eu-isoe-west-1", use_dualstack=dual)
