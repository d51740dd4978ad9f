/* From a TOML file and --set overrides to a checked configuration (config_read() of config.h). */
#include "config.h"
#include "config_toml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 }; /* bytes of a configuration file */

/* The whole file, NUL-terminated, for the caller to free(). */
static char *read_text(const char *path, size_t *len, struct glb_error *error)
{
	char *text = malloc(FILE_MAX + 1);
	ssize_t got = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*len = 0;
	if (fd >= 0 && text != NULL)
		while ((got = read(fd, text + *len, FILE_MAX + 1 - *len)) > 0 && *len <= FILE_MAX)
			*len += (size_t)got;
	if (text == NULL || got < 0) {
		glb_error_set(error, text == NULL ? -ENOMEM : -errno, "%s: %s", path, strerror(errno));
	} else if (*len > FILE_MAX) {
		glb_error_set(error, -EINVAL, "%s: longer than %d bytes: not a configuration", path, FILE_MAX);
	} else {
		text[*len] = '\0';
		close(fd);
		return text;
	}
	if (fd >= 0)
		close(fd);
	free(text);
	return NULL;
}

static json_t *parse_toml(const char *text, size_t len, const char *origin, struct glb_error *error)
{
	json_error_t wrong;
	char *json = config_toml_to_json(text, len, origin, error);
	json_t *root;

	if (json == NULL)
		return NULL;
	root = json_loads(json, 0, &wrong);
	if (root == NULL)
		glb_error_set(error, -EINVAL, "%s: %s", origin, wrong.text);
	free(json);
	return root;
}

/* "section.key=VALUE": VALUE as TOML, or else as a bare word. */
static int apply_set(json_t *root, const char *set, struct glb_error *error)
{
	const char *equals = strchr(set, '=');
	size_t len = strlen(set) + 4;
	char *quoted;
	json_t *update;
	int ret = -ENOMEM;

	if (equals == NULL)
		return glb_error_set(error, -EINVAL, "--set %.60s: must be SECTION.KEY=VALUE", set);
	update = parse_toml(set, strlen(set), "--set", NULL);
	if (update == NULL) {
		quoted = malloc(len);
		if (quoted == NULL)
			return ret;
		snprintf(quoted, len, "%.*s=\"%s\"", (int)(equals - set), set, equals + 1);
		update = parse_toml(quoted, strlen(quoted), "--set", error);
		free(quoted);
	}
	if (update == NULL)
		return -EINVAL;
	ret = json_object_update_recursive(root, update) == 0 ? 0 : -ENOMEM;
	json_decref(update);
	return ret;
}

int config_read(struct config *config, const char *path, char *const *sets, unsigned set_count,
		struct glb_error *error)
{
	json_t *root;
	int ret = 0;

	if (path != NULL) {
		size_t len;
		char *text = read_text(path, &len, error);

		if (text == NULL)
			return error->code;
		root = parse_toml(text, len, path, error);
		free(text);
		if (root == NULL)
			return error->code;
	} else {
		root = json_object();
	}
	for (unsigned i = 0; i < set_count && ret == 0; i++)
		ret = apply_set(root, sets[i], error);
	if (ret == 0)
		ret = config_from_json(config, root, path != NULL ? path : "options", error);
	json_decref(root);
	return ret;
}
