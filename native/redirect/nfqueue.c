/* glb-redirect nfqueue: the second chance by a process, for kernels or policies without eBPF.
 *
 * `run` takes the packets that an iptables rule gives it (rule.c), decides as the eBPF programs do, and has the kernel drop each one that
 * is ours: what is to be delivered here goes to this host once more by a raw socket, without its outer headers, and what is to go on
 * leaves by one. `judge` says of packets on standard input what `run` would do, and sends nothing.
 */
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "judge.h"
#include "queue.h"
#include "watch.h"

enum {
	LOOPBACK = 1,     /* its ifindex, in every namespace */
	HDRINCL_V6 = 36,  /* IPV6_HDRINCL */
	SAVE_SECONDS = 1,
};

struct worker {
	struct judge judge;
	struct judgement *judgement; /* owned */
	struct queue queue;
	int raw_v4, raw_v6;
	uint64_t counters[GLB_REDIRECT_REASON_COUNT];
	const char *status; /* file; NULL: none */
	time_t saved;
	struct watch watch; /* of the allow-list's file; path NULL: none */
	time_t looked;
	bool changed;
};

static volatile sig_atomic_t stopping, asked;

static void stop(int signal)
{
	(void)signal;
	stopping = 1;
}

static void ask(int signal)
{
	(void)signal;
	asked = 1;
}

static int open_raw(int family, int level, int option)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), on = 1;

	if (fd >= 0 && setsockopt(fd, level, option, &on, sizeof(on))) {
		close(fd);
		fd = -1;
	}
	return fd < 0 ? -errno : fd;
}

/* Sends an IP packet to where its header says. To an address of this host it comes in by lo, where its source is not questioned. */
static bool send_packet(const struct worker *worker, const uint8_t *packet, uint32_t length)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	ssize_t sent;

	if (packet[0] >> 4 == 6) {
		memcpy(&v6.sin6_addr, packet + offsetof(struct glb_ipv6, dst), 16);
		sent = sendto(worker->raw_v6, packet, length, 0, (const struct sockaddr *)&v6, sizeof(v6));
	} else {
		memcpy(&v4.sin_addr, packet + offsetof(struct glb_ipv4, dst), 4);
		sent = sendto(worker->raw_v4, packet, length, 0, (const struct sockaddr *)&v4, sizeof(v4));
	}
	return sent == (ssize_t)length;
}

static json_t *counters_json(const struct worker *worker)
{
	json_t *counters = json_object();

	for (size_t i = 0; i < GLB_REDIRECT_REASON_COUNT; i++)
		json_object_set_new(counters, reasons[i].name, json_integer((json_int_t)worker->counters[i]));
	return json_pack("{s:s, s:i, s:i, s:i, s:o}", "way", "nfqueue", "queue", (int)worker->queue.number, "pid", (int)getpid(),
			 "port", (int)worker->judge.settings.port, "counters", counters);
}

/* Replaces the status file in one step. */
static void save(struct worker *worker)
{
	json_t *status = counters_json(worker);
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s.new", worker->status);
	if (json_dump_file(status, path, JSON_INDENT(2)) || rename(path, worker->status))
		fail("cannot write %s", worker->status);
	json_decref(status);
	worker->changed = false;
}

static void save_sometimes(struct worker *worker)
{
	struct timespec now;

	if (!worker->status || (!worker->changed && !asked))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - worker->saved < SAVE_SECONDS && !asked)
		return;
	asked = 0;
	worker->saved = now.tv_sec;
	save(worker);
}

/* Once a second: the allow-list is what its file says, when there is one and it says something. */
static void look(struct worker *worker)
{
	struct timespec now;

	if (!worker->watch.path)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec == worker->looked)
		return;
	worker->looked = now.tv_sec;
	if (!watch_wait(&worker->watch, 0) || worker->watch.why[0])
		return;
	worker->judge.allow = &worker->watch.list;
	fprintf(stderr, "glb-redirect: the allow-list has %zu prefixes by %s\n", worker->watch.list.count, worker->watch.path);
}

/* Decides about a packet and does what was decided. True: the kernel should go on with it. */
static bool work(struct worker *worker, const struct queued *queued)
{
	struct judgement *judgement = worker->judgement;
	bool stays;

	if (queued->device == LOOPBACK) /* what we delivered, and may look like GUE itself; or the host's own */
		return true;
	judge(&worker->judge, queued->data, queued->length, judgement);
	stays = judged_as_it_is(&worker->judge, judgement->reason);
	if (!stays && judgement->length && !send_packet(worker, judgement->packet, judgement->length))
		judgement->reason = judged_local(judgement->reason) ? GLB_REDIRECT_DECAP_FAILED : GLB_REDIRECT_REWRITE_FAILED;
	worker->counters[judgement->reason]++;
	if (judgement->reason != GLB_REDIRECT_NOT_GUE)
		worker->counters[GLB_REDIRECT_RECEIVED]++;
	worker->changed = true;
	return stays;
}

