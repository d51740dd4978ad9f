/* The life of a capture (capture_control.h). */
#include "capture_control.h"
#include "clock.h"
#include "log.h"

#include <rte_rcu_qsbr.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { LEAVE_WAIT_MS = 1000 };

static int read_at(const json_t *list, unsigned *at, struct glb_error *error)
{
	static const char *const names[] = {"ingress", "egress", "drop"};

	*at = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		unsigned bit = 0;

		while (bit < 3 && (name == NULL || strcmp(name, names[bit]) != 0))
			bit++;
		if (bit == 3)
			return glb_error_set(error, -EINVAL, "at: must be a list of ingress, egress, drop");
		*at |= 1u << bit;
	}
	return *at != 0 ? 0 : glb_error_set(error, -EINVAL, "at: must be a list of ingress, egress, drop");
}

static int read_client(const char *text, struct capture_filter *filter, struct glb_error *error)
{
	char addr[INET6_ADDRSTRLEN];
	const char *slash = text != NULL ? strchr(text, '/') : NULL;
	size_t len = slash != NULL ? (size_t)(slash - text) : text != NULL ? strlen(text) : 0;
	char *end = NULL;
	unsigned most;

	if (len == 0 || len >= sizeof(addr))
		return glb_error_set(error, -EINVAL, "client: must be an address or a prefix");
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (inet_pton(AF_INET, addr, filter->client.bytes) == 1)
		filter->client.family = GLB_FAMILY_V4;
	else if (inet_pton(AF_INET6, addr, filter->client.bytes) == 1)
		filter->client.family = GLB_FAMILY_V6;
	else
		return glb_error_set(error, -EINVAL, "client: %s is no address", addr);
	most = 8 * glb_addr_len(filter->client.family);
	filter->client_bits = slash != NULL ? (unsigned)strtoul(slash + 1, &end, 10) : most;
	if (slash != NULL && (slash[1] < '0' || slash[1] > '9' || *end != '\0' || filter->client_bits > most))
		return glb_error_set(error, -EINVAL, "client: the prefix length must be 0 to %u", most);
	return 0;
}

static int read_reason(const char *name, int *reason, struct glb_error *error)
{
	for (int i = 0; name != NULL && i < GLB_REASON_COUNT; i++) {
		if (strcmp(glb_reason_name((unsigned)i), name) == 0) {
			*reason = i;
			return 0;
		}
	}
	return glb_error_set(error, -EINVAL, "reason: must be the name of a counter");
}

static int read_snaplen(const json_t *value, uint32_t *snaplen, struct glb_error *error)
{
	if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > GLB_CAPTURE_SNAPLEN_MAX)
		return glb_error_set(error, -EINVAL, "snaplen: must be 1 to %d bytes", GLB_CAPTURE_SNAPLEN_MAX);
	*snaplen = (uint32_t)json_integer_value(value);
	return 0;
}

int capture_read_filter(const json_t *request, struct capture_filter *filter, unsigned *seconds, struct glb_error *error)
{
	const json_t *limit = json_object_get(request, "seconds");
	const char *field;
	json_t *value;
	int ret = 0;

	*filter = (struct capture_filter){.at = GLB_CAPTURE_INGRESS, .reason = CAPTURE_ANY, .snaplen = GLB_CAPTURE_SNAPLEN};
	if (!json_is_integer(limit) || json_integer_value(limit) < 1 || json_integer_value(limit) > CAPTURE_SECONDS_MAX)
		return glb_error_set(error, -EINVAL, "seconds: must be 1 to %d", CAPTURE_SECONDS_MAX);
	*seconds = (unsigned)json_integer_value(limit);
	json_object_foreach((json_t *)(uintptr_t)request, field, value) {
		if (strcmp(field, "at") == 0)
			ret = read_at(value, &filter->at, error);
		else if (strcmp(field, "client") == 0)
			ret = read_client(json_string_value(value), filter, error);
		else if (strcmp(field, "reason") == 0)
			ret = read_reason(json_string_value(value), &filter->reason, error);
		else if (strcmp(field, "snaplen") == 0)
			ret = read_snaplen(value, &filter->snaplen, error);
		else if (strcmp(field, "service") == 0 && json_is_integer(value) && json_integer_value(value) > 0 &&
			 json_integer_value(value) <= UINT32_MAX)
			filter->service = (uint32_t)json_integer_value(value);
		else if (strcmp(field, "seconds") != 0)
			ret = glb_error_set(error, -EINVAL, "%.40s: not a field of a filter, or not a valid value", field);
		if (ret != 0)
			return ret;
	}
	return 0;
}

int capture_start(struct workers *workers, const char *path, const struct capture_filter *filter, unsigned seconds,
		  struct glb_error *error)
{
	struct capture *capture;

	if (workers->rings != NULL && (filter->reason == GLB_REASON_STEER_RING_FULL || filter->reason == GLB_REASON_TX_FULL))
		return glb_error_set(error, -EINVAL, "reason: in a pipeline %s is counted, but cannot be captured: it is not workers that "
				     "drop for it", glb_reason_name((unsigned)filter->reason));
	if (workers->capture != NULL)
		return glb_error_set(error, -EBUSY, "a capture is running; it ends after %llu s at the latest",
				     (unsigned long long)(workers->capture_end_ms - clock_ms()) / 1000 + 1);
	capture = capture_create(path, workers->count, filter, error);
	if (capture == NULL)
		return error->code;
	workers->capture_end_ms = clock_ms() + seconds * 1000ULL;
	__atomic_store_n(&workers->capture, capture, __ATOMIC_RELEASE);
	log_info("a capture begins, for at most %u s", seconds);
	return 0;
}

void capture_stop(struct workers *workers, struct swap *swap)
{
	struct capture *capture = workers->capture;
	uint64_t token, since = clock_ms();

	if (capture == NULL)
		return;
	__atomic_store_n(&workers->capture, NULL, __ATOMIC_RELEASE);
	token = rte_rcu_qsbr_start(swap->workers);
	while (rte_rcu_qsbr_check(swap->workers, token, false) == 0) {
		if (clock_ms() - since > LEAVE_WAIT_MS) {
			log_warning("a worker hangs: the memory of the capture that ended stays in use");
			return;
		}
		usleep(20);
	}
	capture_free(capture);
	log_info("the capture has ended");
}

void capture_expire(struct workers *workers, struct swap *swap)
{
	if (workers->capture != NULL && clock_ms() >= workers->capture_end_ms)
		capture_stop(workers, swap);
}
