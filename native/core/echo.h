/* Which echo requests a director can answer by itself. */
#ifndef GLB_CORE_ECHO_H
#define GLB_CORE_ECHO_H

#include <glb/packet.h>

/* Whether glb_path_answer() can make a reply of a packet of kind ECHO: no fragment, no IP options or extension headers, and from an
 * address and a MAC that can be answered. */
bool echo_answerable(const struct glb_packet *packet);

/* Whether a packet comes from an address and a MAC that can be answered: both unicast, and not a loopback's. */
bool answerable_source(const struct glb_packet *packet);

#endif
