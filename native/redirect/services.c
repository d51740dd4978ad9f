/* What an operator chooses for a service on this host, as text and in the map: "tcp:203.0.113.10:80=listening,queue<32". */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

enum { DYNAMIC_START = 1 }; /* SRLB's dynamic policy begins anywhere */

static const struct word {
	const char *word;
	uint8_t protocol;
	uint32_t flag;
	bool number; /* "<N" follows, or "<auto" */
} words[] = {
	{"bound", GLB_IPPROTO_UDP, GLB_REDIRECT_SERVICE_BOUND, false},
	{"connected", GLB_IPPROTO_UDP, GLB_REDIRECT_SERVICE_CONNECTED, false},
	{"quic", GLB_IPPROTO_UDP, GLB_REDIRECT_SERVICE_QUIC, false}, /* of --quic only: it needs more than a word */
	{"listening", GLB_IPPROTO_TCP, GLB_REDIRECT_SERVICE_LISTENING, false},
	{"queue", GLB_IPPROTO_TCP, GLB_REDIRECT_SERVICE_QUEUE, true},
	{"load", GLB_IPPROTO_TCP, GLB_REDIRECT_SERVICE_LOAD, true},
};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

/* A number in text that ends there. */
static int read_number(const char *text, unsigned long most, unsigned long *number)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	*number = strtoul(text, &end, 10);
	return *end || *number > most ? -EINVAL : 0;
}

/* "tcp:203.0.113.10:80" or "udp:[2001:db8::10]:53". Changes the text. */
int service_parse_key(struct glb_redirect_service_key *key, char *text)
{
	const bool brackets = strlen(text) > 4 && text[4] == '[';
	char *addr = text + 4 + brackets, *colon = strrchr(text, ':');
	unsigned long port;

	*key = (struct glb_redirect_service_key){.protocol = GLB_IPPROTO_TCP};
	if (!strncmp(text, "udp:", 4))
		key->protocol = GLB_IPPROTO_UDP;
	else if (strncmp(text, "tcp:", 4))
		return -EINVAL;
	if (colon <= addr || (brackets && colon[-1] != ']') || read_number(colon + 1, UINT16_MAX, &port) || !port)
		return -EINVAL;
	*(colon - brackets) = '\0';
	key->port = glb_be16_put((uint16_t)port);
	if (address_parse(addr, &key->family, key->addr))
		return -EINVAL;
	return brackets == (key->family == GLB_REDIRECT_V6) ? 0 : -EINVAL;
}

static int read_word(struct service *service, char *text)
{
	char *less = strchr(text, '<');
	unsigned long number;

	if (less)
		*less++ = '\0';
	for (size_t i = 0; i < WORDS; i++) {
		if (strcmp(text, words[i].word) || words[i].protocol != service->key.protocol || words[i].number != !!less ||
		    service->service.flags & words[i].flag)
			continue;
		service->service.flags |= words[i].flag;
		if (!less)
			return 0;
		if (!strcmp(less, "auto")) {
			service->service.flags |= GLB_REDIRECT_SERVICE_DYNAMIC;
			service->service.threshold = DYNAMIC_START;
			return 0;
		}
		if (read_number(less, INT32_MAX, &number))
			return -EINVAL;
		service->service.threshold = (uint32_t)number;
		return 0;
	}
	return -EINVAL;
}

int service_parse(struct service *service, const char *text)
{
	const uint32_t hunts = GLB_REDIRECT_SERVICE_QUEUE | GLB_REDIRECT_SERVICE_LOAD;
	const uint32_t sockets = GLB_REDIRECT_SERVICE_BOUND | GLB_REDIRECT_SERVICE_CONNECTED;
	char *copy = strdup(text), *equals = copy ? strchr(copy, '=') : NULL, *rest, *one;
	int err = -EINVAL;

	*service = (struct service){0};
	if (equals) {
		*equals = '\0';
		rest = equals + 1;
		err = service_parse_key(&service->key, copy);
		while (!err && (one = strsep(&rest, ",")))
			err = read_word(service, one);
	}
	free(copy);
	if (service->service.flags & GLB_REDIRECT_SERVICE_QUIC || (service->service.flags & hunts) == hunts ||
	    (service->service.flags & sockets) == sockets)
		return -EINVAL;
	return err;
}

