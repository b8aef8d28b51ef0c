"""AWS credentials of a test, and a check of what was signed with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.fakes.provider import Received

ACCESS_KEY = "AKIAOFTHEGATEWAY"
SECRET_KEY = "secret-of-the-gateway-alone"
REGION = "eu-central-1"
_SIGNED_PARTS = 3


@contextmanager
def aws_environment(**changes: str) -> Iterator[None]:
    """The standard chain finds these in the environment, and nothing of this machine's."""
    values = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        **changes,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        for name, value in values.items():
            if value:
                patch.setenv(name, value)
            else:
                patch.delenv(name, raising=False)
        yield


def assert_signed(request: Received, url: str, region: str = REGION) -> None:
    """The signature is the one that AWS's own library makes of these bytes at that time."""
    authorization = request.header("authorization") or ""
    assert authorization.startswith("AWS4-HMAC-SHA256 "), authorization
    fields = dict(
        part.strip().split("=", 1)
        for part in authorization.removeprefix("AWS4-HMAC-SHA256 ").split(",")
    )
    assert len(fields) == _SIGNED_PARTS
    date, scope_region, service = fields["Credential"].split("/")[1:4]
    assert fields["Credential"].startswith(f"{ACCESS_KEY}/")
    assert (scope_region, service) == (region, "bedrock")
    names = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-date"} <= set(names)
    timestamp = request.header("x-amz-date") or ""
    assert timestamp.startswith(date)
    again = AWSRequest(
        "POST",
        f"{urlsplit(url).scheme}://{request.header('host')}{request.path}",
        headers={name: request.header(name) or "" for name in names if name != "host"},
        data=request.body,
    )
    again.context["timestamp"] = timestamp
    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), service, region)
    canonical = signer.canonical_request(again)
    signature = signer.signature(signer.string_to_sign(again, canonical), again)
    assert fields["Signature"] == signature, canonical
