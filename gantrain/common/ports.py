"""A free port at which the ranks of a training meet."""

import errno
import hashlib
import socket

from gantrain.common.errors import UserError

# Below the range from which Linux takes the ports of outgoing connections.
_PORTS = range(10_000, 32_000)
_TRIES = 200


def free_port(key: str) -> int:
    """Return a port that no process of this machine listens on.

    key: jobs with different keys that start at the same time get different ports.

    Raises UserError if 200 ports in a row are in use.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    for offset in range(_TRIES):
        port = _PORTS[(number + offset) % len(_PORTS)]
        if _is_free(port):
            return port
    raise UserError(
        f"no free port for the ranks of {key}: {_TRIES} from {_PORTS[0]} on are in use."
    )


def _is_free(port: int) -> bool:
    # All addresses of both families, as torch.distributed listens.
    for family, address in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # this machine lacks the family
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
                probe.listen()
            except OSError as error:
                if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                    continue  # IPv6 is switched off
                return False
    return True
