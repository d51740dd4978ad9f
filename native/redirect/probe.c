/* What the eBPF programs need of the kernel, by name, and whether it is there.
 *
 * The one list of it: attach and doctor ask it, `features` prints it, and a test holds it against the README and against the calls in
 * the compiled programs. The newest item is of Linux 5.11. NFQUEUE needs none of it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "tool.h"

#define BTF_PATH "/sys/kernel/btf/vmlinux"

enum kind { TYPES, PROGRAM, MAP, HELPER };

struct feature {
	enum kind kind;
	int id;
	const char *name;
	const char *since; /* the Linux that lets programs of these kinds have it, which may be later than for others */
	uint8_t ways;      /* WAY_* that need it */
};

#define MAP_TYPE(type, since) {MAP, BPF_MAP_TYPE_##type, "BPF_MAP_TYPE_" #type, since, WAY_TC | WAY_XDP}
#define CALL(helper, since, ways) {HELPER, BPF_FUNC_##helper, "bpf_" #helper, since, ways}

static const struct feature features[] = {
	{TYPES, 0, BTF_PATH, "5.4", WAY_TC | WAY_XDP},
	{PROGRAM, BPF_PROG_TYPE_SCHED_CLS, "BPF_PROG_TYPE_SCHED_CLS", "4.1", WAY_TC},
	{PROGRAM, BPF_PROG_TYPE_XDP, "BPF_PROG_TYPE_XDP", "4.8", WAY_XDP},
	MAP_TYPE(HASH, "3.19"),
	MAP_TYPE(ARRAY, "3.19"),
	MAP_TYPE(PERCPU_ARRAY, "4.6"),
	MAP_TYPE(LRU_HASH, "4.10"),
	MAP_TYPE(LPM_TRIE, "4.11"),
	MAP_TYPE(RINGBUF, "5.8"),
	CALL(map_lookup_elem, "3.19", WAY_TC | WAY_XDP),
	CALL(map_update_elem, "3.19", WAY_TC | WAY_XDP),
	CALL(map_delete_elem, "3.19", WAY_TC),
	CALL(ktime_get_ns, "4.1", WAY_TC | WAY_XDP),
	CALL(skb_store_bytes, "4.1", WAY_TC),
	CALL(l3_csum_replace, "4.1", WAY_TC),
	CALL(l4_csum_replace, "4.1", WAY_TC),
	CALL(skb_load_bytes, "4.5", WAY_TC),
	CALL(csum_diff, "4.6", WAY_TC),
	CALL(skb_change_proto, "4.8", WAY_TC),
	CALL(csum_update, "4.9", WAY_TC),
	CALL(xdp_adjust_head, "4.10", WAY_XDP),
	CALL(skb_adjust_room, "4.13", WAY_TC),
	CALL(redirect, "4.14", WAY_XDP),
	CALL(xdp_adjust_meta, "4.15", WAY_XDP),
	CALL(fib_lookup, "4.18", WAY_XDP),
	CALL(sk_lookup_udp, "4.20", WAY_TC | WAY_XDP),
	CALL(sk_release, "4.20", WAY_TC | WAY_XDP),
	CALL(skc_lookup_tcp, "5.2", WAY_TC | WAY_XDP),
	CALL(tcp_check_syncookie, "5.2", WAY_TC | WAY_XDP),
	CALL(probe_read_kernel, "5.8", WAY_TC | WAY_XDP),
	CALL(ringbuf_reserve, "5.8", WAY_TC | WAY_XDP),
	CALL(ringbuf_submit, "5.8", WAY_TC | WAY_XDP),
	CALL(skc_to_tcp_sock, "5.10", WAY_TC | WAY_XDP),
	CALL(skc_to_tcp_request_sock, "5.10", WAY_TC | WAY_XDP),
	CALL(skc_to_tcp_timewait_sock, "5.10", WAY_TC | WAY_XDP),
	CALL(redirect_neigh, "5.10", WAY_TC),
	CALL(ktime_get_coarse_ns, "5.11", WAY_TC | WAY_XDP),
};

/* What is not permitted looks as if it were not there. 0 or -EPERM. */
static int may_ask(void)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, NULL, "GPL", nothing, sizeof(nothing) / sizeof(nothing[0]), NULL);

	if (fd >= 0)
		close(fd);
	return fd == -EPERM || fd == -EACCES ? -EPERM : 0;
}

/* Is it there? A probe that cannot be made (out of memory) says nothing against it: loading will tell. */
static bool is_there(const struct feature *feature, enum way_in way)
{
	switch (feature->kind) {
	case TYPES:
		return !access(feature->name, R_OK);
	case PROGRAM:
		return libbpf_probe_bpf_prog_type((enum bpf_prog_type)feature->id, NULL) != 0;
	case MAP:
		return libbpf_probe_bpf_map_type((enum bpf_map_type)feature->id, NULL) != 0;
	case HELPER:
		return libbpf_probe_bpf_helper(way == WAY_XDP ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS,
					       (enum bpf_func_id)feature->id, NULL) != 0;
	}
	return false;
}

int probe(enum way_in way, char missing[PROBE_TEXT])
{
	const char *which = way == WAY_XDP ? "XDP" : "tc";
	int err = may_ask();

	for (size_t i = 0; !err && i < sizeof(features) / sizeof(features[0]); i++) {
		const struct feature *each = &features[i];

		if (!(each->ways & way) || is_there(each, way))
			continue;
		snprintf(missing, PROBE_TEXT, "no %s%s%s%s (it is in Linux %s and later%s)", each->name,
			 each->kind == HELPER ? " for " : "", each->kind == HELPER ? which : "",
			 each->kind == HELPER ? " programs" : "", each->since,
			 each->kind == TYPES ? ", with CONFIG_DEBUG_INFO_BTF=y" : "");
		err = -ENOTSUP;
	}
	return err;
}

static const char *answer(const struct feature *feature, enum way_in way, bool *all)
{
	if (!(feature->ways & way))
		return "-";
	if (is_there(feature, way))
		return "yes";
	*all = false;
	return "no";
}

int command_features(const struct options *options)
{
	int err = may_ask();
	bool all = true;

	(void)options;
	if (err)
		return fail_errno(err, "cannot ask the kernel");
	printf("%-28s %-6s %-4s %s\n", "needed", "since", "tc", "xdp");
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const char *tc = answer(&features[i], WAY_TC, &all), *xdp = answer(&features[i], WAY_XDP, &all);

		printf("%-28s %-6s %-4s %s\n", features[i].name, features[i].since, tc, xdp);
	}
	return all ? EXIT_DONE : EXIT_FAILED;
}
