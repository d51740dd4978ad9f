"""How the lab's director gets its packets: which DPDK driver its forwarder uses on eth0."""

from enum import StrEnum


class Driver(StrEnum):
    AF_PACKET = "af_packet"  # the forwarder and the kernel both see every packet
    AF_XDP = "af_xdp"  # our XDP program takes what goes to VIPs, the kernel has the rest


DEVARGS = {
    # 4096 frames: a bulk upload overruns less
    Driver.AF_PACKET: "net_af_packet0,iface=eth0,framecnt=4096,blocksz=65536",
    Driver.AF_XDP: "net_af_xdp0,iface=eth0",
}
