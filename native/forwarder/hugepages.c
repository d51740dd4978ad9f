/* What there is of hugepages (hugepages.h): read from the kernel's files, nothing is changed. */
#include "hugepages.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SIZES "/sys/kernel/mm/hugepages"
#define RESERVE "/proc/sys/vm/nr_hugepages"

enum { PAGE_MB = 2, ENOUGH_MB = 256 };

static unsigned long read_number(const char *size, const char *name)
{
	unsigned long value = 0;
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), SIZES "/%.200s/%s", size, name);
	file = fopen(path, "re");
	if (file != NULL && fscanf(file, "%lu", &value) != 1)
		value = 0;
	if (file != NULL)
		fclose(file);
	return value;
}

/* Megabytes of all sizes that are free, and how many are reserved. */
static unsigned long free_megabytes(unsigned long *reserved)
{
	DIR *dir = opendir(SIZES);
	unsigned long kb, sum = 0;
	struct dirent *entry;

	*reserved = 0;
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (sscanf(entry->d_name, "hugepages-%lukB", &kb) != 1)
			continue;
		sum += read_number(entry->d_name, "free_hugepages") * kb / 1024;
		*reserved += read_number(entry->d_name, "nr_hugepages") * kb / 1024;
	}
	if (dir != NULL)
		closedir(dir);
	return sum;
}

static bool mounted(void)
{
	FILE *mounts = fopen("/proc/self/mounts", "re");
	char line[1024], type[32];
	bool found = false;

	while (mounts != NULL && !found && fgets(line, sizeof(line), mounts) != NULL)
		found = sscanf(line, "%*s %*s %31s", type) == 1 && strcmp(type, "hugetlbfs") == 0;
	if (mounts != NULL)
		fclose(mounts);
	return found;
}

bool hugepages_too_few(unsigned long megabytes, struct hugepages_lack *lack)
{
	unsigned long reserved, there = free_megabytes(&reserved), wanted = megabytes != 0 ? megabytes : ENOUGH_MB;

	if (there != 0 && there >= megabytes)
		return false;
	snprintf(lack->message, sizeof(lack->message), "%lu MB of hugepages are free, of %lu MB reserved, and %lu MB are wanted", there,
		 reserved, wanted);
	snprintf(lack->mend, sizeof(lack->mend), "run `echo %lu > " RESERVE "`%s, or add \"--no-huge\" to eal.args",
		 (wanted + reserved - there + PAGE_MB - 1) / PAGE_MB,
		 access(RESERVE, W_OK) != 0 ? " on the host, for it cannot be written here (a container?)" : "");
	return true;
}

bool hugepages_not_mounted(struct hugepages_lack *lack)
{
	if (mounted())
		return false;
	snprintf(lack->message, sizeof(lack->message), "no hugetlbfs is mounted");
	snprintf(lack->mend, sizeof(lack->mend), "run `mount -t hugetlbfs none /dev/hugepages`, or add \"--in-memory\" to eal.args");
	return true;
}
