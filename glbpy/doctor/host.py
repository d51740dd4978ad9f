"""Checks of rights and kernel: what glb-redirect needs, and every program."""

from collections.abc import Iterator

from glbpy.doctor.finding import Finding
from glbpy.doctor.system import System

CAPABILITIES = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW", 21: "CAP_SYS_ADMIN"}


def check_rights(system: System) -> Iterator[Finding]:
    """Raw sockets, interfaces, namespaces and eBPF all need rights."""
    status = system.read("/proc/self/status") or ""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    effective = int(line.split()[1], 16)
    missing = [name for bit, name in CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        message = f"this process lacks {', '.join(missing)}"
        yield Finding("rights", "fail", message, "run glb as root, or give the service these capabilities")
    else:
        yield Finding("rights", "ok", f"has {', '.join(CAPABILITIES.values())}")


def check_kernel(system: System) -> Iterator[Finding]:
    """bpf_redirect_neigh is the newest that glb-redirect uses of eBPF (native/redirect/README.md)."""
    release = system.read("/proc/sys/kernel/osrelease") or "unknown"
    if system.kernel() >= (5, 10):
        yield Finding("kernel", "ok", f"{release} has the eBPF functions that glb-redirect calls")
    else:
        message = f"{release} is older than 5.10: it lacks eBPF functions that glb-redirect calls"
        yield Finding("kernel", "fail", message, "on backends, boot Linux 5.10 or later; Debian 12 has 6.1")


def check_bpf(system: System) -> Iterator[Finding]:
    """glb-redirect is an eBPF program that reads the kernel's own types."""
    if system.exists("/proc/sys/kernel/unprivileged_bpf_disabled"):
        yield Finding("bpf", "ok", "the kernel has the bpf system call")
    else:
        message = "the kernel has no bpf system call"
        yield Finding("bpf", "fail", message, "use a kernel with CONFIG_BPF_SYSCALL=y")
    if system.exists("/sys/kernel/btf/vmlinux"):
        yield Finding("btf", "ok", "the kernel describes its types (BTF)")
    else:
        message = "no /sys/kernel/btf/vmlinux: glb-redirect cannot find the kernel's socket types"
        yield Finding("btf", "fail", message, "use a kernel with CONFIG_DEBUG_INFO_BTF=y")
    if system.read("/proc/sys/net/core/bpf_jit_enable") in ("1", "2"):
        yield Finding("bpf jit", "ok", "eBPF is compiled")
    else:
        message = "eBPF is interpreted, which costs several times more a packet"
        yield Finding("bpf jit", "warn", message, "sysctl -w net.core.bpf_jit_enable=1")


def check_tc(system: System) -> Iterator[Finding]:
    """glb-redirect attaches to clsact with a bpf classifier. Tried in a namespace that goes away again."""
    tried = system.run(["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "clsact"]) is not None
    options = {name: system.kernel_option(name) for name in ("CONFIG_NET_SCH_INGRESS", "CONFIG_NET_CLS_BPF")}
    lacking = [name for name, there in options.items() if there is False]
    if tried and not lacking:
        yield Finding("tc", "ok", "clsact and the bpf classifier are there")
    elif lacking:
        message = f"the kernel lacks {', '.join(lacking)}"
        yield Finding("tc", "fail", message, "use a kernel with these options")
    elif not system.has("tc"):
        yield Finding("tc", "fail", "the tc program is missing", "apt-get install iproute2")
    else:
        message = "a clsact qdisc could not be added on trial"
        yield Finding("tc", "fail", message, "run as root; if it still fails: modprobe sch_ingress cls_bpf")


def check_bpffs(system: System) -> Iterator[Finding]:
    places, mend = system.mounts("bpf"), "mount -t bpf bpf /sys/fs/bpf"
    if "/sys/fs/bpf" in places:
        yield Finding("bpf file system", "ok", "mounted at /sys/fs/bpf")
    elif places:
        message = f"mounted only at {', '.join(places)}, which glb-redirect must be told"
        mend += f", or give glb-redirect --pin-dir {places[0]}/glb"
        yield Finding("bpf file system", "warn", message, mend)
    else:
        message = "no bpf file system is mounted; glb-redirect pins its maps in one"
        yield Finding("bpf file system", "warn", message, mend)


def check_rp_filter(system: System) -> Iterator[Finding]:
    """Clients' packets come in from a tunnel: the way back need not be through the same interface."""
    base = "/proc/sys/net/ipv4/conf"
    strict = [name for name in system.names(base) if system.read(f"{base}/{name}/rp_filter") == "1"]
    if strict:
        message = f"strict for {', '.join(strict)}: drops clients' packets that are answered another way"
        commands = [f"sysctl -w net.ipv4.conf.{name}.rp_filter=2" for name in strict]
        yield Finding("rp_filter", "warn", message, f"on backends: {'; '.join(commands)}")
    else:
        yield Finding("rp_filter", "ok", "nowhere strict")
