/* The last stage of the straight line: what leaves of each packet, written in front of it or into it. */
#ifndef GLB_CORE_FAST_WRITE_H
#define GLB_CORE_FAST_WRITE_H

#include "fast_work.h"

/* Writes everything, to the gateway's MAC. Where `two` is true, each packet has two hops, and work->second says which is the second; else `further` and
 * `row` say which follow. Nothing can be wrong any more. */
void fast_write(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_egress *egress,
		struct glb_fast_burst *burst, struct fast_work *work, bool v6, bool two);

/* The same for packets that are all sent as `kind` says. GUE (`two` only without marks); GRE, or an IPv4 header alone; the same and GUE over IPv6; packets that stay as long as they are. Lanes that were filled up are
 * frame 0 once more. */
void fast_gue(const struct glb_fast_kind *kind, const struct glb_fast_egress *egress, struct glb_fast_burst *burst,
	      const struct fast_work *work, bool v6, bool two);
void fast_tunnel(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		 struct glb_fast_burst *burst, const struct fast_work *work, bool v6);
void fast_wrap6(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		struct glb_fast_burst *burst, const struct fast_work *work, bool v6);
void fast_rewrite(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		  struct glb_fast_burst *burst, const struct fast_work *work, bool v6);

#endif
