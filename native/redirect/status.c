/* glb-redirect status: is it attached, what has it counted, whom does it trust. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <jansson.h>
#include <net/if.h>
#include <stdio.h>
#include "tool.h"

/* What `status` says of one interface. */
struct report {
	const char *interface;
	const char *name;
	const struct instance *instance; /* NULL: nothing is pinned */
	uint32_t program_id;             /* 0: not attached */
	const char *hook;                /* NULL: not attached */
	uint32_t egress;                 /* its program; 0: none */
	struct xdp_state xdp;
	uint64_t counters[GLB_REDIRECT_REASON_COUNT];
	struct prefixes allow;
	struct rewrites rewrites;
	struct services services;
};

static const char *const decap_names[] = {"gre", "ipip"}; /* by bit of GLB_REDIRECT_DECAP_* */

static json_t *decap_json(const struct glb_redirect_config *config)
{
	json_t *names = json_array();

	for (size_t i = 0; config && i < sizeof(decap_names) / sizeof(decap_names[0]); i++)
		if (config->decap & 1u << i)
			json_array_append_new(names, json_string(decap_names[i]));
	return names;
}

static json_t *rewrites_json(const struct rewrites *rewrites, bool dscp)
{
	json_t *texts = json_array();
	char text[REWRITE_TEXT];

	for (size_t i = 0; i < rewrites->count; i++) {
		if ((rewrites->items[i].match.kind == GLB_REDIRECT_DSCP) != dscp)
			continue;
		rewrite_format(&rewrites->items[i], text);
		json_array_append_new(texts, json_string(text));
	}
	return texts;
}

static json_t *services_json(const struct services *services)
{
	json_t *items = json_array();
	char text[SERVICE_TEXT];

	for (size_t i = 0; i < services->count; i++) {
		service_format(&services->items[i], text);
		json_array_append_new(items, json_pack("{s:s, s:I, s:I}", "service", text, "threshold",
						       (json_int_t)services->items[i].service.threshold, "load",
						       (json_int_t)services->items[i].service.load));
	}
	return items;
}

static json_t *report_json(const struct report *report)
{
	json_t *counters = json_object(), *allow = json_array(), *peers = json_array();
	const struct glb_redirect_config *config = report->instance ? &report->instance->config : NULL;
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < GLB_REDIRECT_REASON_COUNT; i++)
		json_object_set_new(counters, reasons[i].name, json_integer((json_int_t)report->counters[i]));
	for (size_t i = 0; i < report->allow.count; i++) {
		prefix_format(&report->allow.items[i], text);
		json_array_append_new(allow, json_string(text));
		if (report->allow.roles[i] & GLB_REDIRECT_PEER)
			json_array_append_new(peers, json_string(text));
	}
	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:s}", "interface", report->interface,
			 "attached", report->program_id != 0,
			 "program_id", report->program_id ? json_integer(report->program_id) : json_null(),
			 "counters", counters, "allow", allow, "peers", peers,
			 "xdp", !report->xdp.program_id ? json_null() : json_string(report->xdp.native ? "native" : "generic"),
			 "xdp_program_id", report->xdp.program_id ? json_integer(report->xdp.program_id) : json_null(),
			 "hook", report->hook ? json_string(report->hook) : json_null(),
			 "egress_program_id", report->egress ? json_integer(report->egress) : json_null(),
			 "name", report->name,
			 "port", config ? (int)config->port : 0,
			 "last_hop_rate", config ? (int)config->last_hop_rate : 0,
			 "forward_rate", config ? (int)config->forward_rate : 0, "decap", decap_json(config),
			 "gre_key", config && config->gre_has_key ? json_integer(config->gre_key) : json_null(),
			 "l3dsr", rewrites_json(&report->rewrites, true), "nat", rewrites_json(&report->rewrites, false),
			 "services", services_json(&report->services),
			 "deliver", config && config->leaves_outer ? "kernel" : "inner");
}

