"""Reads a request body within its bounds: size, encoding, and the time it may take."""

import asyncio

from aiohttp import web

from gateway.domain.errors import (
    ClientGoneError,
    ExpectationFailedError,
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnsupportedMediaError,
)
from gateway.domain.ids import TeamId
from gateway.edge.call_head import JSON_MEDIA_TYPE, is_of_type
from gateway.edge.intake import Arrival, Intake

_WHOLE_BYTES_MAX = 64 * 1024


async def read_body(
    request: web.BaseRequest, bytes_max: int, *, media_type: str, intake: Intake, team_id: TeamId
) -> bytes:
    """The whole body, refused before it is read where its own length says that it is too large.

    Raises:
        RequestTooLargeError, UnsupportedMediaError, RequestTimeoutError, InvalidRequestError,
            ExpectationFailedError.
        OverloadedError: too much of other bodies is here.
        ClientGoneError: the client left while it was sending.
    """
    _check_media_type(request, media_type)
    _check_framing(request)
    declared = request.content_length
    if declared is not None and declared > bytes_max:
        raise RequestTooLargeError
    if "Expect" in request.headers:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    content = request.content
    if declared is not None and declared <= _WHOLE_BYTES_MAX and content.is_eof():
        # All of it came with the head, as most bodies do: no waiting, so no time-out.
        return content.read_nowait()
    arrival = Arrival(intake, team_id)
    try:
        return await _read(request, bytes_max, arrival)
    except TimeoutError as exc:
        raise RequestTimeoutError from exc
    except web.RequestPayloadError as exc:
        raise InvalidRequestError("The request body is not framed as HTTP says.") from exc
    except ConnectionError as exc:
        raise ClientGoneError from exc
    finally:
        arrival.end()


async def _read(request: web.BaseRequest, bytes_max: int, arrival: Arrival) -> bytes:
    pieces: list[bytes] = []
    read_bytes = 0
    async with asyncio.timeout_at(arrival.add(0)) as timeout:
        while piece := await request.content.readany():
            read_bytes += len(piece)
            if read_bytes > bytes_max:
                raise RequestTooLargeError
            pieces.append(piece)
            timeout.reschedule(arrival.add(len(piece)))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check_media_type(request: web.BaseRequest, media_type: str) -> None:
    if _all_of(request, "Content-Encoding") not in ([], ["identity"]):
        raise UnsupportedMediaError
    if not is_of_type(request.headers.get("Content-Type", JSON_MEDIA_TYPE), media_type):
        raise UnsupportedMediaError(f"The request body must be uncompressed {media_type}.")


def _check_framing(request: web.BaseRequest) -> None:
    """The framework reads what it knows of these, and takes no notice of the rest."""
    if _all_of(request, "Transfer-Encoding") not in ([], ["chunked"]):
        raise InvalidRequestError("This gateway takes no transfer coding but `chunked`.")
    if _all_of(request, "Expect") not in ([], ["100-continue"]):
        raise ExpectationFailedError


def _all_of(request: web.BaseRequest, name: str) -> list[str]:
    return [value.strip().lower() for value in request.headers.getall(name, ())]
