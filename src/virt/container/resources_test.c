/*
 * Tests of resources: the arithmetic, what is asked for, and every key written to real cgroups of
 * the machine and read back; the machine as pure v2 in a mount namespace of a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/json.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/seccomp.h"
#include "virt/container/resources.h"
#include "virt/container/spec.h"

static void test_weights(void **state)
{
	static const struct {
		uint64_t shares, weight;
	} rows[] = {{0, 0},	     {1, 1},	{2, 1},	     {1024, 100}, {262144, 10000},
		    {300000, 10000}, {512, 59}, {2048, 174}, {10, 4},	  {100, 17}};

	for (size_t i = 0; i < array_len(rows); i++)
		assert_int_equal(resources_cpu_weight(rows[i].shares), rows[i].weight);
	assert_int_equal(resources_io_weight(0), 0);
	assert_int_equal(resources_io_weight(10), 1);
	assert_int_equal(resources_io_weight(1000), 10000);
	assert_int_equal(resources_io_weight(500), 4950);
}

static struct spec_resources *decode(struct arena *a, const char *text, struct json **ret_tree)
{
	struct spec_resources *r = arena_new(a, struct spec_resources);
	struct err e = {0};

	assert_int_equal(json_parse(str_of(text), "test", ret_tree, &e), 0);
	if (json_decode(*ret_tree, &spec_resources_shape, "test", a, r, &e) < 0)
		fail_msg("%s", e.text);
	return r;
}

static void test_need(void **state)
{
	static const struct {
		const char *text;
		unsigned int need;
	} rows[] = {
		{"{}", 0},
		{"{\"cpu\":{\"shares\":0},\"pids\":{\"limit\":0},\"blockIO\":{\"weight\":0},"
		 "\"memory\":{\"disableOOMKiller\":false}}",
		 0},
		{"{\"cpu\":{\"cpus\":\"0\"}}", CGROUP_BIT(CGROUP_CPUSET)},
		{"{\"memory\":{\"limit\":1}}", CGROUP_BIT(CGROUP_MEMORY)},
		{"{\"pids\":{\"limit\":-1}}", CGROUP_BIT(CGROUP_PIDS)},
		{"{\"unified\":{\"io.max\":\"x\",\"memory.high\":\"1\"}}",
		 CGROUP_BIT(CGROUP_BLKIO) | CGROUP_BIT(CGROUP_MEMORY)},
		{"{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":0}]}",
		 CGROUP_BIT(CGROUP_HUGETLB)},
		{"{\"network\":{\"classID\":5}}", CGROUP_BIT(CGROUP_NET_CLS)},
	};

	assert_int_equal(resources_need(NULL), 0);
	for (size_t i = 0; i < array_len(rows); i++) {
		auto_arena struct arena a = {0};
		auto_json struct json *tree = NULL;

		assert_int_equal(resources_need(decode(&a, rows[i].text, &tree)), rows[i].need);
	}
}

static struct cgroup *make(unsigned int need, struct err *e)
{
	auto_free char *path = mem_printf("/hull-res-test-%d", (int)getpid());
	struct cgroup_want want = {.path = path, .id = "x", .need = need};
	struct cgroup *cg = NULL;

	if (geteuid() != 0 || cgroup_make(&want, &cg, e) < 0)
		return NULL;
	return cg;
}

struct file_row {
	enum cgroup_controller c;
	const char *file, *text; /* what the file holds, trimmed */
};

/* Applies `text` to a new cgroup (then `update`, if any) and looks at the files. */
static void check(const char *text, const char *update, const struct file_row *rows, size_t n)
{
	auto_arena struct arena a = {0};
	auto_json struct json *tree = NULL, *tree2 = NULL;
	struct spec_resources *r = decode(&a, text, &tree);
	struct err e = {0};
	auto_cgroup struct cgroup *cg = make(resources_need(r), &e);

	if (!cg) {
		print_message("skipped: %s\n", e.text);
		return;
	}
	if (resources_apply(cg, r, &e) < 0 ||
	    (update && resources_update(cg, decode(&a, update, &tree2), &e) < 0))
		print_error("%s\n", e.text);
	for (size_t i = 0; i < n; i++) {
		auto_strbuf struct strbuf b = {0};
		auto_free char *got = NULL;

		assert_int_equal(cgroup_read(cg, rows[i].c, rows[i].file, &b, &e), 0);
		got = str_dup(str_trim(strbuf_str(&b)));
		assert_string_equal(got, rows[i].text);
	}
	assert_int_equal(e.kind, ERR_NONE);
	assert_int_equal(cgroup_delete(cg, 1000, &e), 0);
}

