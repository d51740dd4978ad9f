/* What the guard stage has for the remember stage. */
#ifndef GLB_CORE_PATH_GUARD_H
#define GLB_CORE_PATH_GUARD_H

#include <glb/path.h>

/* Whether a flow that is new to the cache may begin; counts it. A service without limits: yes. */
bool guard_admits_flow(const struct glb_path *path, const struct glb_guard *guard, uint32_t service);

#endif
