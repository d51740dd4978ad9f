/* Error texts. Formats into the caller's struct; knows nothing of logs. */
#include <glb/err.h>

#include <stdarg.h>
#include <stdio.h>

int glb_error_set(struct glb_error *error, int code, const char *format, ...)
{
	if (error != NULL) {
		va_list args;

		error->code = code;
		va_start(args, format);
		vsnprintf(error->text, sizeof(error->text), format, args);
		va_end(args);
	}
	return code;
}
