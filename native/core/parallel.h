/* Ranges of numbers shared out among threads, for compile functions only; internal to libglb. */
#ifndef GLB_CORE_PARALLEL_H
#define GLB_CORE_PARALLEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { GLB_THREADS_MAX = 8 };

/* What is left to do: whoever asks gets the next piece. */
struct glb_pieces {
	atomic_uint next;
	uint32_t end;  /* at most 2^31 */
	uint32_t size; /* of a piece */
};

/* Takes a piece, [*first, *last). False when there is none left. */
bool glb_pieces_take(struct glb_pieces *pieces, uint32_t *first, uint32_t *last);

/* How many threads to use: `wanted`, or, where that is 0, as many as there are CPUs that this process may use; at most GLB_THREADS_MAX. */
unsigned glb_threads(unsigned wanted);

/* Calls work(context) on `threads` threads at once, of which the caller is one, and returns when all are done: 0, or what one of
 * them returned. Where a thread cannot be had, there are fewer; so `work` takes pieces until there are none. Signals go
 * to other threads than those made here. */
int glb_parallel(unsigned threads, int (*work)(void *context), void *context);

#endif
