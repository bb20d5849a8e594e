"""A boto3 session whose clients of the emulated services ask the emulator, whatever the environment says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Collection


class EmulatedSession(boto3.Session):
    """A session on top of botocore's.

    ``AWS_ENDPOINT_URL`` and its likes come before a configuration file, a proxy before everything on this machine that
    NO_PROXY does not name, and ``AWS_USE_FIPS_ENDPOINT``, ``AWS_RETRY_MODE`` and their likes are meant for all clients
    of a shell; what a client is given when it is made comes before them all.
    """

    def __init__(self, core: Any, region: str, endpoint: str, services: Collection[str]) -> None:
        super().__init__(botocore_session=core, region_name=region)
        self._endpoint = endpoint
        self._services = services

    # The stubs have one signature for each service.
    def client(  # type: ignore[override]
        self, service_name: str, region_name: str | None = None, **given: Any
    ) -> Any:
        """Make a client as boto3 does; what it is given here counts."""
        if service_name in self._services:
            given["endpoint_url"] = given.get("endpoint_url") or self._endpoint
            config = Config(
                proxies={},
                use_fips_endpoint=False,
                use_dualstack_endpoint=False,
                retries={"mode": "legacy", "total_max_attempts": 5},  # botocore's own, whatever a shell says
            )
            given["config"] = config.merge(given["config"]) if given.get("config") else config
        make: Any = super().client
        return make(service_name, region_name, **given)
