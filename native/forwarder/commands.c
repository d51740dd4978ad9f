/* Requests to replies (commands.h). What status says is in status.c. */
#include "commands.h"
#include "capture_control.h"
#include "control.h"
#include "status.h"
#include "trace_control.h"

#include <glb/abi.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { YIELD_US = 100000 }; /* for the packets that wait, at least; less when there are none */

/* The reply as a line; takes over `reply`. NULL when out of memory. */
static char *finish(json_t *reply)
{
	char *text = json_dumps(reply, JSON_COMPACT), *line;
	size_t len;

	json_decref(reply);
	if (text == NULL)
		return NULL;
	len = strlen(text);
	line = realloc(text, len + 2);
	if (line == NULL) {
		free(text);
		return NULL;
	}
	memcpy(line + len, "\n", 2);
	return line;
}

static json_t *refuse(const char *code, const char *message)
{
	/* a message may quote bytes of a request or file that are no UTF-8 */
	json_t *text = json_string(message);

	return json_pack("{s:i, s:b, s:{s:s, s:o}}", "version", GLB_CONTROL_VERSION, "ok", 0, "error", "code", code,
			 "message", text != NULL ? text : json_string("(a message that is not UTF-8)"));
}

char *control_too_long(void)
{
	return finish(refuse("too_long", "a request is at most 65536 bytes, newline included; closing"));
}

static json_t *do_load(struct commands *commands, json_t *request)
{
	const char *path = json_string_value(json_object_get(request, "path"));
	struct swap *swap = commands->swap;
	struct swap_result result;
	bool kept;
	json_t *reply;

	if (path == NULL || path[0] != '/' || strlen(path) >= CONFIG_PATH_MAX)
		return refuse("bad_request", "path: must be the absolute path of a snapshot file");
	if (swap_load(swap, path, &result) != 0)
		return refuse("snapshot_refused", swap->last_error.text);
	/* one that waits to take over leaves the file to the process that forwards */
	kept = commands->takeover->state != TAKEOVER_WAITING && swap_keep(swap) == 0;
	reply = json_pack("{s:i, s:b, s:I, s:I, s:I, s:b}", "version", GLB_CONTROL_VERSION, "ok", 1, "generation",
			  (json_int_t)swap->generation, "load_us", (json_int_t)result.load_us, "switch_us",
			  (json_int_t)result.switch_us, "kept", kept);
	status_add_snapshot(reply, swap);
	return reply;
}

static json_t *do_load_lists(struct commands *commands, json_t *request)
{
	const char *path = json_string_value(json_object_get(request, "path"));
	struct swap *swap = commands->swap;
	bool kept;
	json_t *reply;

	if (path == NULL || path[0] != '/' || strlen(path) >= CONFIG_PATH_MAX)
		return refuse("bad_request", "path: must be the absolute path of a lists file");
	if (swap_load_lists(swap, path) != 0)
		return refuse("lists_refused", swap->lists.last_error.text);
	kept = commands->takeover->state != TAKEOVER_WAITING && lists_keep(&swap->lists, commands->config->lists) == 0;
	reply = json_pack("{s:i, s:b, s:I, s:I, s:b, s:o}", "version", GLB_CONTROL_VERSION, "ok", 1, "load_us",
			  (json_int_t)swap->lists.load_us, "switch_us", (json_int_t)swap->lists.switch_us, "kept", kept, "lists",
			  status_lists(swap));
	return reply;
}

static json_t *do_status(struct commands *commands, json_t *request)
{
	json_t *reply = json_pack("{s:i, s:b}", "version", GLB_CONTROL_VERSION, "ok", 1);

	(void)request;
	status_add(reply, commands);
	return reply;
}

/* {"filter": {…}} starts a capture, {"filter": null} ends it. */
static json_t *do_capture(struct commands *commands, json_t *request)
{
	const json_t *filter = json_object_get(request, "filter");
	struct capture_filter wanted;
	struct glb_error error = {0};
	char path[CONFIG_PATH_MAX + 16];
	unsigned seconds;
	int ret;

	if (json_is_null(filter)) {
		capture_stop(commands->workers, commands->swap);
		return json_pack("{s:i, s:b}", "version", GLB_CONTROL_VERSION, "ok", 1);
	}
	if (!json_is_object(filter))
		return refuse("bad_request", "filter: must be an object, or null to end the capture");
	if (capture_read_filter(filter, &wanted, &seconds, &error) != 0)
		return refuse("bad_request", error.text);
	capture_expire(commands->workers, commands->swap);
	snprintf(path, sizeof(path), "%s/capture", commands->config->run_dir);
	ret = capture_start(commands->workers, path, &wanted, seconds, &error);
	if (ret != 0)
		return refuse(ret == -EBUSY ? "busy" : "capture_failed", error.text);
	return json_pack("{s:i, s:b, s:s}", "version", GLB_CONTROL_VERSION, "ok", 1, "path", path);
}