static void check_refused(const char *text, enum err_kind kind, const char *part)
{
	auto_arena struct arena a = {0};
	auto_json struct json *tree = NULL;
	struct spec_resources *r = decode(&a, text, &tree);
	struct err e = {0};
	auto_cgroup struct cgroup *cg = make(resources_need(r), &e);

	if (cg) {
		assert_true(resources_apply(cg, r, &e) < 0);
		assert_int_equal(cgroup_delete(cg, 1000, NULL), 0);
	}
	assert_int_equal(e.kind, kind);
	if (!strstr(e.text, part))
		fail_msg("'%s' is not in '%s'", part, e.text);
}

static bool v1_here(void)
{
	struct err e = {0};
	auto_cgroup struct cgroup *cg = make(0, &e);
	bool v1 = cg && cgroup_has(cg, CGROUP_MEMORY) && !cgroup_is_v2(cg, CGROUP_MEMORY) &&
		  cgroup_has(cg, CGROUP_CPU) && cgroup_has(cg, CGROUP_PIDS);

	if (cg)
		assert_int_equal(cgroup_delete(cg, 1000, &e), 0);
	return v1;
}

static void test_v1_cpu(void **state)
{
	static const struct file_row first[] = {
		{CGROUP_CPU, "cpu.shares", "512"},
		{CGROUP_CPU, "cpu.cfs_quota_us", "20000"},
		{CGROUP_CPU, "cpu.cfs_period_us", "50000"},
		{CGROUP_CPU, "cpu.cfs_burst_us", "10000"},
		{CGROUP_CPUSET, "cpuset.cpus", "0"},
		{CGROUP_CPUSET, "cpuset.mems", "0"},
		{CGROUP_PIDS, "pids.max", "20"},
	};
	static const struct file_row second[] = {
		{CGROUP_CPU, "cpu.shares", "512"},
		{CGROUP_CPU, "cpu.cfs_quota_us", "-1"},
		{CGROUP_CPU, "cpu.cfs_period_us", "100000"},
		{CGROUP_PIDS, "pids.max", "max"},
	};
	static const struct file_row idle[] = {{CGROUP_CPU, "cpu.idle", "1"}};
	static const char text[] =
		"{\"cpu\":{\"shares\":512,\"quota\":20000,\"period\":50000,\"burst\":10000,"
		"\"cpus\":\"0\",\"mems\":\"0\"},\"pids\":{\"limit\":20}}";

	if (!v1_here())
		skip();
	check(text, NULL, first, array_len(first));
	check(text,
	      "{\"cpu\":{\"quota\":-1,\"period\":100000,\"burst\":0},\"pids\":{\"limit\":-1}}",
	      second, array_len(second));
	check("{\"cpu\":{\"idle\":1}}", NULL, idle, array_len(idle));
}

static void test_v1_memory(void **state)
{
	static const struct file_row first[] = {
		{CGROUP_MEMORY, "memory.limit_in_bytes", "67108864"},
		{CGROUP_MEMORY, "memory.memsw.limit_in_bytes", "134217728"},
		{CGROUP_MEMORY, "memory.soft_limit_in_bytes", "33554432"},
		{CGROUP_MEMORY, "memory.swappiness", "10"},
	};
	static const struct file_row raised[] = {
		{CGROUP_MEMORY, "memory.limit_in_bytes", "268435456"},
		{CGROUP_MEMORY, "memory.memsw.limit_in_bytes", "268435456"},
	};
	static const struct file_row lowered[] = {
		{CGROUP_MEMORY, "memory.limit_in_bytes", "4194304"},
		{CGROUP_MEMORY, "memory.memsw.limit_in_bytes", "4194304"},
	};
	static const char text[] = "{\"memory\":{\"limit\":67108864,\"swap\":134217728,"
				   "\"reservation\":33554432,\"swappiness\":10,\"kernel\":5}}";

	if (!v1_here())
		skip();
	check(text, NULL, first, array_len(first));
	check(text, "{\"memory\":{\"limit\":268435456,\"swap\":268435456}}", raised,
	      array_len(raised));
	check(text, "{\"memory\":{\"limit\":4194304,\"swap\":4194304}}", lowered,
	      array_len(lowered));
	check_refused("{\"memory\":{\"limit\":67108864,\"swap\":1048576}}", ERR_INVALID,
		      "memory.memsw.limit_in_bytes");
}

