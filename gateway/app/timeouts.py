"""How long a worker waits for its clients, its providers and its end."""

from dataclasses import dataclass

from gateway.edge.intake import BODY_TIMEOUT_S
from gateway.edge.server import HEAD_TIMEOUT_S, KEEPALIVE_TIMEOUT_S
from gateway.proxy.relays import DRAIN_TIMEOUT_S, STALL_TIMEOUT_S
from gateway.upstream.fast import IDLE_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long this worker waits for others; tests wait less."""

    shutdown_s: float = 600.0
    """For running streams, at the end."""
    idle_client_s: float = KEEPALIVE_TIMEOUT_S
    """For the next request on a connection."""
    request_head_s: float = HEAD_TIMEOUT_S
    """For the rest of a head that has begun to arrive."""
    request_body_s: float = BODY_TIMEOUT_S
    """For the next byte of a body; its least rate may lag as much behind."""
    last_request_s: float = 1.0
    """For the next request on a connection without one, at the end."""
    upstream_idle_s: float = IDLE_TIMEOUT_S
    """For the next byte of a provider."""
    gone_client_s: float = DRAIN_TIMEOUT_S
    """For the bill of a stream whose client has left."""
    stalled_client_s: float = STALL_TIMEOUT_S
    """For a client that takes nothing of its answer."""
