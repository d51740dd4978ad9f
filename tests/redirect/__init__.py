"""glb-redirect: its eBPF program on packets in and out, and on real sockets in network namespaces."""
