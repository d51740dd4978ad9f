/* Which class a punted packet is in. Each has its own rate limit, so that a flood in one cannot starve another. */
#ifndef GLB_PUNT_H
#define GLB_PUNT_H

#include "packet.h"

enum glb_punt_class {
	GLB_PUNT_NEIGHBOUR = 0, /* ARP, IPv6 neighbour and router discovery */
	GLB_PUNT_ROUTING = 1,   /* BGP (TCP 179), BFD (UDP 3784, 3785, 4784, 6784, 7784) */
	GLB_PUNT_OTHER = 2,
	GLB_PUNT_CLASSES = 3,
};

/* The class of a packet that was parsed and whose verdict is PUNT. Neighbour discovery counts as such only with hop limit 255,
 * as every host demands (RFC 4861): it cannot come from afar. Pure; any thread. */
enum glb_punt_class glb_punt_classify(const struct glb_packet *packet);

/* "neighbour", "routing" or "other"; "unknown" when out of range. Never freed. */
const char *glb_punt_class_name(unsigned punt_class);

#endif
