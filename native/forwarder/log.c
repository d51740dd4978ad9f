/* Log lines to standard error (log.h). Whoever starts the forwarder decides where that goes. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

static const char *instance;

void log_open(const char *name)
{
	instance = name;
}

static void write_line(const char *level, const char *format, va_list args)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, args);
	if (instance != NULL)
		fprintf(stderr, "glb-forwarder[%s] %s: %s\n", instance, level, text);
	else
		fprintf(stderr, "glb-forwarder: %s: %s\n", level, text);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line("info", format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line("warning", format, args);
	va_end(args);
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line("error", format, args);
	va_end(args);
}
