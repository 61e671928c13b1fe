/*
 * What clients ask: reading, writing back, updating; ports, filters, capabilities, limits, users,
 * the seccomp default. Only pure parts: no daemon, no host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine_priv.h"

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	if (json_parse(str_of(text), "test", &j, &e) < 0)
		fail_msg("%s", e.text);
	return j;
}

static const char body[] =
	"{\"Image\":\"busybox\",\"Cmd\":\"ls\",\"Entrypoint\":[\"/bin/"
	"sh\",\"-c\"],\"Env\":[\"A=1\"],"
	"\"Tty\":true,\"Labels\":{\"a\":\"b\"},\"ExposedPorts\":{\"80/tcp\":{}},\"StopTimeout\":3,"
	"\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"true\"],\"Interval\":1000000000},"
	"\"HostConfig\":{\"Memory\":1048576,\"NetworkMode\":\"n1\",\"Binds\":[\"/a:/b:ro\"],"
	"\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"8080\"}]},"
	"\"RestartPolicy\":{\"Name\":\"on-failure\",\"MaximumRetryCount\":3},\"PidsLimit\":7,"
	"\"Mounts\":[{\"Type\":\"tmpfs\",\"Target\":\"/t\",\"TmpfsOptions\":{\"SizeBytes\":4096}}],"
	"\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":5,\"Hard\":6}],\"MaskedPaths\":[]},"
	"\"NetworkingConfig\":{\"EndpointsConfig\":{\"n1\":{\"Aliases\":[\"web\"],"
	"\"IPAMConfig\":{\"IPv4Address\":\"10.0.0.9\"}},\"n2\":null}}}";

static void check_request(const struct container_request *r)
{
	assert_string_equal(r->config.image, "busybox");
	assert_string_equal(r->config.cmd[0], "ls");
	assert_null(r->config.cmd[1]);
	assert_string_equal(r->config.entrypoint[1], "-c");
	assert_true(r->config.tty);
	assert_int_equal(*r->config.stop_timeout_s, 3);
	assert_int_equal(r->config.health_check->interval_ns, 1000000000);
	assert_int_equal(json_len(r->config.exposed_ports), 1);
	assert_int_equal(r->host.memory, 1048576);
	assert_string_equal(r->host.binds[0], "/a:/b:ro");
	assert_string_equal(r->host.restart.name, "on-failure");
	assert_int_equal(r->host.restart.maximum_retry_count, 3);
	assert_int_equal(*r->host.pids_limit, 7);
	assert_null(r->host.init);
	assert_int_equal(r->host.mounts_n, 1);
	assert_int_equal(r->host.mounts[0].tmpfs->size_bytes, 4096);
	assert_int_equal(r->host.ulimits[0].hard, 6);
	assert_non_null(r->host.masked_paths);
	assert_null(r->host.masked_paths[0]);
	assert_null(r->host.readonly_paths);
	assert_int_equal(r->endpoints_n, 2);
	assert_string_equal(r->endpoints[0].network, "n1");
	assert_string_equal(r->endpoints[0].aliases[0], "web");
	assert_string_equal(r->endpoints[0].ipv4, "10.0.0.9");
	assert_string_equal(r->endpoints[1].network, "n2");
}

static void a_request_goes_both_ways(void **state)
{
	auto_json struct json *j = parse(body), *again = NULL;
	auto_arena struct arena a = {0};
	struct container_request r;
	struct err e = {0};

	assert_int_equal(request_read(j, &a, &r, &e), 0);
	check_request(&r);
	again = request_json(&r);
	assert_int_equal(request_read(again, &a, &r, &e), 0);
	check_request(&r);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"Env\":3}", "Env"},
		{"{\"HostConfig\":{\"Memory\":\"big\"}}", "Memory"},
		{"{\"HostConfig\":{\"Ulimits\":[{\"Soft\":\"x\"}]}}", "Ulimits[0].Soft"},
		{"[]", "not a JSON object"},
	};
	auto_arena struct arena a = {0};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_json struct json *j = parse(rows[i].text);
		struct container_request r;
		struct err e = {0};

		assert_int_equal(request_read(j, &a, &r, &e), -ERR_INVALID);
		if (!strstr(e.text, rows[i].says))
			fail_msg("'%s' does not say '%s'", e.text, rows[i].says);
	}
}

static void update_changes_only_what_it_says(void **state)
{
	auto_json struct json *j =
		parse("{\"Memory\":2097152,\"CpuShares\":0,\"BlkioWeight\":300,"
		      "\"RestartPolicy\":{\"Name\":\"always\"},\"CpusetCpus\":\"\"}");
	auto_arena struct arena a = {0};
	struct host_config h = {.memory = 1, .cpu_shares = 5, .cpuset_cpus = (char *)"0"};
	struct err e = {0};

	assert_int_equal(request_update(j, &a, &h, &e), 0);
	assert_int_equal(h.memory, 2097152);
	assert_int_equal(h.cpu_shares, 5);
	assert_int_equal(h.blkio_weight, 300);
	assert_string_equal(h.cpuset_cpus, "0");
	assert_string_equal(h.restart.name, "always");
}

static void ports_are_listed(void **state)
{
	auto_json struct json *bound =
		parse("{\"80/tcp\":[{\"HostPort\":\"8000-8010\"},{\"HostIp\":\"::1\"}],"
		      "\"53/udp\":[{\"HostPort\":\"53\"}]}");
	auto_json struct json *exposed = parse("{\"80/tcp\":{},\"443\":{}}");
	auto_json struct json *bad = parse("{\"0/tcp\":[{\"HostPort\":\"1\"}]}");
	auto_arena struct arena a = {0};
	struct container_request r = {.config.exposed_ports = exposed,
				      .host = {.port_bindings = bound, .publish_all_ports = true}};
	struct network_port *list;
	struct err e = {0};
	size_t n;

	assert_int_equal(ports_of(&r, &a, &list, &n, &e), 0);
	assert_int_equal(n, 4);
	assert_int_equal(list[0].host_port, 8000);
	assert_int_equal(list[0].host_port_last, 8010);
	assert_string_equal(list[1].host_ip, "::1");
	assert_int_equal(list[1].host_port, 0);
	assert_int_equal(list[2].proto, NETWORK_UDP);
	assert_int_equal(list[3].port, 443);
	r.host.port_bindings = bad;
	assert_int_equal(ports_of(&r, &a, &list, &n, &e), -ERR_INVALID);
}

static void filters_read_both_forms(void **state)
{
	static const struct json_pair labels[] = {
		{(char *)"a", (char *)"1"}, {(char *)"b", (char *)""}, {0}};
	auto_arena struct arena a = {0};
	struct filters f;
	struct err e = {0};

	assert_int_equal(
		filters_read(STR("{\"label\":[\"a=1\",\"b\"],\"name\":{\"x\":true,\"y\":false}}"),
			     &a, &f, &e),
		0);
	assert_true(filter_match_labels(&f, labels));
	assert_true(filter_match(&f, "name", "x"));
	assert_false(filter_match(&f, "name", "y"));
	assert_true(filter_match(&f, "absent", "anything"));
	assert_int_equal(filters_read(STR("{\"label\":[\"a=2\"]}"), &a, &f, &e), 0);
	assert_false(filter_match_labels(&f, labels));
	assert_int_equal(filters_read(STR("{\"label!\":[\"a\"]}"), &a, &f, &e), 0);
	assert_false(filter_match_labels(&f, labels));
	assert_int_equal(filters_read(STR("{\"label\":3}"), &a, &f, &e), -ERR_INVALID);
	assert_int_equal(filters_read(STR("nonsense"), &a, &f, &e), -ERR_INVALID);
	assert_int_equal(filters_read(STR(""), &a, &f, &e), 0);
	assert_int_equal(f.n, 0);
}

static size_t capabilities(const struct host_config *h, struct arena *a, char ***ret)
{
	struct err e = {0};

	assert_int_equal(oci_capabilities(h, a, ret, &e), 0);
	return mem_count_texts(*ret);
}

static void capabilities_add_up(void **state)
{
	static char *all[] = {(char *)"ALL", NULL}, *chown_only[] = {(char *)"chown", NULL};
	static char *admin[] = {(char *)"CAP_SYS_ADMIN", NULL}, *wrong[] = {(char *)"FLY", NULL};
	auto_arena struct arena a = {0};
	struct err e = {0};
	char **list;

	assert_int_equal(capabilities(&(struct host_config){0}, &a, &list), 14);
	assert_false(text_in("CAP_SYS_ADMIN", list));
	assert_int_equal(capabilities(&(struct host_config){.cap_drop = all}, &a, &list), 0);
	assert_int_equal(capabilities(&(struct host_config){.cap_drop = all, .cap_add = chown_only},
				      &a, &list),
			 1);
	assert_string_equal(list[0], "CAP_CHOWN");
	assert_int_equal(
		capabilities(&(struct host_config){.cap_add = all, .cap_drop = admin}, &a, &list),
		40);
	assert_false(text_in("CAP_SYS_ADMIN", list));
	assert_int_equal(capabilities(&(struct host_config){.privileged = true}, &a, &list), 41);
	assert_int_equal(oci_capabilities(&(struct host_config){.cap_add = wrong}, &a, &list, &e),
			 -ERR_INVALID);
}

static bool profile_allows(const struct json *profile, const char *call)
{
	const struct json *rules = json_get(profile, "syscalls");

	for (size_t i = 0; i < json_len(rules); i++) {
		const struct json *rule = json_at(rules, i), *names = json_get(rule, "names");

		for (size_t k = 0; k < json_len(names); k++)
			if (text_eq(json_text(json_at(names, k)), call) &&
			    text_eq(json_get_text(rule, "action"), "SCMP_ACT_ALLOW") &&
			    !json_get(rule, "args"))
				return true;
	}
	return false;
}

static void the_default_profile_follows_capabilities(void **state)
{
	auto_arena struct arena a = {0};
	struct host_config plain = {0}, privileged = {.privileged = true};
	auto_json struct json *narrow = NULL, *wide = NULL;
	char **list;

	(void)capabilities(&plain, &a, &list);
	narrow = oci_seccomp(list);
	(void)capabilities(&privileged, &a, &list);
	wide = oci_seccomp(list);
	assert_true(profile_allows(narrow, "read"));
	assert_true(profile_allows(narrow, "chroot"));
	assert_false(profile_allows(narrow, "mount"));
	assert_false(profile_allows(narrow, "clone"));
	assert_false(profile_allows(narrow, "keyctl"));
	assert_true(profile_allows(wide, "mount"));
	assert_true(profile_allows(wide, "clone3"));
	assert_false(profile_allows(wide, "keyctl"));
}

static void limits_must_make_sense(void **state)
{
	static const struct host_config bad[] = {
		{.memory = -1},
		{.memory = 100, .memory_swap = 50},
		{.memory_swap = 50},
		{.memory = 100, .memory_reservation = 200},
		{.nano_cpus = 1000000000, .cpu_quota = 5000},
		{.cpu_period = 10},
		{.blkio_weight = 5},
		{.oom_score_adj = 2000},
	};
	struct host_config tiny = {.memory = 1 << 20, .nano_cpus = 500000000};
	auto_json struct json *j = json_new_object();
	struct err e = {0};

	for (size_t i = 0; i < array_len(bad); i++)
		assert_int_equal(oci_resources_check(&bad[i], &e), -ERR_INVALID);
	assert_int_equal(oci_resources_check(&tiny, &e), 0);
	assert_int_equal(oci_resources(&tiny, j, &e), 0);
	assert_int_equal(json_get_i64(json_get(j, "memory"), "swap", 0), 2 << 20);
	assert_int_equal(json_get_i64(json_get(j, "cpu"), "quota", 0), 50000);
}

static void signals_have_names(void **state)
{
	struct err e = {0};
	int n;

	assert_int_equal(signal_of("SIGTERM", &n, &e), 0);
	assert_int_equal(n, 15);
	assert_int_equal(signal_of("hup", &n, &e), 0);
	assert_int_equal(n, 1);
	assert_int_equal(signal_of("9", &n, &e), 0);
	assert_int_equal(n, 9);
	assert_int_equal(signal_of("RTMIN+3", &n, &e), 0);
	assert_int_equal(n, 37);
	assert_int_equal(signal_of("0", &n, &e), -ERR_INVALID);
	assert_int_equal(signal_of("65", &n, &e), -ERR_INVALID);
	assert_int_equal(signal_of("NONSENSE", &n, &e), -ERR_INVALID);
}

static void write_text(const char *dir, const char *name, const char *text)
{
	auto_free char *path = mem_printf("%s/%s", dir, name);
	auto_fclose FILE *f = fopen(path, "w");

	assert_non_null(f);
	(void)fputs(text, f);
}

static void users_come_from_the_image(void **state)
{
	char top[] = "/tmp/hull-id-XXXXXX", low[] = "/tmp/hull-id-XXXXXX";
	char *roots[] = {top, low, NULL};
	static char *extra[] = {(char *)"audio", (char *)"77", NULL};
	auto_free char *top_etc = NULL, *low_etc = NULL;
	auto_arena struct arena a = {0};
	struct identity id;
	struct err e = {0};

	assert_non_null(mkdtemp(top));
	assert_non_null(mkdtemp(low));
	top_etc = mem_printf("%s/etc", top);
	low_etc = mem_printf("%s/etc", low);
	assert_int_equal(mkdir(top_etc, 0755), 0);
	assert_int_equal(mkdir(low_etc, 0755), 0);
	write_text(low_etc, "passwd",
		   "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"
		   "evil:x:99999999999:0::/:/bin/sh\n");
	write_text(low_etc, "group", "audio:x:29:web,other\nstaff:x:50:\n");
	assert_int_equal(identity_resolve(NULL, NULL, roots, &a, &id, &e), 0);
	assert_int_equal(id.uid, 0);
	assert_string_equal(id.home, "/root");
	assert_int_equal(identity_resolve("web", extra, roots, &a, &id, &e), 0);
	assert_int_equal(id.uid, 33);
	assert_int_equal(id.gid, 34);
	assert_int_equal(id.groups_n, 2);
	assert_int_equal(identity_resolve("web:staff", NULL, roots, &a, &id, &e), 0);
	assert_int_equal(id.gid, 50);
	assert_int_equal(id.groups_n, 0);
	assert_int_equal(identity_resolve("1234:5678", NULL, roots, &a, &id, &e), 0);
	assert_int_equal(id.uid, 1234);
	assert_int_equal(id.gid, 5678);
	assert_int_equal(identity_resolve("evil", NULL, roots, &a, &id, &e), -ERR_INVALID);
	assert_int_equal(identity_resolve("4294967296", NULL, roots, &a, &id, &e), -ERR_INVALID);
	assert_int_equal(identity_resolve("nobody", NULL, roots, &a, &id, &e), -ERR_INVALID);
	/* A layer above replaces the file. */
	write_text(top_etc, "passwd", "web:x:44:44::/top:/bin/sh\n");
	assert_int_equal(identity_resolve("web", NULL, roots, &a, &id, &e), 0);
	assert_int_equal(id.uid, 44);
	for (char **r = roots; *r; r++) {
		static const char *const names[] = {"etc/passwd", "etc/group"};

		for (size_t i = 0; i < array_len(names); i++) {
			auto_free char *path = mem_printf("%s/%s", *r, names[i]);

			(void)unlink(path);
		}
	}
	(void)rmdir(top_etc);
	(void)rmdir(low_etc);
	(void)rmdir(top);
	(void)rmdir(low);
}

