/* The forwarder's configuration: what is taken, what is refused, and in which words. */
#include "check.h"

#include "config.h"
#include "config_toml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINIMAL                                                                          \
	"[director]\nname='d1'\n"                                                        \
	"[forward]\nouter_source_v4='10.0.0.2'\ngateway_mac='02:00:00:00:00:01'\n"

static struct config config;
static struct glb_error error;

/* Writes `text` to a file and reads it as a configuration. */
static int read_text(const char *text, char *const *sets, unsigned set_count)
{
	char path[] = "/tmp/glb-test-config-XXXXXX";
	int fd = mkstemp(path), ret;

	error.text[0] = '\0';
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return -EIO;
	close(fd);
	ret = config_read(&config, path, sets, set_count, &error);
	unlink(path);
	if (ret == 0)
		config_free(&config);
	return ret;
}

/* Whether `text` is refused with words that contain `wanted`. */
static bool refused(const char *text, const char *wanted)
{
	int ret = read_text(text, NULL, 0);

	if (ret == -EINVAL && strstr(error.text, wanted) != NULL)
		return true;
	printf("# %d: %s (wanted: %s)\n", ret, error.text, wanted);
	return false;
}

static void minimal_has_defaults(void)
{
	CHECK(read_text(MINIMAL, NULL, 0) == 0);
	CHECK(strcmp(config.name, "d1") == 0);
	CHECK(strcmp(config.snapshot, "/var/lib/glb/d1/snapshot.glb") == 0);
	CHECK(strcmp(config.lists, "/var/lib/glb/d1/lists.glbl") == 0);
	CHECK(strcmp(config.run_dir, "/run/glb/d1") == 0);
	CHECK(config.director.outer_source_v4.family == GLB_FAMILY_V4);
	CHECK(config.director.outer_source_v4.bytes[3] == 2);
	CHECK(config.director.outer_source_v6.family == GLB_FAMILY_NONE);
	CHECK(config.director.outer_prefix_v4.addr.family == GLB_FAMILY_NONE);
	CHECK(config.director.outer_checksum == GLB_OUTER_CHECKSUM_ZERO);
	CHECK(config.director.outer_checksum_v6 == GLB_OUTER_CHECKSUM_COMPUTED);
	CHECK(config.director.gateway_mac[5] == 1 && config.director.local_mac[5] == 0);
	CHECK(config.director.filter_mac == 1 && config.director.echo == GLB_ECHO_FORWARD);
	CHECK(config.director.outer_checksum == GLB_OUTER_CHECKSUM_ZERO);
	CHECK(config.echo_rate == 1000);
	CHECK(config.mtu == CONFIG_MTU_OF_PORT && config.idle == CONFIG_IDLE_ADAPTIVE);
	CHECK(config.workers == 0 && config.main_lcore == -1 && config.worker_lcore_count == 0);
	CHECK(config.port_count == 0 && config.service_slots == 1024 && config.backend_slots == 4096);
}

static void everything_is_taken(void)
{
	static const char text[] =
		"[director]\nname='d-2'\nsnapshot='/a/b'\nrun_dir='/c/d'\n"
		"[forward]\nouter_source_v4='10.0.0.2'\nouter_source_v6='2001:db8::2'\n"
		"outer_source_prefix_v4='172.16.0.0/12'\nouter_source_prefix_v6='100::/64'\nouter_udp_checksum_v6='zero'\n"
		"gateway_mac='02:00:00:00:00:01'\nlocal_mac='02:00:00:00:00:0F'\nfilter_mac=false\n"
		"outer_udp_checksum='computed'\nicmp_echo='punt'\nicmp_echo_rate=7\nmtu=0\nidle='busy'\n"
		"[eal]\nargs=['--no-huge','-m','256']\nmain_lcore=3\nworker_lcores=[4, 3]\n"
		"mbuf_bytes=4096\nmbufs=2048\n"
		"[[port]]\ndevargs='net_null0'\n[[port]]\ndevargs='0000:03:00.0'\n"
		"[stats]\nservice_slots=2\nbackend_slots=3\n";

	CHECK(read_text(text, NULL, 0) == 0);
	CHECK(strcmp(config.snapshot, "/a/b") == 0 && strcmp(config.lists, "/a/lists.glbl") == 0 && strcmp(config.run_dir, "/c/d") == 0);
	CHECK(config.director.outer_source_v6.family == GLB_FAMILY_V6 && config.director.local_mac[5] == 15);
	CHECK(config.director.outer_prefix_v4.bits == 12 && config.director.outer_prefix_v4.addr.bytes[1] == 16);
	CHECK(config.director.outer_prefix_v6.bits == 64 && config.director.outer_prefix_v6.addr.bytes[0] == 1);
	CHECK(config.director.outer_checksum_v6 == GLB_OUTER_CHECKSUM_ZERO);
	CHECK(config.director.filter_mac == 0 && config.director.echo == GLB_ECHO_PUNT);
	CHECK(config.director.outer_checksum == GLB_OUTER_CHECKSUM_COMPUTED);
	CHECK(config.echo_rate == 7);
	CHECK(config.mtu == 0 && config.idle == CONFIG_IDLE_BUSY);
	CHECK(config.workers == 2 && config.main_lcore == 3 && config.worker_lcores[0] == 4);
	CHECK(config.mbuf_bytes == 4096 && config.mbufs == 2048);
	CHECK(config.port_count == 2 && strcmp(config.ports[1].devargs, "0000:03:00.0") == 0);
	CHECK(config.service_slots == 2 && config.backend_slots == 3);
}

