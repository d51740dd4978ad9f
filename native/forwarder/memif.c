/* Where memif ports meet, and who is there (memif.h). */
#include "memif.h"
#include "log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTENS = 1 << 16 }; /* in the kernel's list: has called listen() */

#define SOCKET_DEFAULT "/run/memif.sock" /* the driver's */

/* Copies the value of `key` (",role=") in devargs to `value`, "" when it is not there. */
static void argument(const char *devargs, const char *key, char *value, size_t len)
{
	const char *at = strstr(devargs, key);
	size_t n = 0;

	if (at != NULL) {
		at += strlen(key);
		n = strcspn(at, ",");
	}
	if (n >= len)
		n = 0;
	memcpy(value, at != NULL ? at : "", n);
	value[n] = '\0';
}

struct place {
	bool memif, server, abstract;
	struct sockaddr_un name;
	socklen_t len;
};

static struct place find_place(const char *devargs)
{
	struct place place = {.memif = strncmp(devargs, "net_memif", strlen("net_memif")) == 0, .name = {.sun_family = AF_UNIX}};
	char role[16], abstract[8], path[sizeof(place.name.sun_path) - 1];

	argument(devargs, ",role=", role, sizeof(role));
	argument(devargs, ",socket-abstract=", abstract, sizeof(abstract));
	argument(devargs, ",socket=", path, sizeof(path));
	if (path[0] == '\0')
		snprintf(path, sizeof(path), "%s", SOCKET_DEFAULT);
	place.server = strcmp(role, "server") == 0 || strcmp(role, "master") == 0;
	place.abstract = strcmp(abstract, "no") != 0;
	snprintf(place.name.sun_path + place.abstract, sizeof(place.name.sun_path) - place.abstract, "%s", path);
	place.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + place.abstract + strlen(path));
	return place;
}

/* What there is at a file: -EPROTOTYPE = a memif's socket that somebody has open, -ECONNREFUSED = one that nobody has. By a socket of
 * another type than memif's, which never connects: a driver's process may die of one that connects and goes. */
static int look_at(const struct place *place)
{
	int ret, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	ret = connect(fd, (const struct sockaddr *)&place->name, place->len) != 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* The kernel's list of this network namespace has the names that are not files, with "@" for their first byte. */
static bool listed(const struct place *place)
{
	FILE *list = fopen("/proc/net/unix", "re");
	char line[512], path[sizeof(place->name.sun_path)];
	unsigned flags;
	bool found = false;

	while (list != NULL && !found && fgets(line, sizeof(line), list) != NULL)
		found = sscanf(line, "%*s %*x %*x %x %*x %*x %*u @%107s", &flags, path) == 2 &&
			(flags & LISTENS) != 0 && strcmp(path, place->name.sun_path + 1) == 0;
	if (list != NULL)
		fclose(list);
	return found;
}

/* Whether the file is a socket whose process is gone. */
static bool left_over(const struct place *place)
{
	struct stat file;

	return !place->abstract && lstat(place->name.sun_path, &file) == 0 && S_ISSOCK(file.st_mode) &&
	       look_at(place) == -ECONNREFUSED;
}

void memif_prepare(const struct config *config)
{
	for (unsigned i = 0; i < config->port_count; i++) {
		const struct place place = find_place(config->ports[i].devargs);

		if (place.memif && place.server && left_over(&place) && unlink(place.name.sun_path) == 0)
			log_info("port[%u]: removed %s, which a killed process left", i, place.name.sun_path);
	}
}

bool memif_server_listens(const char *devargs)
{
	const struct place place = find_place(devargs);

	return place.memif && !place.server && (place.abstract ? listed(&place) : look_at(&place) == -EPROTOTYPE);
}
