"""Real clients that are told where a running ``serve`` is, by documented environment variables and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes import npm_folder
from tests.peers.s3_stub import BUCKET, CONTENT, KEY, S3Stub, s3_stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.served import Served

NPM = Path(__file__).parent / "npm"
REGION = "us-east-1"
BOTO3 = 'import boto3; print(boto3.client("sts").get_caller_identity()["Arn"])'
PYARROW = """
import sys
from pyarrow.fs import FileSelector, S3FileSystem
url, bucket, key = sys.argv[1:]
store = S3FileSystem(scheme="http", endpoint_override=url.removeprefix("http://"))
assert [found.path for found in store.get_file_info(FileSelector(bucket))] == [f"{bucket}/{key}"]
print(store.open_input_stream(f"{bucket}/{key}").read().decode())
"""
# It knows the variables of the container endpoint; for IMDS its own way is an argument.
MINIO = """
import os, sys
from minio import Minio
from minio.credentials import IamAwsProvider
url, bucket, key = sys.argv[1:]
provider = IamAwsProvider(custom_endpoint=os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
store = Minio(url.removeprefix("http://"), secure=False, region=os.environ["AWS_REGION"], credentials=provider)
assert [found.object_name for found in store.list_objects(bucket)] == [key]
print(store.get_object(bucket, key).read().decode())
"""
# The object store of Rust's data tools (Polars, delta-rs, DataFusion): providers of its own.
OBSTORE = """
import sys
from obstore.store import S3Store
url, bucket, key = sys.argv[1:]
store = S3Store(bucket, endpoint=url, client_options={"allow_http": True}, retry_config={"max_retries": 0})
assert [found["path"] for batch in store.list() for found in batch] == [key]
print(bytes(store.get(key).bytes()).decode())
"""
# The C runtime, which the newer SDKs are made of: the one that Debian's AWS CLI brings.
CRT = """
import io, os, urllib.parse, urllib.request
from awscrt import auth
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientBootstrap, DefaultHostResolver, EventLoopGroup
url, body = os.environ["AWS_ENDPOINT_URL_STS"], b"Action=GetCallerIdentity&Version=2011-06-15"
fields = {"host": urllib.parse.urlsplit(url).netloc, "content-type": "application/x-www-form-urlencoded"}
loops = EventLoopGroup(1)
signing = auth.AwsSigningConfig(
    algorithm=auth.AwsSigningAlgorithm.V4, signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
    credentials_provider=auth.AwsCredentialsProvider.new_default_chain(
        ClientBootstrap(loops, DefaultHostResolver(loops))
    ),
    region=os.environ["AWS_REGION"], service="sts",
)
request = HttpRequest("POST", "/", HttpHeaders(list(fields.items())), io.BytesIO(body))
signed = dict(auth.aws_sign_request(request, signing).result(20).headers)
told = urllib.request.urlopen(urllib.request.Request(url, body, signed)).read().decode()
print(told.partition("<Arn>")[2].partition("</Arn>")[0])
"""
# A shell script without any SDK. Secrets go in by standard input: everybody reads a command line.
CURL = r"""
set -eu
ask() { curl --silent --show-error --fail "$@"; }
endpoint=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-}
if [ -n "$endpoint" ]; then
    token=$(ask --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$endpoint/latest/api/token")
    roles=$endpoint/latest/meta-data/iam/security-credentials
    role=$(ask --header "X-aws-ec2-metadata-token: $token" "$roles/")
    told=$(ask --header "X-aws-ec2-metadata-token: $token" "$roles/$role")
else
    token=$(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    told=$(ask --header "Authorization: $token" "$AWS_CONTAINER_CREDENTIALS_FULL_URI")
fi
value() { printf '%s' "$told" | sed -n 's/^ "'"$1"'": "\(.*\)",\{0,1\}$/\1/p'; }
printf 'user = "%s:%s"\nheader = "X-Amz-Security-Token: %s"\n' \
    "$(value AccessKeyId)" "$(value SecretAccessKey)" "$(value Token)" |
    ask --config - --aws-sigv4 "aws:amz:$AWS_REGION:sts" --data 'Action=GetCallerIdentity&Version=2011-06-15' \
        "$AWS_ENDPOINT_URL_STS" | sed 's/.*<Arn>\(.*\)<.Arn>.*/\1/'
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon, an S3 that believes the same emulator, and the programs of this machine."""

    served: Served
    s3: S3Stub
    environment: dict[str, str]
    peer: Callable[[str], Path]
    request: pytest.FixtureRequest

    @property
    def sts(self) -> str:
        return self.served.emulated.endpoint

    def accepted(self) -> list[str]:
        """Return who made each call that was accepted: the STS calls by their operation, the S3 calls by caller."""
        calls = self.served.emulated.emulator.requests()
        operations = [str(call["operation"]) for call in calls if call["status"] == 200]
        return operations + [seen.session_arn for seen in self.s3.seen if seen.session_arn is not None]


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    ``command`` makes a call as whoever it is, and prints its ARN (``sts``) or what the object holds. ``glues``: it puts
    paths to an endpoint without a slash between. ``knows_token_file``: its version knows that variable, and not only
    the one with the token itself. ``imds_variable`` tells it where IMDS is; None if it always asks 169.254.169.254.
    """

    name: str
    command: Callable[[Scene], list[str | Path]]
    calls_sts: bool = False
    glues: bool = False
    knows_token_file: bool = True
    imds_variable: str | None = "AWS_EC2_METADATA_SERVICE_ENDPOINT"

    def __str__(self) -> str:
        return self.name

    def by_imds(self, scene: Scene, endpoint: str = "main") -> subprocess.CompletedProcess[str]:
        assert self.imds_variable is not None
        url = scene.served.imds(endpoint) + ("/" if self.glues else "")
        return self._run(scene, {self.imds_variable: url})

    def by_container(self, scene: Scene, token: Path) -> subprocess.CompletedProcess[str]:
        variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
        given = {f"{variable}_FILE": str(token)} if self.knows_token_file else {variable: token.read_text()}
        # Nobody is to find other credentials, should this machine be in a cloud.
        closed = {"AWS_EC2_METADATA_DISABLED": "true"}
        return self._run(scene, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": scene.served.container_url(), **given, **closed})

    def by_exec(self, scene: Scene, helper: Path, home: Path) -> subprocess.CompletedProcess[str]:
        """Run it under ``exec``, for a user whose default profile asks a program that fails."""
        (home / ".aws").mkdir()
        (home / ".aws/config").write_text("[default]\ncredential_process = /bin/false\n")
        (home / ".aws/credentials").write_text("[default]\naws_access_key_id = AKIA\naws_secret_access_key = wrong\n")
        return self._run(scene, {}, helper, "exec", *scene.served.emulated.flags(), "--")

    def _run(self, scene: Scene, variables: dict[str, str], *before: str | Path) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in (*before, *self.command(scene))]
        environment = {**scene.environment, **variables}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)


def boto3(_: Scene) -> list[str | Path]:
    return [sys.executable, "-W", "ignore", "-c", BOTO3]


def aws_cli(package: str) -> Callable[[Scene], list[str | Path]]:
    """Version 1 is ``aws`` from PyPI, version 2 Debian's ``awscli``; it is too old for AWS_ENDPOINT_URL_STS."""
    flags = ["--query", "Arn", "--output", "text"]
    return lambda scene: [scene.peer(package), "sts", "get-caller-identity", "--endpoint-url", scene.sts, *flags]


def javascript(scene: Scene) -> list[str | Path]:
    sdk: Path = scene.request.getfixturevalue("javascript_sdk")
    return [scene.peer("node"), sdk / "identity.mjs"]


def rclone(scene: Scene) -> list[str | Path]:
    remote = f":s3,provider=Other,env_auth=true,region={REGION},endpoint='{scene.s3.url}':{BUCKET}/{KEY}"
    return [scene.peer("rclone"), "cat", "--retries=1", "--low-level-retries=1", remote]


def curl(scene: Scene) -> list[str | Path]:
    return [scene.peer("dash"), "-c", CURL]


def crt(scene: Scene) -> list[str | Path]:
    return [scene.peer("python3-awscrt"), "-c", CRT]


def with_python(script: str) -> Callable[[Scene], list[str | Path]]:
    return lambda scene: [sys.executable, "-W", "ignore", "-c", script, scene.s3.url, BUCKET, KEY]


# It asks again and again for six seconds, where it is told that there are no credentials.
PATIENT = Client("minio", with_python(MINIO))
# Each asks three times, a second apart, where its token is refused: boto3 stands for them.
OF_BOTOCORE = ("aws-cli-1", "aws-cli-2")
CLIENTS = [
    Client("boto3", boto3, calls_sts=True),
    Client("aws-cli-1", aws_cli("aws"), calls_sts=True),
    Client("aws-cli-2", aws_cli("awscli"), calls_sts=True, glues=True, knows_token_file=False),
    Client("javascript", javascript, calls_sts=True),
    Client("pyarrow", with_python(PYARROW)),
    PATIENT,
    Client("rclone", rclone, knows_token_file=False),
    Client("obstore", with_python(OBSTORE), imds_variable="AWS_METADATA_ENDPOINT"),
    Client("crt", crt, calls_sts=True, knows_token_file=False, imds_variable=None),
    Client("curl", curl, calls_sts=True),
]
ASK_IMDS = [client for client in CLIENTS if client.imds_variable is not None]


@pytest.fixture(scope="session")
def javascript_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder outside the checkout with the SDK for JavaScript, as npm installs it; once for all workers."""
    place = npm_folder.installed(NPM, tmp_path_factory.getbasetemp().parent, "javascript-sdk")
    shutil.copy(NPM / "identity.mjs", place)
    return place


@pytest.fixture
def scene(
    served: Served, clean_environment: dict[str, str], peer: Callable[[str], Path], request: pytest.FixtureRequest
) -> Iterator[Scene]:
    settings = {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_STS": served.emulated.endpoint,
    }
    with s3_stub(served.emulated.emulator.state.sealing_key) as s3:
        yield Scene(served, s3, {**clean_environment, **settings}, peer, request)


def assert_accepted(scene: Scene, client: Client, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    account, role = (str(scene.served.emulated.announcement["roleArn"]).split(":")[4], "EmulatorRole")
    caller = f"arn:aws:sts::{account}:assumed-role/{role}/"
    accepted = scene.accepted()
    if client.calls_sts:
        assert done.stdout.startswith(caller)
        assert accepted == ["GetCallerIdentity"]
    else:
        assert done.stdout.strip() == CONTENT.decode().strip()
        assert accepted
        assert all(who.startswith(caller) for who in accepted)
    assert [seen.refusal for seen in scene.s3.seen if seen.refusal] == []


@pytest.mark.parametrize("client", ASK_IMDS, ids=str)
def test_a_client_is_known_through_imds(scene: Scene, client: Client) -> None:
    before = scene.served.answers("imds", 200)
    assert_accepted(scene, client, client.by_imds(scene))
    # A token, the role's name, the credentials.
    assert scene.served.answers("imds", 200) >= before + 3


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_a_client_is_known_through_the_container_endpoint(scene: Scene, client: Client) -> None:
    before = scene.served.answers("container", 200)
    assert_accepted(scene, client, client.by_container(scene, scene.served.token_file()))
    assert scene.served.answers("container", 200) > before


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_a_client_is_known_under_exec_whatever_the_users_own_profile_says(
    scene: Scene, client: Client, helper: Path, clean_environment: dict[str, str]
) -> None:
    flags = scene.served.emulated.flags()
    subprocess.run([helper, "credential-process", *flags], env=clean_environment, check=True, capture_output=True)
    scene.served.emulated.emulator.forget_requests()  # the session is in the cache

    assert_accepted(scene, client, client.by_exec(scene, helper, Path(clean_environment["HOME"])))


@pytest.mark.promise(68)
@pytest.mark.parametrize("client", [client for client in ASK_IMDS if client is not PATIENT], ids=str)
def test_the_negative_control_a_session_without_credentials(scene: Scene, client: Client) -> None:
    before = scene.served.answers("imds", 503)
    done = client.by_imds(scene, "nobody")
    assert done.returncode != 0
    assert scene.accepted() == []
    assert scene.served.answers("imds", 503) > before


@pytest.mark.parametrize("client", [client for client in CLIENTS if client.name not in OF_BOTOCORE], ids=str)
def test_the_negative_control_another_endpoints_token(scene: Scene, client: Client) -> None:
    before = scene.served.answers("container", 401)
    done = client.by_container(scene, scene.served.token_file("nobody"))
    assert done.returncode != 0
    assert scene.accepted() == []
    assert scene.served.answers("container", 401) > before
