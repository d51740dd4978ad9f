"""Answers /slow?seconds=N&bytes=B: streams B bytes evenly over N seconds, over HTTP on a Unix socket.

Runs behind a lab backend's nginx, which cannot pace an answer itself. The body repeats the backend's
name and a newline, so that whoever reads it can tell every byte. Standard library only, and run as
a script (`python -I -S slow.py SOCKET NAME`), so that it starts at once.
"""

import asyncio
import contextlib
import resource
import sys
from urllib.parse import parse_qs, urlsplit

SECONDS_MAX = 3600.0
BYTES_MAX = 1 << 40
STEP_S = 0.2  # between writes, at most
STEPS_MIN = 20
CHUNK_MAX = 1 << 16


def pattern(name: str, offset: int, length: int) -> bytes:
    """`length` bytes of the endless body of backend `name`, from `offset`."""
    line = f"{name}\n".encode()
    skip = offset % len(line)
    return (line * (length // len(line) + 2))[skip : skip + length]


def parse(target: str) -> tuple[float, int]:
    """Return (seconds, bytes) of a request target. Raises ValueError."""
    query = parse_qs(urlsplit(target).query, strict_parsing=True)
    seconds, length = float(query["seconds"][0]), int(query["bytes"][0])
    if not (0 <= seconds <= SECONDS_MAX and 0 <= length <= BYTES_MAX):
        raise ValueError(f"seconds must be 0..{SECONDS_MAX:g}, bytes 0..{BYTES_MAX}")
    return seconds, length


async def stream(writer: asyncio.StreamWriter, name: str, seconds: float, length: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    step = min(STEP_S, seconds / STEPS_MIN)
    sent = 0
    while sent < length:
        elapsed = loop.time() - began
        due = length if elapsed >= seconds else int(length * elapsed / seconds)
        while sent < due:
            chunk = pattern(name, sent, min(due - sent, CHUNK_MAX))
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
        if sent < length:
            await asyncio.sleep(min(step, max(0.0, began + seconds - loop.time())))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    try:
        seconds, length = parse(head.split(" ", 2)[1])
    except (ValueError, KeyError, IndexError) as error:
        body = f"want /slow?seconds=N&bytes=B: {error}\n".encode()
        writer.write(
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        return
    writer.write(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        % length
    )
    await stream(writer, name, seconds, length)


async def main(path: str, name: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await answer(reader, writer, name)
            await writer.drain()
        writer.close()

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = await asyncio.start_unix_server(serve, path, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
