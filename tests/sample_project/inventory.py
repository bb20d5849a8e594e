"""A program that uses AWS as any other does: it leaves the question of credentials to boto3."""

from __future__ import annotations

import sys

import boto3


def whose_inventory() -> str:
    """Return the account whose inventory this is."""
    return str(boto3.client("sts").get_caller_identity()["Account"])


if __name__ == "__main__":
    sys.stdout.write(whose_inventory())