void service_format(const struct service *service, char text[SERVICE_TEXT])
{
	const struct glb_redirect_service_key *key = &service->key;
	const bool v6 = key->family == GLB_REDIRECT_V6;
	const char *between = "=";
	char addr[PREFIX_TEXT];
	size_t len;

	address_format(key->family, key->addr, addr);
	len = (size_t)snprintf(text, SERVICE_TEXT, "%s:%s%s%s:%u", key->protocol == GLB_IPPROTO_TCP ? "tcp" : "udp", v6 ? "[" : "", addr,
			       v6 ? "]" : "", glb_be16_get(key->port));
	for (size_t i = 0; i < WORDS; i++) {
		if (!(service->service.flags & words[i].flag))
			continue;
		len += (size_t)snprintf(text + len, SERVICE_TEXT - len, "%s%s", between, words[i].word);
		if (words[i].number && service->service.flags & GLB_REDIRECT_SERVICE_DYNAMIC)
			len += (size_t)snprintf(text + len, SERVICE_TEXT - len, "<auto");
		else if (words[i].number)
			len += (size_t)snprintf(text + len, SERVICE_TEXT - len, "<%u", service->service.threshold);
		between = ",";
	}
}

struct service *services_find(const struct services *services, const struct glb_redirect_service_key *key)
{
	for (size_t i = 0; i < services->count; i++)
		if (!memcmp(&services->items[i].key, key, sizeof(*key)))
			return &services->items[i];
	return NULL;
}

int services_push(struct services *services, const struct service *service)
{
	void *items = realloc(services->items, (services->count + 1) * sizeof(*services->items));

	if (!items)
		return -ENOMEM;
	services->items = items;
	services->items[services->count++] = *service;
	return 0;
}

void services_free(struct services *services)
{
	free(services->items);
	*services = (struct services){0};
}

static int by_key(const void *a, const void *b)
{
	return memcmp(&((const struct service *)a)->key, &((const struct service *)b)->key, sizeof(struct glb_redirect_service_key));
}

int services_read(int fd, struct services *services)
{
	struct service service = {0};
	const void *previous = NULL;
	int err = 0;

	*services = (struct services){0};
	while (!err && !bpf_map_get_next_key(fd, previous, &service.key)) {
		previous = &service.key;
		if (!bpf_map_lookup_elem(fd, &service.key, &service.service))
			err = services_push(services, &service);
	}
	if (services->count > 1)
		qsort(services->items, services->count, sizeof(*services->items), by_key);
	return err;
}

/* What the agent wrote, and what a dynamic threshold has learnt, outlive an attach that asks for the same. */
static struct service kept(const struct services *were, const struct service *wanted)
{
	const struct service *old = services_find(were, &wanted->key);
	struct service now = *wanted;

	if (!old)
		return now;
	now.service.load = old->service.load;
	if (old->service.flags == now.service.flags && now.service.flags & GLB_REDIRECT_SERVICE_DYNAMIC)
		now.service.threshold = old->service.threshold;
	return now;
}

int services_become(int fd, const struct services *wanted)
{
	struct services were;
	int err = services_read(fd, &were);

	for (size_t i = 0; i < wanted->count && !err; i++) {
		const struct service now = kept(&were, &wanted->items[i]);

		if (bpf_map_update_elem(fd, &now.key, &now.service, BPF_ANY))
			err = -errno;
	}
	for (size_t i = 0; i < were.count && !err; i++)
		if (!services_find(wanted, &were.items[i].key) && bpf_map_delete_elem(fd, &were.items[i].key))
			err = -errno;
	services_free(&were);
	return err;
}
