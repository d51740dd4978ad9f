/* glb-forwarder: the order in which things start, and end in reverse. */
#include "capture_control.h"
#include "commands.h"
#include "config.h"
#include "config_schema.h"
#include "control.h"
#include "eal.h"
#include "egress.h"
#include "layout.h"
#include "log.h"
#include "memif.h"
#include "needs.h"
#include "notify.h"
#include "opts.h"
#include "port.h"
#include "port_mend.h"
#include "punt.h"
#include "run_dir.h"
#include "stats_file.h"
#include "status.h"
#include "swap.h"
#include "takeover.h"
#include "telemetry.h"
#include "order.h"
#include "watchdog.h"
#include "worker.h"
#include "xdp.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	EXIT_USAGE = 2,
	POLL_MS = 1000,       /* the main lcore has nothing to do on its own */
	POLL_LIMITS_MS = 100, /* services' limits are shared out among workers */
	POLL_BUSY_MS = 5,     /* while something must be looked after */
	STOP_WAIT_MS = 5000,
};

struct forwarder {
	struct opts opts;
	struct config config;
	struct ports ports;
	struct punt punt;
	struct stats_file stats;
	struct nexthop *nexthop; /* NULL where forward.gateway_mac is given */
	struct swap swap;
	struct flows flows;
	struct guards guards;
	struct path_mtus path_mtus;
	struct fragments fragments;
	struct order order;
	struct workers workers;
	struct commands commands;
	struct takeover takeover;
	struct watchdog *watchdog;
	bool has_memory; /* EAL has started */
	bool started;    /* it has been ready */
};

/* SIGTERM and SIGINT as a file descriptor, for all threads that come; SIGPIPE is no reason to die. */
static int take_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool signalled(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info);
}

/* The last good snapshot, when there is one; without it everything is punted, and status says why. A replay
 * makes no sense without. */
static int load_first(struct forwarder *fwd, struct glb_error *error)
{
	struct swap_result result;

	/* first, since the snapshot's services may name some; a bad file is logged, and status says why */
	if ((access(fwd->config.lists, F_OK) == 0 || errno != ENOENT) && swap_load_lists(&fwd->swap, fwd->config.lists) != 0 &&
	    fwd->opts.replay) {
		*error = fwd->swap.lists.last_error;
		return error->code;
	}
	if (!fwd->opts.replay && access(fwd->config.snapshot, F_OK) != 0 && errno == ENOENT) {
		log_info("no snapshot at %s yet: everything is left to the kernel", fwd->config.snapshot);
	} else if (swap_load(&fwd->swap, fwd->config.snapshot, &result) == 0) {
		log_info("loaded %s", fwd->config.snapshot);
	} else if (fwd->opts.replay) {
		*error = fwd->swap.last_error;
		return error->code;
	}
	return 0;
}

/* Opens a port again whose interface is back. The workers stand still meanwhile, a fraction of a second. */
static int mend_port(struct forwarder *fwd, unsigned index, struct glb_error *error)
{
	int ret;

	capture_stop(&fwd->workers, &fwd->swap);
	watchdog_close(fwd->watchdog);
	fwd->watchdog = NULL;
	if (!workers_stop(&fwd->workers, STOP_WAIT_MS))
		return glb_error_set(error, -EBUSY, "a worker does not stop, so no port can be opened again; restart");
	port_mend(&fwd->ports, index, &fwd->config, &fwd->swap);
	ret = workers_start(&fwd->workers, &fwd->config, &fwd->ports, &fwd->swap, &fwd->stats, false, NULL, error);
	if (ret != 0)
		return ret;
	fwd->watchdog = watchdog_open(&fwd->workers, error);
	return fwd->watchdog != NULL ? 0 : error->code;
}

/* The main lcore's life: control, until it is asked to stop or, in a replay, the workers have ended. */
static int serve(struct forwarder *fwd, struct control *control, int signals, struct glb_error *error)
{
	int ret = 0, wake = egress_wake(signals, fwd->path_mtus.fd, fwd->nexthop);

	while (!fwd->commands.stop && !signalled(signals)) {
		bool busy = swap_reclaim(&fwd->swap) || fwd->opts.replay;
		bool limits = guards_balance(&fwd->guards, fwd->swap.current);
		int back = fwd->opts.replay ? -1 : ports_look(&fwd->ports, &fwd->config);

		if (back >= 0 && mend_port(fwd, (unsigned)back, error) != 0) {
			ret = error->code;
			break;
		}
		path_mtus_poll(&fwd->path_mtus, fwd->swap.current);
		swap_keep_again(&fwd->swap);
		busy |= takeover_settle(&fwd->takeover, &fwd->config);
		if (fwd->opts.replay && workers_done(&fwd->workers))
			break;
		capture_expire(&fwd->workers, &fwd->swap);
		control_poll(control, wake >= 0 ? wake : signals,
			     egress_poll(fwd->nexthop, busy ? POLL_BUSY_MS : limits ? POLL_LIMITS_MS : POLL_MS));
	}
	if (wake >= 0)
		close(wake);
	return ret;
}

