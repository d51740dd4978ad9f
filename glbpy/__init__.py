"""glbpy: the control plane of a layer-4 load balancer whose data plane is C on DPDK."""

__version__ = "0.1.0"
