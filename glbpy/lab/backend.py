"""What runs on a lab backend: nginx, and behind it the small application that paces /slow."""

import resource
import sys
from pathlib import Path

from glbpy.lab import echo, netns, slow
from glbpy.lab.encapsulations import NAT_PORT, NAT_UDP_PORT
from glbpy.lab.topology import PORT, Backend

FILES_MAX = 65536  # descriptors of one nginx, as far as the hard limit allows; a /slow takes two

# Long-lived connections stay, silent and slow ones too; thousands of them fit. Bodies of any size are
# taken and thrown away. Everything it writes is below {run}.
NGINX = """\
daemon off;
user root;
pid {run}/nginx.pid;
error_log {run}/nginx.log warn;
worker_processes 1;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    send_timeout 1h;
    client_header_timeout 1h;
    client_body_timeout 1h;
    client_max_body_size 0;
    lingering_timeout 1h;
    lingering_time 1h;
    server {{
        listen {port} backlog=16384;
        listen [::]:{port} ipv6only=on backlog=16384;
        listen {nat_port};
        listen [::]:{nat_port} ipv6only=on;
        add_header X-Backend {name} always;
        location / {{ return 200 "{name}\\n"; }}
        location = /healthz {{ return 200 "ok\\n"; }}
        location = /ends {{ return 200 "$remote_addr $remote_port $server_addr $server_port\n"; }}
        location = /slow {{
            proxy_pass http://unix:{run}/slow.sock;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
    }}
}}
"""


def write_config(name: str, run: Path) -> Path:
    """Write nginx's configuration for the backend `name` below `run`, a directory; return its path."""
    config = run / "nginx.conf"
    files = min(FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    whole = NGINX.format(
        run=run, name=name, port=PORT, nat_port=NAT_PORT, files=files, connections=files // 2
    )
    config.write_text(whole)
    return config


def start(backend: Backend, run: Path, udp: bool = False) -> dict[str, int]:
    """Start the backend's programs, which write below `run`; return their pids by name. See wait_ready().

    `udp`: also the one that answers UDP.
    """
    run.mkdir(parents=True, exist_ok=True)
    socket = run / "slow.sock"
    socket.unlink(missing_ok=True)
    config = write_config(backend.name, run)
    script = [sys.executable, "-I", "-S", slow.__file__, str(socket), backend.name]
    server = ["nginx", "-p", str(run), "-e", str(run / "nginx.log"), "-c", str(config)]
    pids = {
        f"{backend.name}-slow": netns.spawn(backend.ns, script, run / "slow.log"),
        f"{backend.name}-nginx": netns.spawn(backend.ns, server, run / "nginx.log"),
    }
    if udp:
        script = [sys.executable, "-I", "-S", echo.__file__, str(NAT_UDP_PORT), backend.name]
        pids[f"{backend.name}-echo"] = netns.spawn(backend.ns, script, run / "echo.log")
    return pids


def wait_ready(backend: Backend, run: Path) -> None:
    """Return when the backend's programs take connections. Raises LabError."""
    netns.wait_until((run / "slow.sock").is_socket, f"{backend.name}: {run}/slow.sock")
    netns.wait_until(lambda: listens(backend), f"{backend.name}: nginx on port {PORT}; see {run}/nginx.log")


def listens(backend: Backend) -> bool:
    """Whether something listens on the service's port, for IPv4 and IPv6."""
    with netns.entered(backend.ns):
        tables = [Path(f"/proc/thread-self/net/tcp{version}").read_text() for version in ("", "6")]
    return all(f":{PORT:04X} " in table and " 0A " in table for table in tables)
