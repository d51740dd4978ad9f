"""The ways of carrying packets to a backend that a lab can be brought up with, by name.

Apart from encapsulations.py because `glb` needs the names for its help, whatever the command.
"""

from enum import StrEnum


class Encapsulation(StrEnum):
    ALL = "all"
    GUE = "gue"  # over IPv6; over IPv4 it is www's
    GRE = "gre"
    IPIP = "ipip"
    IP6IP6 = "ip6ip6"
    V4_IN_V6 = "4in6"
    V6_IN_V4 = "6in4"
    L2DSR = "l2dsr"
    L3DSR = "l3dsr"
    NAT = "nat"
