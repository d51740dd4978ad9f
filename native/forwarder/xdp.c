/* Taking over an af_xdp port's program, and giving it back (xdp.h). */
#include "xdp.h"
#include "log.h"
#include "xdp_own.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MAPS_MAX = 8,
	MTU_USUAL_MAX = 3498, /* a page less headroom, the kernel's trailer, and an Ethernet header with two tags */
};

/* Opens the maps that `program` uses, by name. */
static int open_maps(struct xdp *xdp, int program)
{
	const struct { const char *name; int *fd; } wanted[] = {
		{"vips_v4", &xdp->vips_v4}, {"vips_v6", &xdp->vips_v6}, {"xdp_counters", &xdp->counters},
	};
	uint32_t ids[MAPS_MAX], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)ids};
	int ret = bpf_obj_get_info_by_fd(program, &info, &len);

	for (unsigned i = 0; ret == 0 && i < info.nr_map_ids && i < MAPS_MAX; i++) {
		struct bpf_map_info map = {0};
		int fd = bpf_map_get_fd_by_id(ids[i]);

		len = sizeof(map);
		ret = fd < 0 ? fd : bpf_obj_get_info_by_fd(fd, &map, &len);
		for (unsigned j = 0; ret == 0 && fd >= 0 && j < sizeof(wanted) / sizeof(wanted[0]); j++) {
			if (strcmp(map.name, wanted[j].name) == 0) {
				*wanted[j].fd = fd;
				fd = -1;
			}
		}
		if (fd >= 0)
			close(fd);
	}
	if (ret == 0 && (xdp->vips_v4 < 0 || xdp->vips_v6 < 0 || xdp->counters < 0))
		ret = -ENOENT;
	return ret;
}

/* Puts the program under a link of ours in place of the driver's plain attachment, in the same mode. */
static int take_over(struct xdp *xdp, int program)
{
	const uint32_t mode = xdp->native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = mode);
	int ret = bpf_xdp_detach((int)xdp->if_index, mode, NULL);

	if (ret != 0)
		return ret;
	xdp->link = bpf_link_create(program, (int)xdp->if_index, BPF_XDP, &options);
	return xdp->link < 0 ? xdp->link : 0;
}

/* Receive queues of the interface; 1 when it does not say. */
static unsigned receive_queues(const char *interface)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (void *)&channels};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unsigned n = 1;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	if (fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0)
		n = channels.combined_count + channels.rx_count;
	if (fd >= 0)
		close(fd);
	return n;
}

static void tell(const struct xdp *xdp, unsigned queues)
{
	unsigned all = receive_queues(xdp->interface);

	log_info("%s: VIP traffic is taken %s; the rest stays with the kernel", xdp->interface,
		 xdp->native ? "in its driver" : "in the kernel's generic code, which is slower");
	if (all > queues)
		log_warning("%s has %u receive queues, but %u are served: VIP packets on the others are lost; run "
			    "`ethtool -L %s combined %u`, or serve %u (queue_count=)", xdp->interface, all,
			    queues, xdp->interface, queues, all);
}

struct xdp *xdp_open(unsigned if_index, unsigned queues, struct glb_error *error)
{
	struct xdp_attached attached;
	struct xdp *xdp;
	int program, ret = xdp_look(if_index, &attached);

	error->code = 0;
	if (ret == 0 && strcmp(attached.name, XDP_PROGRAM) != 0)
		return NULL;
	xdp = calloc(1, sizeof(*xdp));
	if (xdp == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	*xdp = (struct xdp){.if_index = if_index, .native = attached.native, .link = -1, .vips_v4 = -1, .vips_v6 = -1,
			    .counters = -1};
	if_indextoname(if_index, xdp->interface);
	program = ret == 0 ? bpf_prog_get_fd_by_id(attached.id) : ret;
	ret = program < 0 ? program : open_maps(xdp, program);
	if (ret == 0)
		ret = take_over(xdp, program);
	if (program >= 0)
		close(program); /* the link holds it */
	if (ret != 0) {
		glb_error_set(error, ret, "the XDP program on %s cannot be taken over: %s; the kernel must be 5.9 or newer",
			      xdp->interface, strerror(-ret));
		xdp_close(xdp);
		return NULL;
	}
	tell(xdp, queues);
	return xdp;
}

void xdp_close(struct xdp *xdp)
{
	if (xdp == NULL)
		return;
	for (const int *fd = (const int[]){xdp->link, xdp->vips_v4, xdp->vips_v6, xdp->counters, -2}; *fd != -2; fd++)
		if (*fd >= 0)
			close(*fd);
	vip_set_free(&xdp->told);
	vip_set_free(&xdp->next);
	free(xdp);
}

void xdp_read(const struct xdp *xdp, struct xdp_status *status)
{
	uint64_t *const out[XDP_COUNTERS] = {[XDP_TAKEN] = &status->taken, [XDP_UNSERVED] = &status->unserved};
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values = calloc(cpus > 0 ? (size_t)cpus : 1, sizeof(*values));

	*status = (struct xdp_status){.native = xdp->native};
	for (uint32_t key = 0; values != NULL && cpus > 0 && key < XDP_COUNTERS; key++) {
		if (bpf_map_lookup_elem(xdp->counters, &key, values) != 0)
			continue;
		for (int i = 0; i < cpus; i++)
			*out[key] += values[i];
	}
	free(values);
}

void xdp_advise(unsigned if_index, char *out, size_t len)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	out[0] = '\0';
	if (fd >= 0 && if_indextoname(if_index, request.ifr_name) != NULL && ioctl(fd, SIOCGIFMTU, &request) == 0 &&
	    request.ifr_mtu > MTU_USUAL_MAX)
		snprintf(out, len, "; %s has an MTU of %d, and XDP usually takes up to about %d: lower it, or use "
			 "net_af_packet", request.ifr_name, request.ifr_mtu, MTU_USUAL_MAX);
	if (fd >= 0)
		close(fd);
}
