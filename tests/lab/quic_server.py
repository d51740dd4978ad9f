"""A QUIC server on a backend, whose connection ids are QUIC-LB's: aioquic with another source of ids.

quic_server.py CONFIGURATION NAME CERTIFICATE KEY PORT ADDRESS…: answers each stream with its name and what
came. CONFIGURATION is what the API says of this backend (docs/quic.md); it is read anew for every id, so that
a new key is used at once.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aioquic.asyncio import serve
from aioquic.quic import connection
from aioquic.quic.configuration import QuicConfiguration
from oracle.quic import Config


def issued(path: Path) -> tuple[Config, bytes]:
    """Return the configuration that new ids are to be of, and this server's id in it."""
    found = next(each for each in json.loads(path.read_text())["configurations"] if each["issue"])
    key = bytes.fromhex(found["key"]) if found["key"] else None
    config = Config(found["config_id"], found["server_id_length"], found["nonce_length"], key)
    return config, bytes.fromhex(found["server_id"])


class Ids:
    """Stands for the module `os` in aioquic, which asks it for random bytes: ids are those of one length."""

    def __init__(self, path: Path, length: int) -> None:
        self.path, self.length = path, length

    def urandom(self, length: int) -> bytes:
        if length != self.length:
            return os.urandom(length)
        config, server_id = issued(self.path)
        return config.encode(server_id, os.urandom(config.nonce_length))


async def answer(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(name.encode() + b" " + await reader.read())
    writer.write_eof()


async def main(
    path: Path, name: str, certificate: str, key: str, port: int, addresses: list[str]
) -> None:
    length = 1 + issued(path)[0].length
    connection.os = Ids(path, length)  # type: ignore[attr-defined]
    configuration = QuicConfiguration(
        is_client=False, connection_id_length=length, alpn_protocols=["test"]
    )
    configuration.load_cert_chain(certificate, key)
    tasks: set[asyncio.Task[None]] = set()

    def on_stream(reader: Any, writer: Any) -> None:
        task = asyncio.get_running_loop().create_task(answer(name, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for address in addresses:
        await serve(address, port, configuration=configuration, stream_handler=on_stream)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    given, name, certificate, key, port, *addresses = sys.argv[1:]
    asyncio.run(main(Path(given), name, certificate, key, int(port), addresses))
