/* The XDP program in front of the tc filter on a device in this network namespace: native, and generic where the driver has none.
 *
 * It shares the instance's pinned maps, and tells by them which program is ours: nobody else's is replaced or removed.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>
#include "glb_redirect_xdp.skel.h"
#include "tool.h"

struct xdp_state xdp_query(const struct instance *instance)
{
	DECLARE_LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int ifindex = (int)if_nametoindex(instance->config.interface);
	uint32_t native, generic;

	if (!ifindex || bpf_xdp_query(ifindex, 0, &opts))
		return (struct xdp_state){0};
	native = opts.drv_prog_id ? opts.drv_prog_id : opts.hw_prog_id;
	generic = opts.skb_prog_id;
	if (opts.attach_mode == XDP_ATTACHED_DRV)
		native = opts.prog_id;
	if (opts.attach_mode == XDP_ATTACHED_SKB)
		generic = opts.prog_id;
	if (native && instance_uses(instance, native))
		return (struct xdp_state){.program_id = native, .native = true};
	if (generic && instance_uses(instance, generic))
		return (struct xdp_state){.program_id = generic};
	return (struct xdp_state){0};
}

/* Puts the program `fd` where ours is, in one step, or where none is. 0 or -errno. */
static int put(int ifindex, int fd, uint32_t mode, const struct xdp_state *old)
{
	DECLARE_LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int err;

	if (!old->program_id)
		return bpf_xdp_attach(ifindex, fd, mode | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL);
	opts.old_prog_fd = bpf_prog_get_fd_by_id(old->program_id);
	if (opts.old_prog_fd < 0)
		return -errno;
	err = bpf_xdp_attach(ifindex, fd, mode | XDP_FLAGS_REPLACE, &opts);
	close(opts.old_prog_fd);
	return err;
}

int xdp_detach(const struct instance *instance)
{
	const struct xdp_state old = xdp_query(instance);
	int ifindex = (int)if_nametoindex(instance->config.interface);

	return old.program_id ? put(ifindex, -1, old.native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE, &old) : 0;
}

/* Native unless generic is asked for, or all that there is. From one to the other there is a moment without, when tc does it all. */
static int attach(const struct instance *instance, enum mode wanted, int fd)
{
	int ifindex = (int)if_nametoindex(instance->config.interface), err = -EOPNOTSUPP;
	struct xdp_state old = xdp_query(instance);

	if (wanted == MODE_XDP) {
		if (old.program_id && !old.native) {
			err = xdp_detach(instance);
			if (err)
				return err;
			old = (struct xdp_state){0};
		}
		err = put(ifindex, fd, XDP_FLAGS_DRV_MODE, &old);
		if (!err || old.program_id || err == -EBUSY)
			return err;
	} else if (old.native) {
		err = xdp_detach(instance);
		if (err)
			return err;
		old = (struct xdp_state){0};
	}
	return put(ifindex, fd, XDP_FLAGS_SKB_MODE, &old);
}

int xdp_attach(const struct instance *instance, const char *pin_dir, enum mode wanted)
{
	struct glb_redirect_xdp_bpf *skeleton = glb_redirect_xdp_bpf__open();
	int err;

	if (!skeleton)
		return -errno;
	err = instance_set_pins(skeleton->obj, pin_dir, instance->name);
	if (!err)
		err = glb_redirect_xdp_bpf__load(skeleton);
	if (!err)
		err = attach(instance, wanted, bpf_program__fd(skeleton->progs.glb_redirect_xdp));
	glb_redirect_xdp_bpf__destroy(skeleton);
	return err;
}