static void wrong_values_are_named(void)
{
	static const struct { const char *line, *wanted; } cases[] = {
		{"[forward]\nmtu='x'\n", "forward.mtu: must be an integer from 0 to 65535, not \"x\""},
		{"[forward]\nmtu=65536\n", "not 65536"},
		{"[forward]\nmtu=-1\n", "forward.mtu"},
		{"[forward]\nmtu=1.5\n", "forward.mtu"},
		{"[forward]\nmtuu=1\n", "forward.mtuu: unknown key; [forward] has outer_source_v4"},
		{"[forward]\nidle='lazy'\n", "forward.idle: must be \"adaptive\" or \"busy\", not \"lazy\""},
		{"[forward]\nidle=1\n", "forward.idle"},
		{"[forward]\nicmp_echo='drop'\n", "forward.icmp_echo: must be \"forward\" or \"punt\" or \"answer\""},
		{"[forward]\nicmp_echo_rate=0\n", "forward.icmp_echo_rate: must be an integer from 1"},
		{"[forward]\nfilter_mac=1\n", "forward.filter_mac: must be true or false"},
		{"[forward]\nouter_source_v6='10.0.0.1'\n", "forward.outer_source_v6: must be a unicast IPv6"},
		{"[forward]\nouter_source_v6='ff02::1'\n", "forward.outer_source_v6"},
		{"[forward]\nouter_source_prefix_v4='172.16.0.1/16'\n", "forward.outer_source_prefix_v4: must be an IPv4 prefix"},
		{"[forward]\nouter_source_prefix_v4='172.16.0.0'\n", "forward.outer_source_prefix_v4"},
		{"[forward]\nouter_source_prefix_v4='172.16.0.0/32'\n", "forward.outer_source_prefix_v4"},
		{"[forward]\nouter_source_prefix_v4='172.16.0.0/1x'\n", "forward.outer_source_prefix_v4"},
		{"[forward]\nouter_source_prefix_v6='172.16.0.0/16'\n", "forward.outer_source_prefix_v6: must be an IPv6 prefix"},
		{"[forward]\nouter_source_prefix_v6='100::/0'\n", "forward.outer_source_prefix_v6"},
		{"[forward]\nouter_udp_checksum_v6='none'\n", "forward.outer_udp_checksum_v6"},
		{"[forward]\nlocal_mac='02:00:00:00:00'\n", "forward.local_mac: must be a unicast MAC"},
		{"[forward]\nlocal_mac='01:00:00:00:00:01'\n", "forward.local_mac"},
		{"[forward]\nlocal_mac='02:00:00:00:00:0g'\n", "forward.local_mac"},
		{"[eal]\nworkers=0\n", "eal.workers: must be an integer from 1"},
		{"[eal]\nargs='-m'\n", "eal.args: must be a list of strings"},
		{"[eal]\nargs=['-m', 64]\n", "eal.args"},
		{"[eal]\nargs=['--file-prefix=x']\n", "eal.args[0]: --file-prefix is not allowed"},
		{"[eal]\nargs=['-m', '64', '-l', '0']\n", "eal.args[2]: -l is not allowed: use eal.workers"},
		{"[eal]\nworker_lcores=[]\n", "eal.worker_lcores: must be a list of integers"},
		{"[eal]\nworker_lcores=[-1]\n", "eal.worker_lcores"},
		{"[eal]\nworkers=2\nworker_lcores=[1]\n", "eal.worker_lcores: 1 given for 2 in eal.workers"},
		{"[forward]\nrun_model='both'\n", "forward.run_model: must be \"run-to-completion\" or \"pipeline\""},
		{"[eal]\nreceivers=2\n", "eal.receivers: only with forward.run_model = \"pipeline\""},
		{"[eal]\nsender_lcores=[1]\n", "eal.senders: only with forward.run_model"},
		{"[eal]\nring_size=100\n", "eal.ring_size: must be a power of two, not 100"},
		{"[eal]\nring_size=32\n", "eal.ring_size: must be an integer from 64"},
		{"run_model='pipeline'\n[eal]\nreceivers=2\nreceiver_lcores=[1]\n",
		 "eal.receiver_lcores: 1 given for 2 in eal.receivers; make them equal"},
		{"run_model='pipeline'\n[eal]\nworkers=2\nsenders=3\n", "eal.senders: 3 for 2 workers; at most one for each"},
		{"run_model='pipeline'\n[eal]\nworkers=2\nreceivers=3\nreceivers_send=true\n",
		 "eal.receivers: 3 for 2 workers; at most one for each"},
		{"run_model='pipeline'\n[eal]\nsenders=0\nreceivers_send=true\n",
		 "eal.receivers_send: receivers are the senders; leave eal.senders"},
		{"[eal]\nreceivers_send=true\n", "eal.receivers_send: only with forward.run_model"},
		{"run_model='pipeline'\n[eal]\nsenders=0\nsender_lcores=[1]\n", "eal.sender_lcores: given for no senders"},
		{"[port]\ndevargs='x'\n", "port: must be a list of tables, [[port]]"},
		{"[[port]]\n", "port[0].devargs: missing"},
		{"[[port]]\ndevargs=''\n", "port.devargs: must be a string that is not empty"},
		{"[[port]]\ndevargs='x'\nmac='y'\n", "port[0].mac: unknown key"},
		{"[stats]\nservice_slots=0\n", "stats.service_slots"},
		{"[other]\n", "other: unknown key; there are director"},
	};
	char text[1024];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *line = cases[i].line;
		bool forward = strncmp(line, "[forward]\n", 10) == 0;

		/* lines of [forward] go behind those of MINIMAL, which ends with that table */
		snprintf(text, sizeof(text), "%s%s", MINIMAL, forward ? line + 10 : line);
		CHECK(refused(text, cases[i].wanted));
	}
}

