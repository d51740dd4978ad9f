/* glb-redirect attach and detach: loads the program, keeps its pinned maps, puts it on a device.
 *
 * Attaching again replaces the program in one step; the maps, and so counters and allow-list, stay. Maps left by an
 * interface that is gone are not trusted: the next attach begins afresh.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "glb_redirect.skel.h"
#include "tool.h"

enum {
	USE_CHECKS = 50, /* how often to look whether a program that was just removed has gone */
	USE_WAIT_US = 20000,
	WATCH_US = 1000000, /* how long detach looks for traffic */
};

/* The last thing that libbpf complained of; its own words say best why the kernel refused a program. */
static char complaint[512];

static int keep_complaint(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level == LIBBPF_WARN && !complaint[0]) {
		vsnprintf(complaint, sizeof(complaint), format, arguments);
		complaint[strcspn(complaint, "\n")] = '\0';
	}
	return 0;
}

/* Says why an operation failed, with libbpf's words where it had any. */
static int fail_because(const char *what, const char *device, int err)
{
	if (complaint[0] && err != -EPERM && err != -EACCES)
		return fail("%s %s: %s; %s", what, device, strerror(-err), complaint);
	return fail_errno(err, "%s %s", what, device);
}

/* The index of an Ethernet device; 0 having said why not. */
static int find_device(const char *device)
{
	int ifindex = (int)if_nametoindex(device), fd;
	struct ifreq request = {0};

	if (!ifindex) {
		fail("%s: no such device in this network namespace (`ip link` lists them)", device);
		return 0;
	}
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) || request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
		fail("%s: not an Ethernet device", device);
		ifindex = 0;
	}
	if (fd >= 0)
		close(fd);
	return ifindex;
}

/* Is the instance free for the device whose filter runs program `attached` (0: none)? Removes stale pins. */
static int claim_instance(const struct options *options, const char *name, uint32_t attached)
{
	struct instance instance;
	uint32_t user = 0;
	int err = instance_open(&instance, options->pin_dir, name);

	if (err && err != -ENOENT)
		return fail_errno(err, "cannot open instance %s in %s", name, options->pin_dir);
	if (!err) {
		if (!attached)
			attached = xdp_query(&instance).program_id; /* when somebody has taken the filter off */
		for (int i = 0; i < USE_CHECKS; i++) {
			user = instance_program(&instance, attached);
			if (!user || user == attached)
				break;
			usleep(USE_WAIT_US); /* a filter that was just removed lets go of its program a little later */
		}
		instance_close(&instance);
	}
	if (user && user != attached)
		return fail("instance %s in %s is in use by program %u on another interface or in another network "
			    "namespace; choose another --name", name, options->pin_dir, user);
	if (attached && !user)
		return fail("%s runs glb-redirect with other pinned maps; give its --pin-dir and --name, or detach it first",
			    options->device);
	if (!user) {
		err = instance_remove(options->pin_dir, name);
		if (err)
			return fail_errno(err, "cannot remove stale pins of instance %s in %s", name, options->pin_dir);
	}
	return EXIT_DONE;
}

static bool has_kind(const struct rewrites *rewrites, bool dscp)
{
	for (size_t i = 0; i < rewrites->count; i++)
		if ((rewrites->items[i].match.kind == GLB_REDIRECT_DSCP) == dscp)
			return true;
	return false;
}

/* The egress has a program only where there is something for it to do: every packet sent would pay for it. It comes first, and the
 * ingress, by which an attachment is known, last. */
static int attach_filters(struct glb_redirect_bpf *skeleton, bool egress, int ifindex)
{
	int err = egress ? filter_attach_egress(ifindex, bpf_program__fd(skeleton->progs.glb_redirect_egress))
			 : filter_detach_egress(ifindex);

	return err ? err : filter_attach(ifindex, bpf_program__fd(skeleton->progs.glb_redirect));
}

static int attach_links(struct glb_redirect_bpf *skeleton, bool egress, int ifindex, const char *dir)
{
	int err = egress ? tcx_attach(dir, ifindex, true, bpf_program__fd(skeleton->progs.glb_redirect_egress)) : tcx_detach(dir, true);

	return err ? err : tcx_attach(dir, ifindex, false, bpf_program__fd(skeleton->progs.glb_redirect));
}

static int detach_links(const char *pin_dir, const char *name)
{
	char dir[PATH_LEN];
	int err;

	snprintf(dir, sizeof(dir), "%s/%s", pin_dir, name);
	err = tcx_detach(dir, false);
	return err ? err : tcx_detach(dir, true);
}

