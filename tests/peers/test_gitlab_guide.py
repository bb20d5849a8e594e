"""The GitLab guide, word for word: the daemon that it configures is run, and asked by pipelines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rolesanywhere_helper.pki.certificates import LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.fakes import gitlab
from tests.fakes.daemon import Daemon, owned, replace_file
from tests.fakes.other_user import ALICE
from tests.fakes.soft_token import PIN, SoftTokens, module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.emulated import Emulated

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples/gitlab-ci"
# What the guide's configuration names, and where a test has it.
PLACES = {
    "/etc/ssl/runner.pem": "{folder}/host.pem",
    "/etc/ssl/private/runner.key": "{folder}/host.key",
    "/etc/rolesanywhere-helper/": "{folder}/",
    "/run/rolesanywhere-helper/": "{folder}/run/",
    "/var/cache/rolesanywhere-helper/": "{folder}/run/",
    "127.0.0.1:9912": "127.0.0.1:0",
    "gitlab-runner": "{user}",
}
# The job of a project that somebody trusts too much.
REPORT = """
credentials:
  stage: build
  variables: {ROLESANYWHERE_HELPER_SESSION: shop, ROLESANYWHERE_HELPER_NO_CACHE: "true"}
  script: [rolesanywhere-helper env --format dotenv > aws.env]
  artifacts: {reports: {dotenv: aws.env}}
later:
  stage: test
  variables: {AWS_DEFAULT_REGION: us-east-1}
  script: [./deploy.sh]
"""


def guide() -> str:
    return (ROOT / "docs/gitlab-ci.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the guide's blocks of a language."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", guide(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for text in found]


def with_arns(text: str, emulated: Emulated) -> str:
    """Put an emulator's ARNs in the place of the guide's."""
    told = emulated.announcement
    text = re.sub(r"arn:aws:rolesanywhere:[^\s\"]+:trust-anchor/[^\s\"]+", str(told["trustAnchorArn"]), text)
    text = re.sub(r"arn:aws:rolesanywhere:[^\s\"]+:profile/[^\s\"]+", str(told["profileArn"]), text)
    return re.sub(r"arn:aws:iam::[^\s\"]+", str(told["roleArn"]), text)


def configure(daemon: Daemon, user: int, identity: str | None = None) -> None:
    """Write the guide's configuration, for a user, and with another of its identities if one is given."""
    text = blocks("toml")[0]
    if identity is not None:
        text = identity + text[text.index("\n[session.") :]
    for place, other in PLACES.items():
        text = text.replace(place, other.format(folder=daemon.folder, user=user))
    daemon.config.write_text(with_arns(text, daemon.emulated))
    daemon.config.chmod(0o644)


def start(daemon: Daemon) -> dict[str, str]:
    """Start it and take its key away, so that nobody else can sign; return the variable that tells jobs of it."""
    daemon.start()
    daemon.key.unlink()
    return {"ROLESANYWHERE_HELPER_CONFIG": str(daemon.config)}


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    """Return the guide's daemon, which does not run yet."""
    folder = tmp_path / "daemon"
    folder.mkdir()
    with owned(Daemon(helper, folder, emulated)) as owner:
        configure(owner, os.getuid())
        owner.environment["ROLESANYWHERE_HELPER_ENDPOINT"] = emulated.endpoint
        yield owner


@pytest.mark.parametrize(
    ("example", "jobs"),
    [("agent.yml", ["deploy"]), ("component-agent.yml", ["deploy"]), ("variables-only.yml", ["old-tool", "old-image"])],
)
def test_the_daemon_of_the_guide_has_what_its_pipelines_ask_for(
    project: gitlab.Project, daemon: Daemon, example: str, jobs: list[str]
) -> None:
    where = {**start(daemon), "AWS_DEFAULT_REGION": gitlab.REGION}
    done = project.run(project.example(example), where)

    project.assert_green(done, *jobs)
    assert list(Path(project.environment["TMPDIR"]).iterdir()) == []
    assert len(project.emulated.create_session_calls()) == 1
    # The negative control: nobody but the daemon gave them.
    daemon.stop()
    for job in jobs:
        (done.seen / f"{job}.environment").unlink()
    done = project.run(project.example(example), where)
    assert done.exit_code != 0
    assert "no daemon that has the session answers at" in done.written
    assert done.environments == {}