static int serve(struct worker *worker)
{
	const struct timeval patience = {.tv_sec = SAVE_SECONDS};
	struct queued queued;
	int err = 0;

	setsockopt(worker->queue.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)); /* the file, when nothing comes */
	while (!stopping && !err) {
		err = queue_take(&worker->queue, &queued);
		if (!err)
			err = queue_settle(&worker->queue, queued.id, work(worker, &queued));
		else if (err == -EAGAIN || err == -EINTR)
			err = 0;
		save_sometimes(worker);
		look(worker);
	}
	if (worker->status)
		save(worker);
	return err;
}

static int run(struct worker *worker, uint16_t queue)
{
	struct sigaction stopped = {.sa_handler = stop}, wanted = {.sa_handler = ask};
	int err;

	worker->raw_v4 = open_raw(AF_INET, IPPROTO_IP, IP_HDRINCL);
	worker->raw_v6 = open_raw(AF_INET6, IPPROTO_IPV6, HDRINCL_V6);
	if (worker->raw_v4 < 0 || worker->raw_v6 < 0)
		return fail_errno(worker->raw_v4 < 0 ? worker->raw_v4 : worker->raw_v6, "cannot open raw sockets");
	err = queue_open(&worker->queue, queue);
	if (err == -EBUSY || (err == -EPERM && geteuid() == 0))
		return fail("another process has queue %u (/proc/net/netfilter/nfnetlink_queue says which): choose another --queue", queue);
	if (err)
		return fail_errno(err, "cannot take queue %u", queue);
	sigaction(SIGTERM, &stopped, NULL);
	sigaction(SIGINT, &stopped, NULL);
	sigaction(SIGUSR1, &wanted, NULL);
	if (worker->status)
		save(worker);
	look(worker);
	fprintf(stderr, "glb-redirect: packets of queue %u are taken\n", queue);
	err = serve(worker);
	queue_close(&worker->queue);
	return err ? fail_errno(err, "queue %u", queue) : EXIT_DONE;
}

/* Hexadecimal digits to bytes, in place. The number of bytes; 0 when they are none. */
static uint32_t unhex(char *text)
{
	uint32_t length = 0;
	unsigned byte;
	int used;

	text[strcspn(text, "\n")] = '\0';
	for (char *at = text; *at; at += 2) {
		if (sscanf(at, "%2x%n", &byte, &used) != 1 || used != 2)
			return 0;
		text[length++] = (char)byte;
	}
	return length;
}

static int judge_lines(struct worker *worker)
{
	char *line = NULL, *hex = malloc(2 * JUDGED_MAX + 1);
	size_t room = 0;

	while (hex && getline(&line, &room, stdin) > 0) {
		uint32_t length = unhex(line);
		struct judgement *judgement = worker->judgement;

		if (!length) {
			free(line);
			free(hex);
			return fail("a packet on standard input is a line of hexadecimal digits, from its IP header on");
		}
		judge(&worker->judge, (const uint8_t *)line, length, judgement);
		hex[0] = '\0';
		for (uint32_t i = 0; i < judgement->length; i++)
			snprintf(hex + 2 * (size_t)i, 3, "%02x", judgement->packet[i]);
		printf("{\"reason\": \"%s\", \"becomes\": \"%s\", \"packet\": \"%s\"}\n", reasons[judgement->reason].name,
		       judgement->reason == GLB_REDIRECT_NOT_GUE ? "left alone"
		       : judged_onward(judgement->reason) ? "sent on"
		       : judgement->length ? "delivered" : "dropped", hex);
		fflush(stdout);
	}
	free(line);
	free(hex);
	return EXIT_DONE;
}

int command_nfqueue(const struct options *options)
{
	struct services services = options->services; /* shared, and its thresholds move */
	struct worker worker = {
		.judge = {.settings = {.port = options->port, .last_hop_rate = options->last_hop_rate,
				       .forward_rate = options->forward_rate, .gre_key = options->gre_key,
				       .gre_has_key = options->gre_has_key, .decap = options->decap,
				       .leaves_outer = options->leaves_outer, .quic = options->quics.count > 0,
				       .services = options->services.count > 0},
			  .services = &services, .quics = &options->quics, .hunts = calloc(HUNTS, sizeof(struct hunt)),
			  .moved = calloc(MOVED, sizeof(struct moved)),
			  .allow = &options->prefixes},
		.judgement = malloc(sizeof(struct judgement)),
		.status = options->output,
	};
	int status;

	if (!worker.judgement || !worker.judge.hunts || !worker.judge.moved)
		return fail("out of memory");
	worker.judge.sockets_fd = sockets_open();
	if (worker.judge.sockets_fd < 0)
		return fail_errno(worker.judge.sockets_fd, "cannot ask for sockets (sock_diag)");
	if (options->file) {
		status = watch_open(&worker.watch, options->file);
		if (status)
			return fail_errno(status, "cannot watch %s", options->file);
	}
	if (!options->prefixes.count && !options->file)
		fprintf(stderr, "glb-redirect: the allow-list is empty, so what comes in tunnels will be dropped: give --allow and --peer\n");
	status = strcmp(options->action, "judge") ? run(&worker, (uint16_t)options->queue) : judge_lines(&worker);
	free(worker.judgement);
	free(worker.judge.hunts);
	free(worker.judge.moved);
	return status;
}
