"""The lab: a whole load-balanced network in network namespaces of one machine, real traffic included."""