#define ROOT_CONTROL   "/sys/fs/cgroup/cgroup.subtree_control"
#define HYBRID_CONTROL "/sys/fs/cgroup/unified/cgroup.subtree_control"

static ssize_t read_text(const char *path, char *ret, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	ret[n > 0 ? n : 0] = '\0';
	return n;
}

/* What the machine's v2 root hands on belongs to the machine: as it was before, also after. */
static void restore_root(const char *path, const char *before)
{
	char now[256];
	struct str rest = {0}, name = {0};

	assert_true(read_text(path, now, sizeof now) >= 0);
	rest = str_trim(str_of(now));
	while (rest.n && str_cut(&rest, ' ', &name)) {
		auto_free char *word = str_dup(name);
		auto_free char *minus = mem_printf("-%s", word);
		auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

		if (!strstr(before, word))
			(void)!write(fd, minus, strlen(minus));
	}
}

static void test_v1_others(void **state)
{
	static const struct file_row block[] = {
		{CGROUP_BLKIO, "blkio.throttle.read_bps_device", "7:0 1000000"},
		{CGROUP_BLKIO, "blkio.throttle.write_iops_device", "7:0 100"},
	};

	char before[256];

	if (!v1_here())
		skip();
	check("{\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":7,\"minor\":0,\"rate\":1000000}]"
	      ","
	      "\"throttleWriteIOPSDevice\":[{\"major\":7,\"minor\":0,\"rate\":100}]}}",
	      NULL, block, access("/dev/loop0", F_OK) == 0 ? array_len(block) : 0);
	if (read_text(HYBRID_CONTROL, before, sizeof before) >= 0) {
		check_refused("{\"hugepageLimits\":[{\"pageSize\":\"../x\",\"limit\":0}]}",
			      ERR_INVALID, "page size");
		restore_root(HYBRID_CONTROL, before);
	}
	check_refused("{\"unified\":{\"../x\":\"1\"}}", ERR_INVALID, "not the name of a file");
	check_refused("{\"devices\":[{\"allow\":true,\"type\":\"x\"}]}", ERR_INVALID,
		      "unknown type");
	check_refused("{\"devices\":[{\"allow\":true,\"access\":\"rx\"}]}", ERR_INVALID,
		      "unknown access");
}

static void test_devices_list(void **state)
{
	auto_arena struct arena a = {0};
	auto_json struct json *tree = NULL, *all = NULL, *other = NULL;
	struct err e = {0};
	auto_cgroup struct cgroup *cg = NULL;
	auto_strbuf struct strbuf b = {0};

	if (!v1_here())
		skip();
	cg = make(0, &e);
	assert_non_null(cg);
	assert_int_equal(
		resources_apply(
			cg,
			decode(&a,
			       "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
			       "{\"allow\":true,\"type\":\"c\",\"major\":10,\"minor\":229}]}",
			       &tree),
			&e),
		0);
	assert_int_equal(cgroup_read(cg, CGROUP_DEVICES, "devices.list", &b, &e), 0);
	assert_non_null(strstr(strbuf_text(&b), "c 10:229 rwm\n"));
	assert_non_null(strstr(strbuf_text(&b), "c 1:3 rwm\n"));
	assert_non_null(strstr(strbuf_text(&b), "c *:* m\n"));
	assert_null(strstr(strbuf_text(&b), "a *:*"));
	/* New rules for one that runs: what is no more wanted is taken back, the rest stays. */
	strbuf_clear(&b);
	assert_int_equal(
		resources_update(
			cg,
			decode(&a,
			       "{\"devices\":[{\"allow\":false},{\"allow\":true,"
			       "\"type\":\"c\",\"major\":10,\"minor\":200,\"access\":\"r\"}]}",
			       &other),
			&e),
		0);
	assert_int_equal(cgroup_read(cg, CGROUP_DEVICES, "devices.list", &b, &e), 0);
	assert_non_null(strstr(strbuf_text(&b), "c 10:200 r\n"));
	assert_non_null(strstr(strbuf_text(&b), "c 1:3 rwm\n"));
	assert_null(strstr(strbuf_text(&b), "10:229"));
	strbuf_clear(&b);
	assert_int_equal(
		resources_update(cg, decode(&a, "{\"devices\":[{\"allow\":true}]}", &all), &e), 0);
	assert_int_equal(cgroup_read(cg, CGROUP_DEVICES, "devices.list", &b, &e), 0);
	assert_string_equal(strbuf_text(&b), "a *:* rwm\n");
	assert_int_equal(cgroup_delete(cg, 1000, &e), 0);
}

