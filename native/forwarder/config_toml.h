/* TOML to JSON text. The one place that is C++: toml++ parses, jansson does the rest. */
#ifndef FORWARDER_CONFIG_TOML_H
#define FORWARDER_CONFIG_TOML_H

#include <glb/err.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Parses `len` bytes of TOML and returns them as a JSON object, NUL-terminated, for the caller to free(); NULL with *error
 * filled (line and column included) when they are not TOML. `origin` names the text in errors. */
char *config_toml_to_json(const char *text, size_t len, const char *origin, struct glb_error *error);

#ifdef __cplusplus
}
#endif

#endif