/* By the hook that is wanted; then what there is of ours on the other goes, so that no packet passes by in between. */
static int attach_programs(struct glb_redirect_bpf *skeleton, const struct options *options, const char *name, int ifindex)
{
	const bool egress = has_kind(&options->rewrites, false);
	char dir[PATH_LEN];
	int err = -EINVAL;

	snprintf(dir, sizeof(dir), "%s/%s", options->pin_dir, name);
	if (options->hook != HOOK_CLSACT)
		err = attach_links(skeleton, egress, ifindex, dir);
	if (!err)
		return filter_detach(ifindex);
	if (options->hook == HOOK_TCX || err != -EINVAL)
		return err;
	err = attach_filters(skeleton, egress, ifindex);
	return err ? err : detach_links(options->pin_dir, name);
}

/* A veth can send what XDP gives it only when its peer has XDP or GRO, which cannot be seen from here: tc can always. */
static uint8_t xdp_forward(const struct options *options)
{
	char driver[32];

	if (options->xdp_forward != XDP_FORWARD_AUTO)
		return options->xdp_forward;
	machine_driver(options->device, driver);
	return strcmp(driver, "veth") ? GLB_REDIRECT_XDP_TX : GLB_REDIRECT_XDP_TO_TC;
}

/* XDP in front of what has just been attached, or no longer. An exit status. */
static int add_xdp(const struct options *options, const char *name)
{
	struct instance instance;
	int err = instance_open(&instance, options->pin_dir, name);

	if (err)
		return fail_errno(err, "cannot open instance %s in %s", name, options->pin_dir);
	complaint[0] = '\0';
	err = options->mode == MODE_TC ? xdp_detach(&instance) : xdp_attach(&instance, options->pin_dir, options->mode);
	instance_close(&instance);
	if (err == -EBUSY)
		return fail("%s has another XDP program (`ip link show %s`): take that off, or leave --mode xdp out. Attached by tc, "
			    "without XDP", options->device, options->device);
	if (err)
		fail_because("attached by tc, but not by XDP, to", options->device, err);
	return err ? EXIT_FAILED : EXIT_DONE;
}

/* Loads the programs, fills their maps, and only then puts them on the device. */
static int load_and_attach(const struct options *options, const char *name, int ifindex)
{
	struct glb_redirect_config config = {
		.port = options->port,
		.last_hop_rate = options->last_hop_rate,
		.forward_rate = options->forward_rate,
		.gre_key = options->gre_key,
		.gre_has_key = options->gre_has_key,
		.decap = options->decap,
		.rewrites = has_kind(&options->rewrites, true),
		.xdp_forward = xdp_forward(options),
		.services = options->services.count > 0,
		.leaves_outer = options->leaves_outer,
		.quic = options->quics.count > 0,
	};
	struct glb_redirect_bpf *skeleton = glb_redirect_bpf__open();
	uint32_t zero = 0;
	unsigned mtu = 0;
	bool up;
	int err;

	if (!skeleton)
		return -errno;
	machine_link(options->device, &mtu, &up);
	machine_mac(options->device, config.mac);
	config.mtu = (uint16_t)(mtu < UINT16_MAX ? mtu : UINT16_MAX);
	snprintf(config.interface, sizeof(config.interface), "%s", options->device);
	err = instance_set_pins(skeleton->obj, options->pin_dir, name);
	if (!err)
		err = glb_redirect_bpf__load(skeleton);
	if (!err)
		err = services_become(bpf_map__fd(skeleton->maps.services), &options->services);
	if (!err)
		err = quics_become(bpf_map__fd(skeleton->maps.quic), &options->quics);
	if (!err)
		err = bpf_map__update_elem(skeleton->maps.config, &zero, sizeof(zero), &config, sizeof(config), 0);
	if (!err)
		err = allow_add(bpf_map__fd(skeleton->maps.allow), &options->prefixes);
	if (!err)
		err = rewrites_become(bpf_map__fd(skeleton->maps.rewrites), &options->rewrites);
	if (!err)
		err = attach_programs(skeleton, options, name, ifindex);
	glb_redirect_bpf__destroy(skeleton);
	return err;
}

static void warn_if_empty(const struct options *options, const char *name)
{
	struct prefixes prefixes = {0};
	struct instance instance;

	if (instance_open(&instance, options->pin_dir, name))
		return;
	if (!allow_read(instance.allow_fd, &prefixes) && !prefixes.count)
		fprintf(stderr, "glb-redirect: %s: the allow-list is empty, so what comes in tunnels will be dropped; "
			"add directors and peers with `glb-redirect allow add`\n", options->device);
	prefixes_free(&prefixes);
	instance_close(&instance);
}

