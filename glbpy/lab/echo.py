"""Answers UDP: each datagram comes back behind a line with the backend's name and the sender's address.

Runs on a lab backend, as a script (`python -I -S echo.py PORT NAME`). Standard library only.
"""

import socket
import sys


def main(port: int, name: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        while True:
            data, sender = server.recvfrom(65536)
            address = sender[0].removeprefix("::ffff:")
            server.sendto(f"{name} {address} {sender[1]}\n".encode() + data, sender)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
