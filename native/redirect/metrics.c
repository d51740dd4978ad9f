/* glb-redirect metrics: what `status` knows, in Prometheus' text format; to a file, as node_exporter's textfile
 * collector reads it.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tool.h"

enum family {
	ATTACHED,
	RECEIVED,
	OTHER,
	PACKETS,
	PREFIXES,
	FAMILIES,
};

/* All samples of a family come together, so each instance adds a piece to each text. */
struct page {
	char *text[FAMILIES]; /* owned; by open_memstream */
	size_t size[FAMILIES];
	FILE *out[FAMILIES];
};

static const char *const heads[FAMILIES] = {
	"# HELP glb_redirect_attached 1 while the program runs on the interface.\n"
	"# TYPE glb_redirect_attached gauge\n",
	"# HELP glb_redirect_received_packets_total Packets in tunnels that end here, or with a DSCP that stands for a VIP.\n"
	"# TYPE glb_redirect_received_packets_total counter\n",
	"# HELP glb_redirect_other_packets_total Other packets that came in, left alone.\n"
	"# TYPE glb_redirect_other_packets_total counter\n",
	"# HELP glb_redirect_packets_total What became of packets: delivered here, sent, or dropped; and why.\n"
	"# TYPE glb_redirect_packets_total counter\n",
	"# HELP glb_redirect_prefixes Prefixes of the allow-list: sources, and peers, which may be sent to as well.\n"
	"# TYPE glb_redirect_prefixes gauge\n",
};

static int page_open(struct page *page)
{
	for (int i = 0; i < FAMILIES; i++) {
		page->out[i] = open_memstream(&page->text[i], &page->size[i]);
		if (!page->out[i])
			return -ENOMEM;
		fputs(heads[i], page->out[i]);
	}
	return 0;
}

/* Ends the texts; -ENOMEM when one is not whole. */
static int page_end(struct page *page)
{
	int err = 0;

	for (int i = 0; i < FAMILIES; i++)
		if (!page->out[i] || fclose(page->out[i]))
			err = -ENOMEM;
	return err;
}

/* Writes `text` as the value of a label. */
static void put_quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		if (*text == '\n')
			fputs("\\n", out);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

/* Begins a sample: its name and the labels of its instance. Others, and "} VALUE\n", follow. */
static FILE *sample(struct page *page, enum family family, const struct instance *instance)
{
	static const char *const names[FAMILIES] = {
		"attached", "received_packets_total", "other_packets_total", "packets_total", "prefixes"};
	FILE *out = page->out[family];

	fprintf(out, "glb_redirect_%s{interface=", names[family]);
	put_quoted(out, instance->config.interface);
	fputs(",name=", out);
	put_quoted(out, instance->name);
	return out;
}

/* "dropped", "delivered" or "sent": the first word of what the reason's text says. */
static int outcome_len(const struct reason *reason)
{
	return (int)strcspn(reason->text, ": ");
}

static int add_instance(struct instance *instance, void *context)
{
	uint64_t counters[GLB_REDIRECT_REASON_COUNT];
	struct prefixes allow = {0};
	struct page *page = context;
	int err = counters_read(instance->counters_fd, counters);
	size_t peers = 0;

	if (!err)
		err = allow_read(instance->allow_fd, &allow);
	if (err)
		return fail_errno(err, "cannot read instance %s", instance->name);
	for (size_t i = 0; i < allow.count; i++)
		peers += (allow.roles[i] & GLB_REDIRECT_PEER) != 0;
	fprintf(sample(page, ATTACHED, instance), "} %d\n", instance_running(instance) != 0);
	fprintf(sample(page, RECEIVED, instance), "} %" PRIu64 "\n", counters[GLB_REDIRECT_RECEIVED]);
	fprintf(sample(page, OTHER, instance), "} %" PRIu64 "\n", counters[GLB_REDIRECT_NOT_GUE]);
	for (int i = GLB_REDIRECT_NOT_GUE + 1; i < GLB_REDIRECT_REASON_COUNT; i++)
		fprintf(sample(page, PACKETS, instance), ",outcome=\"%.*s\",reason=\"%s\"} %" PRIu64 "\n",
			outcome_len(&reasons[i]), reasons[i].text, reasons[i].name, counters[i]);
	fprintf(sample(page, PREFIXES, instance), ",role=\"source\"} %zu\n", allow.count - peers);
	fprintf(sample(page, PREFIXES, instance), ",role=\"peer\"} %zu\n", peers);
	prefixes_free(&allow);
	return EXIT_DONE;
}

/* The instance that options name, or all; one that is not there is not attached. */
static int collect(const struct options *options, struct page *page)
{
	const char *name = options->name ? options->name : options->device;
	struct instance instance;
	int err, status;

	if (!name)
		return instance_each(options->pin_dir, add_instance, page);
	err = instance_open(&instance, options->pin_dir, name);
	if (err == -ENOENT) {
		snprintf(instance.name, sizeof(instance.name), "%s", name);
		snprintf(instance.config.interface, sizeof(instance.config.interface), "%s",
			 options->device ? options->device : "");
		fputs("} 0\n", sample(page, ATTACHED, &instance));
		return EXIT_DONE;
	}
	if (err)
		return fail_errno(err, "cannot open instance %s in %s", name, options->pin_dir);
	status = add_instance(&instance, page);
	instance_close(&instance);
	return status;
}

static int print(const struct page *page, FILE *out)
{
	for (int i = 0; i < FAMILIES; i++)
		fwrite(page->text[i], 1, page->size[i], out);
	return fflush(out) || ferror(out) ? -EIO : 0;
}

/* Whoever reads `path` sees the old page or the new one, whole. */
static int replace(const struct page *page, const char *path)
{
	char fresh[PATH_LEN];
	FILE *out;
	int err;

	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= PATH_LEN)
		return fail("--output %s: too long", path);
	out = fopen(fresh, "we");
	if (!out)
		return fail_errno(-errno, "cannot write %s", fresh);
	err = print(page, out);
	if (!err && fchmod(fileno(out), 0644))
		err = -errno;
	if (fclose(out) && !err)
		err = -errno;
	if (!err && rename(fresh, path))
		err = -errno;
	if (err) {
		unlink(fresh);
		return fail_errno(err, "cannot write %s", path);
	}
	return EXIT_DONE;
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

int command_metrics(const struct options *options)
{
	struct page page = {0};
	int status = EXIT_DONE, err;

	libbpf_set_print(silent); /* "no such filter" is an answer here */
	err = page_open(&page);
	if (!err)
		status = collect(options, &page);
	if (page_end(&page))
		err = -ENOMEM;
	if (err)
		status = fail_errno(err, "cannot make the page");
	else if (status == EXIT_DONE)
		status = options->output ? replace(&page, options->output)
			 : print(&page, stdout) ? fail("cannot write the page") : EXIT_DONE;
	for (int i = 0; i < FAMILIES; i++)
		free(page.text[i]);
	return status;
}