static void print_replay(const struct stats_file *stats)
{
	json_t *result = status_replay(stats);

	json_dumpf(result, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(result);
}

/* What the service manager, and whoever finds our files, is to know of our end. */
static void leave(struct forwarder *fwd, struct control *control)
{
	if (fwd->commands.yielded) {
		control_forget(control);
		stats_file_forget(&fwd->stats);
	} else if (fwd->takeover.state != TAKEOVER_WAITING) {
		notify_stopping();
	}
}

static int serve_with_workers(struct forwarder *fwd, int signals, struct glb_error *error)
{
	struct order *order = fwd->opts.order != NULL ? &fwd->order : NULL;
	struct control *control = NULL;
	int ret = load_first(fwd, error);

	if (ret != 0)
		return ret;
	fwd->workers.mute = fwd->opts.takeover ? MUTE_NOW : MUTE_OFF;
	ret = workers_start(&fwd->workers, &fwd->config, &fwd->ports, &fwd->swap, &fwd->stats, fwd->opts.replay, order,
			    error);
	if (ret != 0)
		return ret;
	fwd->commands = (struct commands){
		.config = &fwd->config, .ports = &fwd->ports, .stats = &fwd->stats, .workers = &fwd->workers,
		.swap = &fwd->swap, .takeover = &fwd->takeover,
	};
	fwd->watchdog = watchdog_open(&fwd->workers, error);
	if (fwd->watchdog != NULL)
		control = control_open(fwd->config.run_dir, commands_answer, &fwd->commands, error);
	if (control != NULL) {
		fwd->commands.parts = (struct takeover_parts){
			.config = &fwd->config, .control = control, .stats = &fwd->stats, .swap = &fwd->swap,
			.workers = &fwd->workers,
		};
		fwd->started = true;
		log_info("ready: %d workers%s", (int)fwd->config.workers, fwd->opts.takeover ? ", muted" : "");
		if (!fwd->opts.takeover)
			notify_ready();
		ret = serve(fwd, control, signals, error);
		leave(fwd, control);
		log_info("stopping");
		control_close(control);
	} else {
		ret = error->code;
	}
	capture_stop(&fwd->workers, &fwd->swap);
	watchdog_close(fwd->watchdog);
	if (!workers_stop(&fwd->workers, STOP_WAIT_MS)) {
		log_error("a worker does not stop: giving up without cleaning up");
		stats_file_close(&fwd->stats);
		_exit(EXIT_FAILURE);
	}
	if (ret == 0 && fwd->opts.replay)
		print_replay(&fwd->stats);
	return ret;
}

/* What lies between EAL's start and its end. */
static int run_ports(struct forwarder *fwd, int signals, struct glb_error *error)
{
	const struct config *config = &fwd->config;
	int ret = ports_start(&fwd->ports, config, error);

	if (ret != 0)
		return ret;
	ret = punt_open(&fwd->punt, config, &fwd->ports, error);
	if (ret != 0)
		goto stop_ports;
	ret = stats_file_open(&fwd->stats, config->run_dir, config_counted_lcores(config),
			      (uint32_t)config->service_slots, (uint32_t)config->backend_slots, error);
	if (ret != 0)
		goto close_punt;
	ret = egress_open(&fwd->nexthop, config, &fwd->ports, error);
	if (ret != 0)
		goto close_stats;
	ret = guards_open(&fwd->guards, config, &fwd->stats, error);
	if (ret != 0)
		goto close_nexthop;
	ret = swap_open(&fwd->swap, config, &fwd->ports, &fwd->stats, fwd->nexthop, &fwd->guards, error);
	if (ret != 0)
		goto close_guards;
	ret = path_mtus_open(&fwd->path_mtus, config, error);
	if (ret != 0)
		goto close_swap;
	fwd->swap.path_mtus = &fwd->path_mtus;
	flows_open(&fwd->flows, config, &fwd->stats);
	fwd->swap.flows = &fwd->flows;
	fragments_open(&fwd->fragments, config);
	fwd->swap.fragments = &fwd->fragments;
	ret = telemetry_open(&fwd->stats, &fwd->swap, error);
	if (ret == 0 && fwd->opts.order != NULL)
		ret = order_open(&fwd->order, fwd->opts.order, error);
	if (ret == 0)
		ret = serve_with_workers(fwd, signals, error);
	order_close(&fwd->order);
	telemetry_close();
	path_mtus_close(&fwd->path_mtus);
close_swap:
	swap_close(&fwd->swap);
	fragments_close(&fwd->fragments);
	flows_close(&fwd->flows);
close_guards:
	guards_close(&fwd->guards);
close_nexthop:
	nexthop_close(fwd->nexthop);
close_stats:
	stats_file_close(&fwd->stats);
close_punt:
	punt_close(&fwd->punt);
stop_ports:
	ports_stop(&fwd->ports);
	return ret;
}

static int print_schema(void)
{
	json_t *schema = config_schema();
	int ret = schema != NULL ? json_dumpf(schema, stdout, JSON_INDENT(2)) : -1;

	putchar('\n');
	json_decref(schema);
	return ret == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(struct forwarder *fwd, struct glb_error *error)
{
	int ret = 0, signals = take_signals();

	if (signals < 0)
		return glb_error_set(error, -errno, "signals cannot be taken");
	if (fwd->opts.takeover)
		ret = takeover_prepare(&fwd->takeover, &fwd->config, error);
	if (ret != 0)
		return ret;
	fwd->takeover.lock = run_dir_open(fwd->config.run_dir, error);
	if (fwd->takeover.lock < 0)
		return fwd->takeover.lock;
	memif_prepare(&fwd->config);
	ret = xdp_prepare(&fwd->config, error);
	if (ret == 0)
		ret = eal_start(&fwd->config, &fwd->opts, error);
	fwd->has_memory = ret == 0;
	if (ret == 0) {
		ret = run_ports(fwd, signals, error);
		eal_stop();
	}
	run_dir_close(fwd->takeover.lock, fwd->config.run_dir);
	return ret;
}

/* --show-layout. EAL does not start, so cores that EAL options give are not in it. */
static int show_layout(const struct config *config, struct glb_error *error)
{
	static char text[1 << 18];
	cpu_set_t allowed;
	int ret;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return glb_error_set(error, -errno, "sched_getaffinity: %s", strerror(errno));
	ret = layout_print(config, &allowed, layout_node_of_cpu, text, sizeof(text), error);
	if (ret == 0)
		fputs(text, stdout);
	if (ret == 0)
		ret = layout_print_ports(config, layout_node_of_cpu, layout_node_of_device, text, sizeof(text), error);
	if (ret == 0 && config->port_count != 0)
		printf("\n%s", text);
	if (ret == 0)
		printf("\nflow caches, once a service has flow_cache on: %.0f MiB, %lld flows for each worker\n",
		       (double)flows_bytes(config) / (1 << 20), (long long)config->flow_entries);
	return ret;
}

/* Why a start may have failed, behind what EAL and its drivers said: what cannot work, or else all that is odd. */
static void explain(const struct forwarder *fwd)
{
	struct needs needs;
	bool fails = false;

	needs_look(&needs, &fwd->config, &fwd->opts, !fwd->has_memory);
	for (unsigned i = 0; i < needs.count; i++)
		fails |= needs.list[i].fails;
	for (unsigned i = 0; i < needs.count; i++)
		if (needs.list[i].fails == fails)
			log_error("%s: %s: %s", needs.list[i].check, needs.list[i].message, needs.list[i].mend);
}

static int print_needs(const struct forwarder *fwd)
{
	struct needs needs;

	needs_look(&needs, &fwd->config, &fwd->opts, true);
	return needs_print(&needs);
}

int main(int argc, char **argv)
{
	static struct forwarder fwd;
	struct glb_error error = {0};
	int ret = opts_parse(&fwd.opts, argc, argv, &error);

	if (ret == 0 && fwd.opts.help) {
		opts_print_help();
		return EXIT_SUCCESS;
	}
	if (ret == 0 && fwd.opts.version) {
		puts("glb-forwarder " GLB_PROGRAM_VERSION);
		return EXIT_SUCCESS;
	}
	if (ret == 0 && fwd.opts.schema)
		return print_schema();
	if (ret == 0)
		ret = config_read(&fwd.config, fwd.opts.config, fwd.opts.sets, fwd.opts.set_count, &error);
	if (ret != 0) {
		log_error("%s", error.text);
		return EXIT_USAGE;
	}
	if (fwd.opts.show_layout) {
		ret = show_layout(&fwd.config, &error);
		if (ret != 0)
			log_error("%s", error.text);
	} else if (fwd.opts.needs) {
		ret = print_needs(&fwd);
	} else if (fwd.opts.check) {
		printf("%s: ok\n", fwd.opts.config != NULL ? fwd.opts.config : "options");
	} else {
		log_open(fwd.config.name);
		ret = run(&fwd, &error);
		if (ret != 0) {
			log_error("%s", error.text);
			if (!fwd.started)
				explain(&fwd);
		}
	}
	config_free(&fwd.config);
	if (ret == -EINVAL)
		return EXIT_USAGE;
	return ret == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
