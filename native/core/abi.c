/* The ABI note itself (glb/abi.h). Nothing else is in it, so that it is linked in whole. */
#include <glb/abi.h>
#include <glb/snapshot.h>
#include <glb/stats.h>

struct note { /* ELF note: Elf64_Nhdr, owner padded to 4, descriptor */
	uint32_t owner_bytes;
	uint32_t descriptor_bytes;
	uint32_t type;
	char owner[8];
	struct glb_abi abi;
};

__attribute__((section(".note.glbpy"), used, aligned(4))) static const struct note abi_note = {
	.owner_bytes = sizeof("glbpy"),
	.descriptor_bytes = sizeof(struct glb_abi),
	.type = 1,
	.owner = "glbpy",
	.abi = {
		.abi = GLB_ABI_VERSION,
		.snapshot = GLB_SNAPSHOT_VERSION,
		.stats = GLB_STATS_VERSION,
		.control = GLB_CONTROL_VERSION,
	},
};

struct glb_abi glb_abi_get(void)
{
	return abi_note.abi;
}