static json_t *do_trace(struct commands *commands, json_t *request)
{
	struct trace_order order;
	struct glb_error error = {0};
	json_t *trace;

	if (trace_read_order(json_object_get(request, "packet"), commands->ports, commands->config, &order, &error) != 0)
		return refuse("bad_request", error.text);
	trace = trace_run(commands->workers, commands->swap, commands->ports, &order, &error);
	if (trace == NULL)
		return refuse(error.code == -EBUSY ? "busy" : "trace_failed", error.text);
	return json_pack("{s:i, s:b, s:o}", "version", GLB_CONTROL_VERSION, "ok", 1, "trace", trace);
}

static json_t *do_stop(struct commands *commands, json_t *request)
{
	(void)request;
	commands->stop = true;
	return json_pack("{s:i, s:b}", "version", GLB_CONTROL_VERSION, "ok", 1);
}

static json_t *do_takeover(struct commands *commands, json_t *request)
{
	struct takeover_result result = {0};
	struct glb_error error;

	(void)request;
	if (commands->takeover->state != TAKEOVER_WAITING)
		return refuse("takeover_failed", "this forwarder was not started with --takeover, or has taken over");
	if (takeover_flip(commands->takeover, &commands->parts, &result, &error) != 0)
		return refuse("takeover_failed", error.text);
	swap_keep(commands->swap);
	return json_pack("{s:i, s:b, s:i, s:I, s:I}", "version", GLB_CONTROL_VERSION, "ok", 1, "pid", (int)getpid(),
			 "old_pid", (json_int_t)result.old_pid, "overlap_us", (json_int_t)result.overlap_us);
}

/* To the process that takes over: forwards what waits, then nothing more, and ends. */
static json_t *do_yield(struct commands *commands, json_t *request)
{
	struct workers *workers = commands->parts.workers;

	(void)request;
	if (commands->takeover->state == TAKEOVER_WAITING)
		return refuse("bad_request", "yield: this forwarder has not taken over yet");
	if (!workers_mute(workers, MUTE_WHEN_EMPTY, YIELD_US))
		workers_mute(workers, MUTE_NOW, YIELD_US);
	commands->yielded = true;
	commands->stop = true;
	return json_pack("{s:i, s:b}", "version", GLB_CONTROL_VERSION, "ok", 1);
}

struct command {
	const char *name;
	const char *argument; /* the only field it takes besides version and command, or NULL */
	json_t *(*run)(struct commands *commands, json_t *request);
};

static const struct command table[] = {
	{"load", "path", do_load},
	{"load_lists", "path", do_load_lists},
	{"status", NULL, do_status},
	{"takeover", NULL, do_takeover},
	{"yield", NULL, do_yield},
	{"capture", "filter", do_capture},
	{"trace", "packet", do_trace},
	{"stop", NULL, do_stop},
};

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; name != NULL && i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

static json_t *dispatch(struct commands *commands, json_t *request)
{
	const json_t *version = json_object_get(request, "version");
	const json_t *name = json_object_get(request, "command");
	const struct command *command = find_command(json_string_value(name));
	const char *field;
	json_t *value;
	char text[160];

	if (!json_is_object(request))
		return refuse("bad_request", "a request is one JSON object on a line");
	if (!json_is_integer(version))
		return refuse("bad_request", "version: missing, or not an integer; this forwarder speaks 1");
	if (json_integer_value(version) != GLB_CONTROL_VERSION)
		return refuse("unsupported_version", "version: this forwarder speaks 1");
	if (!json_is_string(name))
		return refuse("bad_request", "command: missing, or not a string");
	if (command == NULL)
		return refuse("unknown_command", "command: must be load, load_lists, status, capture, trace, takeover, yield or stop");
	json_object_foreach(request, field, value) {
		if (strcmp(field, "version") == 0 || strcmp(field, "command") == 0 ||
		    (command->argument != NULL && strcmp(field, command->argument) == 0))
			continue;
		snprintf(text, sizeof(text), "%.40s: %s does not take this field", field, command->name);
		return refuse("bad_request", text);
	}
	return command->run(commands, request);
}

char *commands_answer(void *context, const char *line, size_t len)
{
	json_error_t wrong;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &wrong), *reply;
	char text[200];

	if (request == NULL) {
		snprintf(text, sizeof(text), "not a JSON object: %.120s", wrong.text);
		reply = refuse("bad_request", text);
	} else {
		reply = dispatch(context, request);
		json_decref(request);
	}
	return finish(reply);
}
