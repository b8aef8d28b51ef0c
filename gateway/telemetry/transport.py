"""posthog's own batch request, fed with events that are serialised already."""

import asyncio
import gzip
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

import requests
from posthog.request import APIError, batch_post, determine_server_host

_EMPTY_BATCH = b'"batch": []'
_COMPRESSION_LEVEL = 1
_SUCCESS = range(200, 300)
_CLIENT_ERRORS = range(400, 500)
_TOO_LARGE = 413
# A tenth of the CPU where the loop wants all of it: 500 events in some 80 ms.
_LOW_PRIORITY = 10
_LATER_STATUS = frozenset({408, 429})
# These say something about the address or the key, nothing about an event.
_DESTINATION_STATUS = frozenset({401, 402, 403, 404, 405, 407})


class Verdict(Enum):
    """What PostHog makes of a batch."""

    ACCEPTED = auto()
    LATER = auto()
    """Not now, whatever is in the batch: keep it and try again."""
    TOO_LARGE = auto()
    REFUSED = auto()
    """Something in the batch will never be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verdict and where it came from: the HTTP status, else the type of the failure."""

    verdict: Verdict
    cause: str = ""
    retry_after_s: float | None = None


class _SplicingSession:
    """Stands where posthog expects its session, and puts the events into the empty batch.

    posthog serialises with the standard library after a walk over every value: 50 us an event, all
    of it holding the interpreter, against 6 us for the bytes that we bring.
    """

    def __init__(self, session: requests.Session, events: Sequence[bytes]) -> None:
        self._session = session
        self._events = events

    def post(
        self, url: str, *, data: str, headers: dict[str, str], timeout: float
    ) -> requests.Response:
        before, marker, after = data.encode().partition(_EMPTY_BATCH)
        assert marker, "posthog's body has no empty batch"
        body = b"".join((before, b'"batch": [', b",".join(self._events), b"]", after))
        return self._session.post(
            url,
            data=gzip.compress(body, _COMPRESSION_LEVEL),
            headers={**headers, "Content-Encoding": "gzip"},
            timeout=timeout,
            # A redirect would turn the POST into a GET and look like success.
            allow_redirects=False,
        )


class BatchTransport:
    """One connection to PostHog; `post` blocks and belongs in a thread."""

    def __init__(self, *, host: str, project_key: str, timeout_s: float) -> None:
        self._host = determine_server_host(host)
        self._project_key = project_key
        self._timeout_s = timeout_s
        self._session = requests.Session()

    def post(self, events: Sequence[bytes]) -> Answer:
        """Send one batch; never raises for what the network or PostHog does."""
        try:
            batch_post(
                self._project_key,
                self._host,
                timeout=self._timeout_s,
                batch=[],
                historical_migration=False,
                session=_SplicingSession(self._session, events),
            )
        except APIError as exc:
            return _answer_to(exc)
        except (OSError, ValueError) as exc:
            # All of requests' own errors are OSErrors; a broken status line is a ValueError.
            return Answer(verdict=Verdict.LATER, cause=type(exc).__name__)
        return Answer(verdict=Verdict.ACCEPTED)

    def renew(self) -> None:
        """Leave the connection to the thread that hangs in it, and begin another."""
        self._session = requests.Session()

    def close(self) -> None:
        self._session.close()


def _answer_to(error: APIError) -> Answer:
    """The rule of posthog's consumer, 4xx is final but 408 and 429, less the address's faults."""
    status = error.status if isinstance(error.status, int) else 0
    cause = f"http_{status}"
    if status in _SUCCESS:
        # posthog knows 200 alone; a proxy in front may say 202 or 204.
        return Answer(verdict=Verdict.ACCEPTED)
    if status == _TOO_LARGE:
        return Answer(verdict=Verdict.TOO_LARGE, cause=cause)
    if status in _CLIENT_ERRORS and status not in _LATER_STATUS | _DESTINATION_STATUS:
        return Answer(verdict=Verdict.REFUSED, cause=cause)
    return Answer(verdict=Verdict.LATER, cause=cause, retry_after_s=error.retry_after)


def yield_to_requests() -> None:
    """Let others go before this thread: compressing a batch takes milliseconds."""
    # Threads have a priority of their own on Linux alone.
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)


async def in_daemon_thread(call: Callable[[], Answer]) -> Answer:
    """Run a blocking call where it can hang without holding up the end of the process.

    A pool's threads are waited for at exit, here up to the request's whole time-out.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: Exception | None) -> None:
        if future.done():
            return
        if answer is not None:
            future.set_result(answer)
        elif error is not None:
            future.set_exception(error)

    def work() -> None:
        answer, error = None, None
        yield_to_requests()
        try:
            answer = call()
        except Exception as exc:  # noqa: BLE001 - it belongs to the waiter, in the other thread.
            error = exc
        # The loop may have closed meanwhile: then nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=work, name="gateway-events", daemon=True).start()
    return await future
