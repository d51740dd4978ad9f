/* The last good snapshot on disk: whole, private, through symbolic links, and the old one where it fails. */
#include "check.h"

#include "keep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
	return path[turn];
}

static bool holds(const char *name, const char *wanted)
{
	char text[64] = "";
	FILE *file = fopen(at(name), "r");
	size_t n = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file != NULL)
		fclose(file);
	return n == strlen(wanted) && memcmp(text, wanted, n) == 0;
}

static void makes_its_directory_and_replaces(void)
{
	struct glb_error error;
	struct stat stat;

	CHECK(keep_file(at("a/b/snapshot.glb"), "director.snapshot", "first", 5, &error) == 0);
	CHECK(holds("a/b/snapshot.glb", "first"));
	CHECK(lstat(at("a/b/snapshot.glb"), &stat) == 0 && (stat.st_mode & 07) == 0); /* it has keys in it */
	CHECK(keep_file(at("a/b/snapshot.glb"), "director.snapshot", "no 2", 4, &error) == 0);
	CHECK(holds("a/b/snapshot.glb", "no 2"));
	CHECK(access(at("a/b/.snapshot.glb.tmp"), F_OK) != 0);
}

static void a_crash_before_leaves_no_obstacle(void)
{
	struct glb_error error;
	FILE *file = fopen(at("a/b/.snapshot.glb.tmp"), "w");

	CHECK(file != NULL && fputs("half of a longer one", file) >= 0 && fclose(file) == 0);
	CHECK(keep_file(at("a/b/snapshot.glb"), "director.snapshot", "third", 5, &error) == 0);
	CHECK(holds("a/b/snapshot.glb", "third"));
}

static void a_symbolic_link_stays_one(void)
{
	struct glb_error error;
	struct stat stat;

	CHECK(symlink(at("a/b/snapshot.glb"), at("link")) == 0);
	CHECK(keep_is_same(at("link"), at("a/b/snapshot.glb")));
	CHECK(keep_file(at("link"), "director.snapshot", "fourth", 6, &error) == 0);
	CHECK(lstat(at("link"), &stat) == 0 && S_ISLNK(stat.st_mode));
	CHECK(holds("a/b/snapshot.glb", "fourth"));
	CHECK(!keep_is_same(at("link"), at("nothing")));
}

static void a_failure_says_what_and_changes_nothing(void)
{
	struct glb_error error;

	CHECK(keep_file(at("a/b/snapshot.glb/x"), "director.snapshot", "fifth", 5, &error) == -ENOTDIR);
	CHECK(strstr(error.text, "director.snapshot:") == error.text);
	CHECK(strstr(error.text, "Not a directory") != NULL);
	CHECK(holds("a/b/snapshot.glb", "fourth"));
	CHECK(mkdir(at("a/b/.snapshot.glb.tmp"), 0755) == 0);
	CHECK(keep_file(at("a/b/snapshot.glb"), "director.snapshot", "fifth", 5, &error) == -EISDIR);
	CHECK(holds("a/b/snapshot.glb", "fourth"));
}

int main(void)
{
	static const struct check_case cases[] = {
		{"makes its directory and replaces", makes_its_directory_and_replaces},
		{"a crash before leaves no obstacle", a_crash_before_leaves_no_obstacle},
		{"a symbolic link stays one", a_symbolic_link_stays_one},
		{"a failure says what, and changes nothing", a_failure_says_what_and_changes_nothing},
	};
	char command[128];
	int ret;

	snprintf(folder, sizeof(folder), "/tmp/glb-keep-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return 1;
	ret = check_run(cases, sizeof(cases) / sizeof(cases[0]));
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command) == 0 ? ret : 1;
}
