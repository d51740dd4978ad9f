/* The configuration's keys as a JSON Schema, made from the same table that reads them (config.c). */
#ifndef FORWARDER_CONFIG_SCHEMA_H
#define FORWARDER_CONFIG_SCHEMA_H

#include <jansson.h>

/* The schema of a director's TOML file, for editors and other programs. For the caller to json_decref(); NULL when
 * out of memory. It cannot say what spans keys but for the outer sources: --check does. */
json_t *config_schema(void);

#endif