static void report_text(const struct report *report)
{
	char text[PREFIX_TEXT];

	if (report->program_id)
		printf("%s: attached as program %u by %s, name %s\n", report->interface, report->program_id, report->hook, report->name);
	else
		printf("%s: not attached\n", report->interface);
	if (!report->instance)
		return;
	if (report->xdp.program_id)
		printf("  %s XDP in front, as program %u\n", report->xdp.native ? "native" : "generic", report->xdp.program_id);
	printf("  UDP port %u; at most %u unknown packets per second and CPU to the stack, %u to the next hop (0 = no limit)\n",
	       report->instance->config.port, report->instance->config.last_hop_rate, report->instance->config.forward_rate);
	if (report->instance->config.leaves_outer)
		printf("  what is for this host keeps its outer headers, for the kernel's own tunnels\n");
	for (size_t i = 0; i < report->allow.count; i++) {
		prefix_format(&report->allow.items[i], text);
		printf("  allow %-18s %s\n", text, report->allow.roles[i] & GLB_REDIRECT_PEER ? "peer" : "source");
	}
	for (size_t i = 0; i < sizeof(decap_names) / sizeof(decap_names[0]); i++)
		if (report->instance->config.decap & 1u << i)
			printf("  ends %s tunnels\n", decap_names[i]);
	if (report->instance->config.gre_has_key)
		printf("  GRE key %u\n", report->instance->config.gre_key);
	for (size_t i = 0; i < report->rewrites.count; i++) {
		char rewrite[REWRITE_TEXT];

		rewrite_format(&report->rewrites.items[i], rewrite);
		printf("  %s %s\n", report->rewrites.items[i].match.kind == GLB_REDIRECT_DSCP ? "l3dsr" : "nat", rewrite);
	}
	for (size_t i = 0; i < report->services.count; i++) {
		char service[SERVICE_TEXT];

		service_format(&report->services.items[i], service);
		printf("  service %s, threshold %u, load %u\n", service, report->services.items[i].service.threshold,
		       report->services.items[i].service.load);
	}
	if (!report->allow.count)
		printf("  the allow-list is empty: what comes in tunnels is dropped\n");
	for (size_t i = 0; i < GLB_REDIRECT_REASON_COUNT; i++)
		printf("  %12llu  %-18s %s\n", (unsigned long long)report->counters[i], reasons[i].name,
		       reasons[i].text);
}

/* Fills the rest of a report from its instance. */
static int report_fill(struct report *report)
{
	int err;

	if (!report->instance)
		return 0;
	err = counters_read(report->instance->counters_fd, report->counters);
	if (!err)
		err = allow_read(report->instance->allow_fd, &report->allow);
	if (!err)
		err = rewrites_read(report->instance->rewrites_fd, &report->rewrites);
	return err ? err : services_read(report->instance->services_fd, &report->services);
}

/* Appends the instance to the JSON array `context`, or prints it when that is NULL. */
static int show(struct instance *instance, void *context)
{
	struct report report = {.interface = instance->config.interface, .name = instance->name, .instance = instance};
	int err = report_fill(&report);

	report.program_id = instance_running(instance);
	report.xdp = xdp_query(instance);
	report.egress = tcx_program(instance->dir, true);
	if (!report.egress)
		report.egress = filter_egress((int)if_nametoindex(report.interface));
	if (report.program_id)
		report.hook = tcx_program(instance->dir, false) ? "tcx" : "clsact";
	if (err)
		return fail_errno(err, "cannot read instance %s", instance->name);
	if (context)
		json_array_append_new(context, report_json(&report));
	else
		report_text(&report);
	prefixes_free(&report.allow);
	rewrites_free(&report.rewrites);
	services_free(&report.services);
	return EXIT_DONE;
}

static void print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(value);
}

static int show_all(const struct options *options)
{
	json_t *array = options->json ? json_array() : NULL;
	int status = instance_each(options->pin_dir, show, array);

	if (array)
		print_json(array);
	return status;
}

static int show_none(const struct options *options, const char *name)
{
	struct report report = {.interface = options->device, .name = name};

	if (!if_nametoindex(options->device))
		return fail("%s: no such device, and nothing is pinned for it in %s", options->device, options->pin_dir);
	if (options->json)
		print_json(report_json(&report));
	else
		report_text(&report);
	return EXIT_DONE;
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

int command_status(const struct options *options)
{
	const char *name = options->name ? options->name : options->device;
	struct instance instance;
	json_t *array;
	int err, status;

	if (options->connections)
		return show_connections(options);
	libbpf_set_print(silent); /* "no such filter" is an answer here */
	if (!name)
		return show_all(options);
	err = instance_open(&instance, options->pin_dir, name);
	if (err == -ENOENT && options->device)
		return show_none(options, name);
	if (err)
		return fail_errno(err, "cannot open instance %s in %s", name, options->pin_dir);
	array = options->json ? json_array() : NULL;
	status = show(&instance, array);
	if (array) {
		if (status == EXIT_DONE)
			print_json(json_incref(json_array_get(array, 0)));
		json_decref(array);
	}
	instance_close(&instance);
	return status;
}