@pytest.mark.usefixtures("as_root")
def test_the_daemon_decides_by_the_runners_user(project: gitlab.Project, daemon: Daemon) -> None:
    """Let another user's runner ask. She may read everything, since this Python may lie where she could not."""
    pipeline = project.example("agent.yml")
    own = (project.folder, project.seen, *(Path(project.environment[name]) for name in ("HOME", "TMPDIR")))
    for each in (file for place in own for file in (place, *place.rglob("*"))):
        os.chown(each, ALICE.uid, ALICE.gid)
    # The last of them because access(2) would otherwise take the capability away.
    reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--securebits=+no_setuid_fixup")
    alice = ("setpriv", f"--reuid={ALICE.uid}", f"--regid={ALICE.gid}", "--clear-groups", *reads)
    hers = gitlab.Project(
        project.folder, project.seen, (*alice, *project.command), project.environment, daemon.emulated
    )
    where = start(daemon)

    refused = hers.run(pipeline, where)
    assert refused.exit_code != 0
    assert refused.environments == {}
    assert f"refused session=shop uid={ALICE.uid} pid=" in daemon.log

    configure(daemon, ALICE.uid)
    shutil.copy(daemon.emulated.private_key, daemon.key)
    daemon.reload()
    daemon.key.unlink()
    hers.assert_green(hers.run(pipeline, where), "deploy")
    assert f"granted session=shop uid={ALICE.uid} pid=" in daemon.log


def test_a_daemon_of_one_session_gives_no_other(project: gitlab.Project, daemon: Daemon) -> None:
    start(daemon)
    claimed = daemon.config.with_name("claimed.toml")
    text = daemon.config.read_text().replace("[session.shop]", "[session.payroll]")
    claimed.write_text(text.replace('session = "shop"', 'session = "payroll"'))
    claimed.chmod(0o644)
    pipeline = project.example("agent.yml").replace("SESSION: shop", "SESSION: payroll")
    done = project.run(pipeline, {"ROLESANYWHERE_HELPER_CONFIG": str(claimed)})

    assert done.exit_code != 0
    assert done.environments == {}