static void dockerfile_lines_change_a_config(void **state)
{
	static char *const lines[] = {(char *)"ENV A=1 B=\"two words\"",
				      (char *)"CMD [\"ls\",\"-l\"]",
				      (char *)"EXPOSE 80 53/udp",
				      (char *)"LABEL x=y",
				      (char *)"workdir /srv",
				      NULL};
	static char *const wrong[] = {(char *)"FROM x", NULL};
	auto_json struct json *base = parse("{\"Env\":[\"A=0\",\"C=3\"],\"Cmd\":[\"old\"]}"),
			      *j = NULL;
	struct err e = {0};

	assert_int_equal(changes_apply(base, lines, &j, &e), 0);
	assert_int_equal(json_len(json_get(j, "Env")), 3);
	assert_string_equal(json_text(json_at(json_get(j, "Env"), 2)), "B=two words");
	assert_string_equal(json_text(json_at(json_get(j, "Cmd"), 1)), "-l");
	assert_non_null(json_get(json_get(j, "ExposedPorts"), "80/tcp"));
	assert_non_null(json_get(json_get(j, "ExposedPorts"), "53/udp"));
	assert_string_equal(json_get_text(j, "WorkingDir"), "/srv");
	assert_int_equal(changes_apply(NULL, wrong, &j, &e), -ERR_INVALID);
}

static void detach_keys_are_bytes(void **state)
{
	char keys[17];

	assert_int_equal(attach_keys(NULL, keys), 2);
	assert_int_equal(keys[0], 16);
	assert_int_equal(keys[1], 17);
	assert_int_equal(attach_keys("ctrl-@,a", keys), 2);
	assert_int_equal(keys[0], 0);
	assert_int_equal(keys[1], 'a');
	assert_int_equal(attach_keys("", keys), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_goes_both_ways),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(update_changes_only_what_it_says),
		cmocka_unit_test(ports_are_listed),
		cmocka_unit_test(filters_read_both_forms),
		cmocka_unit_test(capabilities_add_up),
		cmocka_unit_test(the_default_profile_follows_capabilities),
		cmocka_unit_test(limits_must_make_sense),
		cmocka_unit_test(signals_have_names),
		cmocka_unit_test(users_come_from_the_image),
		cmocka_unit_test(dockerfile_lines_change_a_config),
		cmocka_unit_test(detach_keys_are_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