static void look_at_stats(void)
{
	struct err e = {0};
	auto_cgroup struct cgroup *cg = make(0, &e);
	auto_json struct json *stats = NULL;
	auto_strbuf struct strbuf b = {0};

	assert_non_null(cg);
	assert_int_equal(resources_stats(cg, &stats, &e), 0);
	assert_int_equal(json_kind(json_get(json_get(stats, "cpu"), "usage")), JSON_OBJECT);
	if (cgroup_has(cg, CGROUP_PIDS))
		assert_int_equal(json_get_i64(json_get(stats, "pids"), "current", -1), 0);
	if (cgroup_has(cg, CGROUP_MEMORY))
		assert_int_equal(
			json_kind(json_get(json_get(json_get(stats, "memory"), "usage"), "limit")),
			JSON_NUMBER);
	resources_event("stats", "box", take(stats), &b);
	assert_true(text_starts(strbuf_text(&b), "{\"type\":\"stats\",\"id\":\"box\",\"data\":{"));
	assert_true(text_ends(strbuf_text(&b), "}\n"));
	assert_int_equal(cgroup_delete(cg, 1000, &e), 0);
}

static void test_stats(void **state)
{
	if (!v1_here())
		skip();
	look_at_stats();
}

static void as_v2(void)
{
	char before[256];
	ssize_t n = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		_exit(77);
	(void)umount2("/sys/fs/cgroup", MNT_DETACH);
	if (mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
		_exit(77);
	n = read_text(ROOT_CONTROL, before, sizeof before);
	assert_true(n >= 0);
	look_at_stats();
	check("{\"devices\":[{\"allow\":false}],\"unified\":{\"cgroup.max.depth\":\"3\"}}", NULL,
	      (struct file_row[]){{CGROUP_UNIFIED, "cgroup.max.depth", "3"}}, 1);
	check_refused("{\"unified\":{\"cgroup.nothing\":\"3\"}}", ERR_UNSUPPORTED,
		      "cgroup.nothing");
	check_refused("{\"network\":{\"classID\":3}}", ERR_UNSUPPORTED, "net_cls");
	restore_root(ROOT_CONTROL, before);
	_exit(0);
}

static void test_v2(void **state)
{
	int status = 0;
	pid_t pid = 0;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0)
		as_v2();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void test_seccomp_state(void **state)
{
	auto_json struct json *j = resources_seccomp_state(7, "meta", json_new_object());
	auto_strbuf struct strbuf b = {0};

	json_write(j, &b);
	assert_string_equal(strbuf_text(&b), "{\"ociVersion\":\"" SPEC_VERSION
					     "\",\"fds\":[\"seccompFd\"],\"pid\":7,"
					     "\"metadata\":\"meta\",\"state\":{}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_weights),	      cmocka_unit_test(test_need),
		cmocka_unit_test(test_v1_cpu),	      cmocka_unit_test(test_v1_memory),
		cmocka_unit_test(test_v1_others),     cmocka_unit_test(test_devices_list),
		cmocka_unit_test(test_stats),	      cmocka_unit_test(test_v2),
		cmocka_unit_test(test_seccomp_state),
	};

	return cmocka_run_group_tests_name("resources", tests, NULL, NULL);
}