def test_a_projects_token_outlives_the_daemon_and_opens_nothing_else(project: gitlab.Project, daemon: Daemon) -> None:
    daemon.start()
    place = daemon.urls["container"]["shop"]
    [command] = [line for line in blocks("sh") if line.startswith("sudo cat ")]
    file = command.split()[-1].replace("/var/cache/rolesanywhere-helper", str(daemon.folder / "run"))
    assert file == place["tokenFile"]
    token = Path(file).read_text()
    daemon.restart()

    url = daemon.urls["container"]["shop"]["url"]
    pipeline = project.example("token.yml").replace("http://127.0.0.1:9912/shop", url)
    variables = {"AWS_EC2_METADATA_DISABLED": "true"}
    done = project.run(pipeline, {**variables, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token})
    project.assert_green(done, "deploy")
    assert token in done.secrets()
    assert project.run(pipeline, {**variables, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of-another"}).exit_code != 0


def test_a_pkcs11_token_behind_the_daemon(
    project: gitlab.Project, daemon: Daemon, peer: Callable[[str], Path], tmp_path: Path
) -> None:
    for package in ("softhsm2", "opensc"):
        peer(package)
    leaf = LeafRequest(Validity.days(time.time(), 3), (("CN", "runner"),), KeyKind.P_256)
    issued = gitlab.authority_of(daemon.emulated).issue(leaf)
    held = SoftTokens.make(tmp_path / "token")
    held.add("runner")
    held.put_key("runner", load_pem_private_key(issued.key_pem(), None), label="deploy")
    held.put_certificate("runner", x509.load_pem_x509_certificate(issued.pem), label="deploy")
    replace_file(daemon.folder / "runner.pin", PIN.encode())
    configure(daemon, os.getuid(), f'{blocks("toml")[2]}pkcs11-lib = "{module()}"\n')
    daemon.environment |= held.environment
    done = project.run(project.example("agent.yml"), start(daemon))

    project.assert_green(done, "deploy")
    assert PIN not in daemon.log


def test_a_report_with_credentials_gives_them_to_later_jobs_as_the_guide_warns(
    project: gitlab.Project, daemon: Daemon
) -> None:
    done = project.run(REPORT, start(daemon), "--shell-isolation")

    assert done.exit_code == 0, done.written
    stored = [file.read_text() for file in (project.folder / ".gitlab-ci-local").rglob("*aws.env*") if file.is_file()]
    assert stored
    assert len(done.secrets()) == 2, "deploy.sh of the later job had them"
    assert all(gitlab.found(done.secrets(), text) == done.secrets() for text in stored)


def test_what_the_component_is_told_is_what_is_asked_for(project: gitlab.Project) -> None:
    """Run it with the ARNs among its inputs, rather than in the project's variables."""
    done = project.run(with_arns(project.example("component.yml"), project.emulated), project.files())

    project.assert_green(done, "deploy")
    place = re.search(r"^ROLESANYWHERE_HELPER_CACHE_DIR=(.+)$", done.environments["deploy"], re.MULTILINE)
    assert place is not None
    assert place[1].startswith(project.environment["TMPDIR"])
    assert not (Path(project.environment["HOME"]) / ".cache").exists()
    assert list(Path(project.environment["TMPDIR"]).iterdir()) == []


def test_the_copies_of_the_component_are_its_own(project: gitlab.Project) -> None:
    look = '- stat --format="%a %n" "$rolesanywhere_place" "$rolesanywhere_place"/*'
    pipeline = with_arns(project.example("component.yml"), project.emulated).replace("- rolesanywhere-helper", look, 1)
    done = project.run(pipeline.replace(f"{look} exec -- ./deploy.sh", look), project.files(), umask=0)

    assert done.exit_code == 0, done.written
    modes = re.findall(r"> (\d{3}) \S+/rolesanywhere-helper\.[^/\s]+(/\S+)?$", done.written, re.MULTILINE)
    assert modes == [("700", ""), ("600", "/certificate"), ("600", "/private-key")]


@pytest.mark.parametrize(("name", "value"), [("role-arn", "Deploy"), ("private-key", "it's"), ("passphrase", "$(cat)")])
def test_an_input_that_cannot_be_meant_is_refused_before_any_job(
    project: gitlab.Project, name: str, value: str
) -> None:
    pipeline = project.example("component.yml").replace("    inputs:\n", "    inputs:\n      session: shop\n")
    lines = [line for line in pipeline.splitlines() if not line.startswith(f"      {name}:")]
    lines.insert(lines.index("    inputs:") + 1, f'      {name}: "{value}"')
    done = project.run("\n".join(lines), project.files())

    assert done.exit_code != 0
    assert name in done.written
    assert "starting" not in done.written


# The guide's own words


def test_every_pipeline_of_the_guide_is_an_example() -> None:
    assert set(blocks("yaml")) <= {file.read_text() for file in EXAMPLES.glob("*.yml")}
    assert len(blocks("yaml")) >= 5


def test_the_table_of_inputs_is_the_components() -> None:
    head, _, _ = (ROOT / "templates/credentials.yml").read_text().partition("\n---\n")
    inputs = set(re.findall(r"^    ([a-z0-9-]+):$", head, re.MULTILINE))
    table = guide().partition("| input | |\n|---|---|\n")[2].partition("\n\n")[0]
    told = {name for row in table.splitlines() for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}

    assert told == inputs


def test_the_lines_that_copy_a_key_are_those_of_the_example() -> None:
    [lines] = [text for text in blocks("sh") if text.startswith("SAFE_KEY=")]

    example = (EXAMPLES / "file-variables.yml").read_text()
    assert [line for line in lines.splitlines() if f"    - {line}\n" not in example] == []


def test_the_line_that_makes_one_line_of_a_key(project: gitlab.Project) -> None:
    [command] = [text for text in blocks("sh") if text.startswith("base64 ")]
    words = [project.emulated.private_key if word == "deploy.key" else word for word in command.split()]
    made = subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert made == project.lines()["AWS_PRIVATE_KEY"]


def test_the_second_daemon_and_the_runner_that_has_its_socket() -> None:
    assert any(text.split()[-1] == "rolesanywhere-helper@shop" for text in blocks("sh"))
    assert "RuntimeDirectory=rolesanywhere-helper-%i" in (ROOT / "systemd/rolesanywhere-helper@.service").read_text()
    [runner] = tomllib.loads(blocks("toml")[1])["runners"]
    places = [volume.split(":") for volume in runner["docker"]["volumes"]]
    assert places == [
        ["/run/rolesanywhere-helper-shop", "/run/rolesanywhere-helper-shop", "ro"],
        ["/etc/rolesanywhere-helper/shop.toml", "/etc/rolesanywhere-helper/config.toml", "ro"],
    ]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_component_needs_no_more_than_a_posix_shell(
    peer: Callable[[str], Path], tmp_path: Path, shell: str
) -> None:
    """Run its lines as a container without bash does, with a certificate in a file and a key in a variable."""
    lines = (ROOT / "templates/credentials.yml").read_text().partition("    - |\n")[2].partition("  after_script:")[0]
    given = {"certificate": "CERTIFICATE", "private-key": "KEY"}
    script = re.sub(r"\$\[\[ inputs\.([a-z0-9-]+) \]\]", lambda name: given.get(name[1], ""), textwrap.dedent(lines))
    (tmp_path / "given.pem").write_text("certificate")
    (tmp_path / "given.pem").chmod(0o666)
    variables = {"CERTIFICATE": str(tmp_path / "given.pem"), "KEY": "key", "CI_JOB_ID": "7", "TMPDIR": str(tmp_path)}
    command = [str(peer(shell)), "-euc", f'{script}\nprintenv KEY || echo "$rolesanywhere_place"']
    environment = {**variables, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, umask=0, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    place = Path(done.stdout.strip())
    found = {file.name: (file.stat().st_mode & 0o777, file.read_text().strip()) for file in place.iterdir()}
    assert found == {"certificate": (0o600, "certificate"), "private-key": (0o600, "key")}
    assert place.stat().st_mode & 0o777 == 0o700
