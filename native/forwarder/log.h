/* Log lines of the main lcore: to standard error, one line each, "glb-forwarder[name] level: text".
 * Never called from the worker loop. */
#ifndef FORWARDER_LOG_H
#define FORWARDER_LOG_H

/* Sets the instance name in front of every line; until then it is left out. `name` is borrowed for good. */
void log_open(const char *name);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
