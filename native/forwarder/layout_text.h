/* What layout.c and layout_table.c share. */
#ifndef FORWARDER_LAYOUT_TEXT_H
#define FORWARDER_LAYOUT_TEXT_H

#include "layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends to the text in `out`; false when it does not fit into `len` bytes. */
static inline bool layout_append(char *out, size_t len, const char *format, ...) __attribute__((format(printf, 3, 4)));

static inline bool layout_append(char *out, size_t len, const char *format, ...)
{
	size_t used = strlen(out);
	va_list args;
	int added;

	va_start(args, format);
	added = vsnprintf(out + used, len - used, format, args);
	va_end(args);
	return added >= 0 && (size_t)added < len - used;
}

/* Whether the process may use every CPU of the plan: 0, or -EINVAL with *error. */
int layout_check(const struct layout *layout, const cpu_set_t *allowed, struct glb_error *error);

#endif
