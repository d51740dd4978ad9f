/* Cycles of the packet path by stage, for `bench/cost.py --stages`.
 *
 * Only in a build with -Dstages=true; in all others STAGE_END() is nothing, and there is no clock in the worker's loop beside
 * what it reads once in a turn. What passes between two ends on a thread belongs to the later one's stage.
 */
#ifndef GLB_STAGE_H
#define GLB_STAGE_H

#ifdef GLB_STAGES

#include <stdint.h>

#define GLB_STAGE_NAMES(X) \
	X(loop) X(receive) X(describe) X(filter) X(parse) X(classify) X(hash) X(recall) X(select) X(remember) X(measure) \
	X(encapsulate) X(straight) X(find_slots) X(hash_flows) X(find_rows) X(choose) X(write) X(send) X(count)

#define GLB_STAGE_MEMBER(name) GLB_STAGE_##name,
enum glb_stage { GLB_STAGE_NAMES(GLB_STAGE_MEMBER) GLB_STAGES_COUNT };
#undef GLB_STAGE_MEMBER

void glb_stage_end(enum glb_stage stage);

/* The calling thread's stages as one line of JSON, {"packets", "clock", "stages": {name: [cycles, ends]}}, to stderr; `clock` is what an end
 * itself takes, in cycles. */
void glb_stages_print(uint64_t packets);

#define STAGE_END(name) glb_stage_end(GLB_STAGE_##name)
#define STAGES_PRINT(packets) glb_stages_print(packets)

#else

#define STAGE_END(name) ((void)0)
#define STAGES_PRINT(packets) ((void)0)

#endif
#endif