/* Before anything changes: has the kernel what the programs need? */
static int require_kernel(const struct options *options)
{
	char missing[PROBE_TEXT];
	int err = probe(WAY_TC, missing);

	if (err == -ENOTSUP)
		return fail("this kernel has %s: use `glb-redirect nfqueue run`", missing);
	if (!err && options->mode != MODE_TC)
		err = probe(WAY_XDP, missing);
	if (err == -ENOTSUP)
		return fail("this kernel has %s: use --mode tc", missing);
	return err ? fail_errno(err, "cannot attach to %s", options->device) : EXIT_DONE;
}

int command_attach(const struct options *options)
{
	const char *name = options->name ? options->name : options->device;
	uint32_t attached = 0;
	int ifindex = find_device(options->device), err, status;

	if (!ifindex)
		return EXIT_FAILED;
	libbpf_set_print(keep_complaint);
	status = require_kernel(options);
	if (status)
		return status;
	err = filter_query(ifindex, &attached);
	if (err && err != -ENOENT)
		return fail_because("cannot read the filters of", options->device, err);
	status = claim_instance(options, name, attached);
	if (!status)
		status = instance_prepare(options->pin_dir, name);
	if (status)
		return status;
	complaint[0] = '\0';
	err = load_and_attach(options, name, ifindex);
	if (err) {
		if (err == -EINVAL && options->hook == HOOK_TCX)
			snprintf(complaint, sizeof(complaint), "tcx links came with Linux 6.6: leave --hook tcx out");
		if (!attached) {
			filter_detach_egress(ifindex);
			instance_remove(options->pin_dir, name);
		}
		return fail_because("cannot attach to", options->device, err);
	}
	warn_if_empty(options, name);
	return add_xdp(options, name);
}

/* Do clients' packets come by? Watches for a second; having found some, it says so. */
static int refuse_traffic(const struct instance *instance, const char *device)
{
	uint64_t before[GLB_REDIRECT_REASON_COUNT], after[GLB_REDIRECT_REASON_COUNT], came;
	int err = counters_read(instance->counters_fd, before);

	if (!err) {
		usleep(WATCH_US);
		err = counters_read(instance->counters_fd, after);
	}
	if (err)
		return fail_errno(err, "cannot read the counters of instance %s", instance->name);
	came = counters_good(after) - counters_good(before);
	if (!came)
		return EXIT_DONE;
	return fail("%s: %llu packets of clients came by within a second, and their connections would break. Drain this backend "
		    "first (`glb drain POOL/BACKEND --wait`), or give --force", device, (unsigned long long)came);
}

int command_detach(const struct options *options)
{
	const char *name = options->name ? options->name : options->device;
	int ifindex = (int)if_nametoindex(options->device), err;
	struct instance instance;
	uint32_t attached = 0, user = 0;
	int status = EXIT_DONE;
	bool pinned;

	libbpf_set_print(keep_complaint);
	pinned = !instance_open(&instance, options->pin_dir, name);
	if (!ifindex && !pinned)
		return fail("%s: no such device, and nothing is pinned for it in %s", options->device, options->pin_dir);
	if (ifindex && filter_query(ifindex, &attached))
		attached = 0;
	if (pinned) {
		if (ifindex && !attached)
			attached = xdp_query(&instance).program_id; /* when somebody has taken the filter off */
		user = instance_program(&instance, attached);
		if (user && user == attached && !options->force)
			status = refuse_traffic(&instance, options->device);
		if (!status && ifindex && user == attached && (err = xdp_detach(&instance)))
			status = fail_because("cannot take XDP off", options->device, err);
		instance_close(&instance);
		if (status)
			return status;
		if (user && user != attached)
			return fail("instance %s in %s belongs to another interface or network namespace (program %u); "
				    "give the --name that attach was given", name, options->pin_dir, user);
	}
	err = ifindex ? filter_detach(ifindex) : 0;
	if (!err)
		err = detach_links(options->pin_dir, name);
	if (err)
		return fail_because("cannot detach from", options->device, err);
	if (ifindex && !tcx_query(ifindex, &attached))
		return fail("%s runs glb-redirect with other pinned maps; give its --pin-dir and --name", options->device);
	err = instance_remove(options->pin_dir, name);
	if (err)
		return fail_because("cannot remove the pins of", options->device, err);
	return EXIT_DONE;
}