static void pipelines_have_receivers_and_senders(void)
{
	CHECK(read_text(MINIMAL, NULL, 0) == 0);
	CHECK(config.run_model == CONFIG_RUN_TO_COMPLETION && config.receivers == 0 && config.senders == 0);
	CHECK(read_text(MINIMAL "run_model='pipeline'\n", NULL, 0) == 0);
	CHECK(config.receivers == 1 && config.senders == 1 && config.workers == 0 && config.ring_size == 1024);
	CHECK(read_text(MINIMAL "run_model='pipeline'\n[eal]\nworkers=64\nreceiver_lcores=[1,2]\nsenders=3\n"
			"ring_size=4096\n", NULL, 0) == 0);
	CHECK(config_rx_queues(&config) == 2 && config_tx_queues(&config) == 3);
	CHECK(config_counted_lcores(&config) == 69 && config.ring_size == 4096);
	CHECK(read_text(MINIMAL "run_model='pipeline'\n[eal]\nworkers=2\nsenders=0\n", NULL, 0) == 0);
	CHECK(config_rx_queues(&config) == 1 && config_tx_queues(&config) == 2 && config_counted_lcores(&config) == 3);
	CHECK(read_text(MINIMAL "run_model='pipeline'\n[eal]\nworkers=4\nreceivers=2\nreceivers_send=true\n", NULL, 0) == 0);
	CHECK(config_rx_queues(&config) == 2 && config_tx_queues(&config) == 2 && config_counted_lcores(&config) == 8);
	CHECK(read_text(MINIMAL "[eal]\nworkers=3\n", NULL, 0) == 0);
	CHECK(config_rx_queues(&config) == 3 && config_tx_queues(&config) == 3 && config_counted_lcores(&config) == 3);
}

static void what_is_missing_is_named(void)
{
	CHECK(refused("", "director.name: missing"));
	CHECK(refused("[director]\nname='d1'\n", "forward.outer_source_v4: missing"));
	CHECK(refused("[director]\nname='d1'\n[forward]\ngateway_mac='02:00:00:00:00:01'\n",
		      "forward.outer_source_v4: missing"));
	CHECK(refused("[director]\nname='D 1'\n", "director.name: must be 1 to 32 characters of a-z"));
	CHECK(refused("[director]\nname='0123456789012345678901234567890123'\n", "director.name"));
	CHECK(refused("[director]\nname='d1'\nrun_dir='run'\n", "director.run_dir: must be an absolute path"));
	CHECK(refused("director=1\n", "director: must be a table, [director]"));
	CHECK(refused("[director\n", ":1:10: not TOML"));
	CHECK(refused(MINIMAL "[forward]\n", "not TOML")); /* a table twice */
	CHECK(refused("[director]\nname=\xff\xfe\n", "not TOML"));
}

