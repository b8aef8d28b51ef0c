"""Signs requests to Bedrock with the credentials of AWS's standard chain."""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.tokens import ScopedEnvTokenProvider

from gateway.domain.errors import ProviderNotConfiguredError

_SERVICE = "bedrock"
_DEFAULT_REGION = "us-east-1"
# Hashing more than this would hold up running streams.
_INLINE_BYTES_MAX = 256 * 1024
_MISSING = (
    "No AWS credentials were found for Bedrock: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_PROFILE or AWS_BEARER_TOKEN_BEDROCK, or run where an instance role is attached."
)


class Signer(Protocol):
    """Adds to a request what proves who sends it."""

    async def sign(
        self, url: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> list[tuple[str, str]]: ...


class BedrockSigner:
    """One chain of credentials; it is looked through once, in a thread, and refreshes itself."""

    def __init__(self, region: str | None) -> None:
        self._region = region
        self._session: Any = None
        self._credentials: Any = None
        self._token: str | None = None
        self._loading = asyncio.Lock()

    async def sign(
        self, url: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> list[tuple[str, str]]:
        """The headers with the signature, or the bearer token where one is set.

        Raises:
            ProviderNotConfiguredError: the chain holds no credentials.
        """
        async with self._loading:
            if self._session is None:
                await asyncio.to_thread(self._load)
        if self._token is not None:
            return [*headers, ("Authorization", f"Bearer {self._token}")]
        if len(body) > _INLINE_BYTES_MAX or self._credentials.refresh_needed():
            return await asyncio.to_thread(self._signed, url, list(headers), body)
        return self._signed(url, list(headers), body)

    def _load(self) -> None:
        session = botocore.session.get_session()
        try:
            # Not the whole chain of tokens: a login to AWS itself is no credential for a model.
            token = ScopedEnvTokenProvider(session).load_token(signing_name=_SERVICE)
            self._token = token.token if token is not None else None
            credentials = session.get_credentials()
        except BotoCoreError as exc:
            raise ProviderNotConfiguredError(_MISSING) from exc
        if credentials is None and self._token is None:
            raise ProviderNotConfiguredError(_MISSING)
        if self._region is None:
            self._region = session.get_config_variable("region") or _DEFAULT_REGION
        # What is asked of both kinds; credentials that never expire lack the question.
        self._credentials = (
            credentials if hasattr(credentials, "refresh_needed") else _Lasting(credentials)
        )
        self._session = session

    def _signed(
        self, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> list[tuple[str, str]]:
        content_type = [(name, value) for name, value in headers if name.lower() == "content-type"]
        request = AWSRequest("POST", url, headers=dict(content_type), data=body)
        SigV4Auth(self._credentials.get_frozen_credentials(), _SERVICE, self._region).add_auth(
            request
        )
        signed = [
            (name, value)
            for name, value in request.headers.items()
            if name.lower() != "content-type"
        ]
        return [*headers, *signed]


class _Lasting:
    """Credentials that do not expire."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def refresh_needed(self) -> bool:
        return False

    def get_frozen_credentials(self) -> Any:
        return self._credentials.get_frozen_credentials()
