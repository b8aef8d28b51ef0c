"""Ask a server over its socket whether it takes connections, without a driver or a loop."""

import socket
from pathlib import Path

_PROTOCOL_3_0 = (3 << 16).to_bytes(4, "big")
_AUTHENTICATION = b"R"
_TIMEOUT_S = 2.0


def takes_connections(socket_path: Path, *, user: str, database: str) -> bool:
    """True where the start-up packet is answered; a server that starts or ends answers an error.

    The connection goes no further, so that the server needs no slot for it.
    """
    words = ("user", user, "database", database)
    body = _PROTOCOL_3_0 + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(str(socket_path))
            connection.sendall((len(body) + 4).to_bytes(4, "big") + body)
            return connection.recv(1) == _AUTHENTICATION
        except OSError:
            return False