static void long_paths_are_refused(void)
{
	char text[512], dir[120];

	memset(dir, 'a', sizeof(dir));
	dir[0] = '/';
	dir[sizeof(dir) - 1] = '\0';
	snprintf(text, sizeof(text), "[director]\nname='d1'\nrun_dir='%s'\n"
		 "[forward]\nouter_source_v4='10.0.0.2'\ngateway_mac='02:00:00:00:00:01'\n", dir);
	CHECK(refused(text, "director.run_dir: too long for a socket inside it"));
}

static void sets_go_over_the_file(void)
{
	static char *const sets[] = {"forward.mtu=1600", "director.name=d9", "eal.args=['-m','64']",
				     "forward.gateway_mac=\"02:00:00:00:00:09\""};
	static char *const no_value[] = {"forward.mtu"};
	static char *const wrong[] = {"forward.mtu=x"};

	CHECK(read_text(MINIMAL, sets, 4) == 0);
	CHECK(config.mtu == 1600 && strcmp(config.name, "d9") == 0);
	CHECK(config.director.gateway_mac[5] == 9);
	CHECK(config.director.outer_source_v4.bytes[0] == 10);
	CHECK(read_text(MINIMAL, no_value, 1) == -EINVAL && strstr(error.text, "SECTION.KEY=VALUE") != NULL);
	CHECK(read_text(MINIMAL, wrong, 1) == -EINVAL && strstr(error.text, "forward.mtu") != NULL);
}

static void files_that_cannot_be_read(void)
{
	CHECK(config_read(&config, "/nonexistent.toml", NULL, 0, &error) == -ENOENT);
	CHECK(strstr(error.text, "/nonexistent.toml: No such file") != NULL);
	CHECK(config_read(&config, "/", NULL, 0, &error) == -EISDIR);
}

static void peers_are_directors_and_this_is_one_of_them(void)
{
#define PEERS(list) MINIMAL "[fragments]\npeers=" list "\n"
	CHECK(read_text(MINIMAL, NULL, 0) == 0 && config.director.peers == NULL);
	CHECK(read_text(PEERS("['10.0.0.3', '10.0.0.2']"), NULL, 0) == 0);
	CHECK(config.director.peers == &config.peers && config.peers.count == 2 && config.peers.own == 1);
	CHECK(refused(PEERS("'10.0.0.2'"), "fragments.peers: must be a list of addresses"));
	CHECK(refused(PEERS("['10.0.0.2', 'director2']"), "fragments.peers: must be a list of unicast"));
	CHECK(refused(PEERS("['10.0.0.2', '224.0.0.1']"), "fragments.peers: must be a list of unicast"));
	CHECK(refused(PEERS("['10.0.0.2']"), "fragments.peers: list 2 to 64 directors"));
	CHECK(refused(PEERS("['10.0.0.3', '10.0.0.4']"), "fragments.peers: this director is not among them"));
	CHECK(refused(PEERS("['10.0.0.2', '10.0.0.2']"), "fragments.peers: 10.0.0.2 is there twice"));
	CHECK(refused(PEERS("['10.0.0.2', '10.0.0.3']") "[eal]\nworkers=2\n", "run_model = \"pipeline\""));
	CHECK(read_text(PEERS("['10.0.0.2', '10.0.0.3']") "[eal]\nworkers=1\n", NULL, 0) == 0);
#undef PEERS
}

/* Every prefix of a document, and every document with a byte changed, is taken or refused, never more. */
static void damaged_documents(void)
{
	static const char good[] = MINIMAL "[eal]\nargs=['-m','64']\nworkers=1\n[[port]]\ndevargs='net_null0'\n";
	char text[sizeof(good)];
	unsigned taken = 0;

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		char *json;

		memcpy(text, good, sizeof(good));
		text[i] = (char)(text[i] ^ (1 << i % 8));
		json = config_toml_to_json(text, sizeof(good) - 1, "text", &error);
		taken += json != NULL;
		free(json);
		json = config_toml_to_json(good, i, "text", &error);
		taken += json != NULL;
		free(json);
	}
	CHECK(taken > 0 && taken < 2 * (sizeof(good) - 1));
}

int main(void)
{
	static const struct check_case cases[] = {
		{"minimal has defaults", minimal_has_defaults},
		{"everything is taken", everything_is_taken},
		{"wrong values are named", wrong_values_are_named},
		{"pipelines have receivers and senders", pipelines_have_receivers_and_senders},
		{"what is missing is named", what_is_missing_is_named},
		{"long paths are refused", long_paths_are_refused},
		{"sets go over the file", sets_go_over_the_file},
		{"files that cannot be read", files_that_cannot_be_read},
		{"peers are directors, and this is one of them", peers_are_directors_and_this_is_one_of_them},
		{"damaged documents", damaged_documents},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
