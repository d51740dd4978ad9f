/* Errors of libglb, and the few macros that every public header uses.
 *
 * Functions return 0 or a negative errno value. Those that judge a document or a
 * file also fill a `struct glb_error`, which says in words what is wrong and where;
 * the caller owns it and passes NULL when it does not care.
 *
 * The public headers are also the cffi definitions: native/ffi runs them through the
 * preprocessor with GLB_CFFI defined, so constants are enums and inline bodies
 * stand behind `#ifndef GLB_CFFI`.
 */
#ifndef GLB_ERR_H
#define GLB_ERR_H

#ifndef GLB_CFFI
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define GLB_STATIC_ASSERT(condition, text) _Static_assert(condition, text);
#else
#define GLB_STATIC_ASSERT(condition, text)
#endif

enum {
	GLB_ERROR_TEXT = 496, /* bytes, with the final NUL */
};

/* What went wrong. `text` is one sentence that names the field and, where there is one, the fix. */
struct glb_error {
	int code;                  /* negative errno */
	char text[GLB_ERROR_TEXT]; /* NUL-terminated UTF-8 */
};

/* Fills *error (which may be NULL) from a printf format and returns `code`, so that
 * callers write `return glb_error_set(error, -EINVAL, "...", ...)`. Any thread. */
#ifndef GLB_CFFI
int glb_error_set(struct glb_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
#endif

#endif
