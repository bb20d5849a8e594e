"""What ``setup --print`` prints, given to Terraform and to CloudFormation's linter."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.plugins.emulated import Emulated, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import RunHelper

WANTED = (
    "--name=build",
    "--role-name=Build.Role",
    "--subject-cn=build-7",
    "--subject-cn=%{web}-*",
    "--subject-o=Ex ample",
    "--duration=2h",
    "--policy-arn=arn:aws:iam::aws:policy/ReadOnlyAccess",
)
LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth"
PROVIDER = """
provider "aws" {{
  region                  = "us-east-1"
  profile                 = "emulator-admin"
  skip_metadata_api_check = true
  skip_region_validation  = true
  endpoints {{
    rolesanywhere = "{0}"
    iam           = "{0}"
    sts           = "{0}"
  }}
}}
"""
OVERRIDE = """
provider_installation {{
  dev_overrides {{
    "hashicorp/aws" = "{}"
  }}
  direct {{
    exclude = ["registry.terraform.io/hashicorp/aws"]
  }}
}}
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with running(Settings(tmp_path_factory.mktemp("tools") / "emulator")) as emulator:
        yield Emulated(emulator)


def printed(run_helper: RunHelper, own: Emulated, language: str, *more: str) -> str:
    done = run_helper("setup", "--ca", own.announcement["caCertificate"], "--print", language, *(more or WANTED))
    assert done.exit_code == 0, done.err
    return done.out


class Terraform:
    """Terraform in a folder, as the emulator's administrator."""

    def __init__(self, peer: Callable[[str], Path], own: Emulated, folder: Path) -> None:
        self._program = str(peer("terraform"))
        plugins = peer("terraform-provider-aws")
        self._folder = folder
        (folder / "provider.tf").write_text(PROVIDER.format(own.endpoint))
        (folder / "cli.tfrc").write_text(OVERRIDE.format(plugins))
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc"),
            "CHECKPOINT_DISABLE": "1",
            "AWS_CONFIG_FILE": str(own.announcement["awsConfig"]),
        }

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *words],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def plan(self) -> tuple[int, str]:
        """Return 0 for an empty plan, 2 for one with changes, and its text."""
        done = self("plan", "-no-color", "-input=false", "-detailed-exitcode")
        return done.returncode, done.stdout + done.stderr

    def apply(self) -> dict[str, str]:
        done = self("apply", "-no-color", "-input=false", "-auto-approve")
        assert done.returncode == 0, done.stdout + done.stderr
        return {name: told["value"] for name, told in json.loads(self("output", "-json").stdout).items()}


def test_terraform_applies_what_is_printed_and_a_second_plan_is_empty(
    own: Emulated, peer: Callable[[str], Path], run_helper: RunHelper, tmp_path: Path
) -> None:
    folder = tmp_path / "terraform"
    folder.mkdir()
    terraform = Terraform(peer, own, folder)
    (folder / "main.tf").write_text(printed(run_helper, own, "terraform"))
    assert terraform("fmt", "-check", "-diff", "main.tf").stdout == ""

    assert terraform.plan()[0] == 2
    made = terraform.apply()
    code, text = terraform.plan()
    assert (code, "No changes." in text) == (0, True), text

    # What it made is what setup itself would have made: there is nothing left to do.
    environment = {"AWS_CONFIG_FILE": str(own.announcement["awsConfig"])}
    flags = ["--ca", own.announcement["caCertificate"], "--aws-profile=emulator-admin", *WANTED]
    assert "nothing to do" in run_helper("setup", "--dry-run", *flags, env=environment).out

    ca = (own.announcement["caCertificate"], str(own.emulator.directory.file("ca.key")))
    outcomes = {}
    for name, subject in (("let-in", "/O=Ex ample/CN=build-7"), ("not-let-in", "/O=Ex ample/CN=build-8")):
        leaf, key = issue(tmp_path, ca, config=LEAF, name=name, subject=subject)
        session = own.flags(
            certificate=str(leaf), private_key=str(key), **{name: made[name] for name in made if name.endswith("_arn")}
        )
        outcomes[name] = run_helper("credential-process", "--no-cache", *session).exit_code
    assert outcomes == {"let-in": 0, "not-let-in": 1}

    # Negative control: a plan that is not empty is seen as such.
    changed = printed(run_helper, own, "terraform", *WANTED[:-2], "--duration=1h", WANTED[-1])
    (folder / "main.tf").write_text(changed)
    assert terraform.plan()[0] == 2


def test_the_cloudformation_template_passes_the_linter(
    own: Emulated, peer: Callable[[str], Path], run_helper: RunHelper, tmp_path: Path
) -> None:
    template = tmp_path / "template.json"
    template.write_text(printed(run_helper, own, "cloudformation"))
    assert lint(peer, template) == ""

    wrong: dict[str, Any] = json.loads(template.read_text())
    wrong["Resources"]["Profile"]["Properties"]["Durations"] = 1
    template.write_text(json.dumps(wrong))
    assert "Durations" in lint(peer, template)


def test_a_cloudformation_template_of_the_least_and_with_a_revocation_list_passes_the_linter(
    own: Emulated, peer: Callable[[str], Path], run_helper: RunHelper, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").write_text("passphrase")
    local = ("--with-local-ca", tmp_path / "ca", "--ca-password-file", tmp_path / "passphrase")
    environment = {"AWS_CONFIG_FILE": str(own.announcement["awsConfig"])}
    issued = run_helper("setup", *local, "--issue=a").out.strip()
    run_helper("setup", *local, "--revoke", issued, "--aws-profile=emulator-admin", env=environment)
    template = tmp_path / "template.json"
    template.write_text(run_helper("setup", *local, "--subject-cn=*", "--print=cloudformation").out)
    assert lint(peer, template) == ""

    wrong: dict[str, Any] = json.loads(template.read_text())
    wrong["Resources"]["RevocationList"]["Properties"]["Anchor"] = 1
    template.write_text(json.dumps(wrong))
    assert "Anchor" in lint(peer, template)


def lint(peer: Callable[[str], Path], template: Path) -> str:
    done = subprocess.run(
        [peer("cfn-lint"), "--regions", "us-east-1", "--", template],
        env={"PATH": "/usr/bin:/bin", "HOME": str(template.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout + done.stderr
