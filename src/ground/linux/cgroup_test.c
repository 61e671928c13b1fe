/*
 * Tests of cgroups: the parsers over written-out hosts, saving and loading, and, where the machine
 * lets us (root, writable hierarchies), a real cgroup with a real process in it, removed after.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/linux/cgroup_priv.h"
#include "ground/linux/devices_bpf.h"

static const char hybrid[] =
	"23 1 0:21 / / rw - overlay overlay rw\n"
	"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	"32 31 0:29 /docker/x /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup "
	"rw,cpu,cpuacct\n"
	"35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw,relatime - cgroup cgroup rw,memory\n"
	"36 31 0:33 / /mnt/again rw,relatime - cgroup cgroup rw,memory\n"
	"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

static void test_hosts(void **state)
{
	struct cgroup_host h = {0};

	cgroup_host_parse_mounts(&h, str_of(hybrid));
	cgroup_host_settle(&h);
	assert_int_equal(h.mode, CGROUP_MODE_HYBRID);
	assert_int_equal(h.n, 4);
	assert_string_equal(h.dirs[0].path, "/sys/fs/cgroup/cpu,cpuacct");
	assert_int_equal(h.dirs[0].controllers,
			 CGROUP_BIT(CGROUP_CPU) | CGROUP_BIT(CGROUP_CPUACCT));
	assert_string_equal(h.dirs[1].path, "/sys/fs/cgroup/mem ory");
	cgroup_host_parse_own(&h, STR("4:memory:/a/b\n1:cpu,cpuacct:/docker/x/y\n"
				      "9:name=systemd:/s\n0::/u\n"));
	assert_string_equal(h.own[0], "/y");
	assert_string_equal(h.own[1], "/a/b");
	assert_string_equal(h.own[2], "/s");
	assert_string_equal(h.own[3], "/u");
	cgroup_host_done(&h);
	cgroup_host_parse_mounts(&h, STR("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"));
	cgroup_host_settle(&h);
	assert_int_equal(h.mode, CGROUP_MODE_V2);
	cgroup_host_done(&h);
	cgroup_host_parse_mounts(&h, STR("garbage\n1 2 3\n - cgroup\n"));
	cgroup_host_settle(&h);
	assert_int_equal(h.mode, CGROUP_MODE_NONE);
	cgroup_host_done(&h);
}

static void test_paths(void **state)
{
	static const struct {
		const char *path;
		bool systemd;
		const char *result; /* NULL: refused */
		bool relative;
	} rows[] = {
		{"/a/b", false, "/a/b", false},
		{"a//b/./c", false, "/a/b/c", true},
		{"../../../etc", false, "/etc", true},
		{"/a/../../b", false, "/b", false},
		{"", false, "/box", true},
		{NULL, false, "/box", true},
		{"/", false, NULL, false},
		{"/..", false, NULL, false},
		{"/a\nb", false, NULL, false},
		{"system.slice:docker:abc", false, "/system.slice:docker:abc", true},
		{"system.slice:docker:abc", true, "/system.slice/docker-abc.scope", false},
		{"a-b-c.slice:crio:x", true, "/a.slice/a-b.slice/a-b-c.slice/crio-x.scope", false},
		{":p:x", true, "/system.slice/p-x.scope", false},
		{"-.slice::x.slice", true, "/x.slice", false},
		{"/a/b", true, NULL, false},
		{"a.slice:b:../../c", true, NULL, false},
		{"noslice:b:c", true, NULL, false},
		{NULL, true, "/system.slice/hull-box.scope", false},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct cgroup_want want = {
			.path = rows[i].path, .id = "box", .systemd = rows[i].systemd};
		auto_free char *got = NULL;
		bool relative = false;
		struct err e = {0};
		int r = cgroup_path_resolve(&want, &got, &relative, &e);

		if (!rows[i].result) {
			assert_int_equal(r, -ERR_INVALID);
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(got, rows[i].result);
		assert_int_equal(relative, rows[i].relative);
	}
}

static void test_save(void **state)
{
	static const char text[] = "cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct//a/b\n"
				   "?cpuset /sys/fs/cgroup/cpuset//a/b\n"
				   "@unified /sys/fs/cgroup/unified//a\n";
	static const char *const bad[] = {"cpu relative", "cpu /no/double", "cpu /x//../../etc",
					  "cpu",	  "bogus /a//b",    "cpu //a",
					  "cpu /a//"};
	auto_strbuf struct strbuf b = {0};
	auto_cgroup struct cgroup *cg = NULL;
	struct cgroup_mount_plan plan = {0};

	assert_int_equal(cgroup_load(str_of(text), &cg, NULL), 0);
	cgroup_save(cg, &b);
	assert_string_equal(strbuf_text(&b), text);
	assert_int_equal(cgroup_mode(cg), CGROUP_MODE_HYBRID);
	assert_string_equal(cgroup_dir(cg, CGROUP_CPU), "/sys/fs/cgroup/cpu,cpuacct/a/b");
	assert_null(cgroup_dir(cg, CGROUP_CPUSET));
	assert_true(cgroup_has(cg, CGROUP_CPUSET));
	cgroup_mount_plan(cg, &plan);
	assert_int_equal(plan.n, 5);
	assert_int_equal(plan.steps[0].kind, CGROUP_MOUNT_TMPFS);
	assert_string_equal(plan.steps[1].name, "cpu,cpuacct");
	assert_string_equal(plan.steps[1].source, "/sys/fs/cgroup/cpu,cpuacct/a/b");
	assert_int_equal(plan.steps[2].kind, CGROUP_MOUNT_SYMLINK);
	assert_string_equal(plan.steps[3].name, "cpuacct");
	assert_string_equal(plan.steps[3].source, "cpu,cpuacct");
	cgroup_mount_plan_done(&plan);
	for (size_t i = 0; i < array_len(bad); i++) {
		struct cgroup *none = NULL;

		assert_true(cgroup_load(str_of(bad[i]), &none, NULL) < 0);
		assert_null(none);
	}
}

static void test_null_object(void **state)
{
	auto_cgroup struct cgroup *cg = cgroup_none();
	struct cgroup_late late = {.fd = 7};
	struct err e = {0};
	pid_t *pids = NULL;
	size_t n = 9;

	assert_int_equal(cgroup_clone_fd(cg), -1);
	assert_int_equal(cgroup_join_self(cg, false, &e), 0);
	assert_int_equal(cgroup_late_open(cg, &late, &e), 0);
	assert_int_equal(late.fd, -1);
	assert_int_equal(cgroup_join_late(&late, &e), 0);
	assert_int_equal(cgroup_pids(cg, &pids, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(cgroup_kill(cg, &e), 0);
	assert_int_equal(cgroup_delete(cg, 0, &e), 0);
	assert_int_equal(cgroup_write(cg, CGROUP_PIDS, "pids.max", "5", &e), -ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "pids"));
	assert_true(cgroup_freeze(cg, true, 10, &e) < 0);
}

/* A small interpreter of what devices_bpf_assemble writes: enough of eBPF for its own opcodes. */
static int run_bpf(const struct bpf_insn *p, size_t n, uint32_t type, uint32_t access,
		   uint32_t major, uint32_t minor)
{
	uint32_t ctx[3] = {access << 16 | type, major, minor}, r[11] = {0};

	for (size_t at = 0; at < n; at++) {
		const struct bpf_insn *i = &p[at];
		bool jump = false;

		switch (i->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			r[i->dst_reg] = ctx[i->off / 4];
			break;
		case BPF_ALU | BPF_MOV | BPF_X:
			r[i->dst_reg] = r[i->src_reg];
			break;
		case BPF_ALU | BPF_MOV | BPF_K:
			r[i->dst_reg] = (uint32_t)i->imm;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			r[i->dst_reg] &= (uint32_t)i->imm;
			break;
		case BPF_ALU | BPF_RSH | BPF_K:
			r[i->dst_reg] >>= i->imm;
			break;
		case BPF_JMP32 | BPF_JNE | BPF_K:
			jump = r[i->dst_reg] != (uint32_t)i->imm;
			break;
		case BPF_JMP32 | BPF_JEQ | BPF_K:
			jump = r[i->dst_reg] == (uint32_t)i->imm;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)r[0];
		default:
			fail_msg("unknown opcode %x", i->code);
		}
		at += jump ? (size_t)i->off : 0;
	}
	fail_msg("ran off the end");
	return -1;
}

#define CHAR_DEV BPF_DEVCG_DEV_CHAR
#define BLOCK	 BPF_DEVCG_DEV_BLOCK
#define MK	 BPF_DEVCG_ACC_MKNOD
#define RD	 BPF_DEVCG_ACC_READ
#define WR	 BPF_DEVCG_ACC_WRITE

static const struct cgroup_device some_rules[] = {
	{false, 'a', -1, -1, true, true, true},	  {true, 'c', -1, -1, false, false, true},
	{true, 'c', 1, 3, true, true, true},	  {true, 'b', 8, 0, true, false, false},
	{true, 'b', 8, 0, false, true, false},	  {true, 'c', 136, -1, true, true, true},
	{false, 'c', 136, 5, false, true, false},
};

static const struct {
	uint32_t type, access, major, minor;
	int allowed;
} accesses[] = {
	{CHAR_DEV, RD | WR, 1, 3, 1},	{CHAR_DEV, RD, 1, 5, 0},	{CHAR_DEV, MK, 9, 9, 1},
	{BLOCK, MK, 8, 0, 0},		{BLOCK, RD | WR, 8, 0, 1},	{BLOCK, RD, 8, 1, 0},
	{CHAR_DEV, RD | WR, 136, 4, 1}, {CHAR_DEV, RD | WR, 136, 5, 0}, {CHAR_DEV, RD, 136, 5, 1},
	{CHAR_DEV, RD | MK, 7, 7, 0},
};

static void test_device_program(void **state)
{
	auto_free struct bpf_insn *p = mem_new_array(struct bpf_insn, DEVICES_BPF_INSNS_MAX);
	size_t n = devices_bpf_assemble(some_rules, array_len(some_rules), p);

	for (size_t i = 0; i < array_len(accesses); i++)
		assert_int_equal(run_bpf(p, n, accesses[i].type, accesses[i].access,
					 accesses[i].major, accesses[i].minor),
				 accesses[i].allowed);
	n = devices_bpf_assemble(NULL, 0, p);
	assert_int_equal(run_bpf(p, n, CHAR_DEV, RD, 1, 3), 0);
	n = devices_bpf_assemble(&(struct cgroup_device){true, 'a', -1, -1, true, true, true}, 1,
				 p);
	assert_int_equal(run_bpf(p, n, BLOCK, RD | WR | MK, 8, 0), 1);
}

/* The real thing. */

static struct cgroup *make_real(const char *what, unsigned int need)
{
	auto_free char *path = mem_printf("/hull-test-%s-%d", what, (int)getpid());
	struct cgroup_want want = {.path = path, .id = "x", .need = need};
	struct cgroup *cg = NULL;
	struct err e = {0};

	if (geteuid() != 0 || cgroup_make(&want, &cg, &e) < 0 ||
	    cgroup_mode(cg) == CGROUP_MODE_NONE) {
		print_message("no writable cgroups here: %s\n", e.text);
		(void)cgroup_free(cg);
		skip();
	}
	return cg;
}

static pid_t sleeper(struct cgroup *cg)
{
	int ready[2];
	struct cgroup_late late = {.fd = -1};
	pid_t pid = 0;
	char c = 0;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(cgroup_late_open(cg, &late, NULL), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		bool ok = cgroup_join_self(cg, false, NULL) == 0 &&
			  cgroup_join_late(&late, NULL) == 0 && (fork() >= 0) &&
			  write(ready[1], "x", 1) == 1;

		(void)close(ready[1]);
		for (; ok;)
			(void)pause();
		_exit(1);
	}
	(void)close(ready[1]);
	(void)fd_close(late.fd);
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	return pid;
}

static void live_through(struct cgroup *cg)
{
	struct err e = {0};
	auto_free pid_t *pids = NULL;
	size_t n = 0;
	pid_t pid = sleeper(cg);
	int status = 0;

	assert_int_equal(cgroup_pids(cg, &pids, &n, &e), 0);
	assert_int_equal(n, 2); /* itself and the one it forked */
	assert_false(cgroup_is_frozen(cg));
	if (cgroup_has(cg, CGROUP_FREEZER)) {
		assert_int_equal(cgroup_freeze(cg, true, 2000, &e), 0);
		assert_true(cgroup_is_frozen(cg));
		assert_int_equal(cgroup_freeze(cg, false, 2000, &e), 0);
		assert_false(cgroup_is_frozen(cg));
		assert_int_equal(cgroup_freeze(cg, true, 2000, &e), 0);
	}
	assert_int_equal(cgroup_delete(cg, 0, &e), -ERR_BUSY);
	assert_int_equal(cgroup_end(cg, 2000, &e), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(cgroup_end(cg, 0, &e), 0);
	for (size_t i = 0; i < cg->n; i++)
		assert_int_equal(access(cg->dirs[i].path, F_OK), -1);
}

static void test_real_life(void **state)
{
	auto_cgroup struct cgroup *cg = make_real("life", 0);

	live_through(cg);
}

static void test_real_cpuset_later(void **state)
{
	auto_cgroup struct cgroup *cg = make_real("cpuset", 0);
	auto_free pid_t *pids = NULL;
	struct err e = {0};
	pid_t pid = 0;

	if (cgroup_mode(cg) == CGROUP_MODE_V2 || !cgroup_has(cg, CGROUP_CPUSET)) {
		(void)!cgroup_delete(cg, 0, NULL);
		skip();
	}
	pid = sleeper(cg);
	assert_null(cgroup_dir(cg, CGROUP_CPUSET));
	assert_int_equal(cgroup_write(cg, CGROUP_CPUSET, "cpuset.cpus", "0", &e), 0);
	assert_non_null(cgroup_dir(cg, CGROUP_CPUSET));
	assert_true(cgroup_write(cg, CGROUP_CPUSET, "cpuset.cpus", "4000", &e) < 0);
	assert_non_null(strstr(e.text, "cannot write '4000'"));
	assert_int_equal(cgroup_kill(cg, &e), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(cgroup_delete(cg, 2000, &e), 0);
}

/* In a forked child that opens devices, under the rules of above. */
static int open_devices(struct cgroup *cg)
{
	if (cgroup_join_self(cg, false, NULL) < 0)
		return 10;
	if (open("/dev/null", O_RDWR) < 0)
		return 11;
	if (open("/dev/zero", O_RDONLY) >= 0 || errno != EPERM)
		return 12;
	if (mknod("/tmp/hull-test-node", S_IFBLK | 0600, makedev(8, 0)) == 0 || errno != EPERM)
		return 13;
	if (mknod("/tmp/hull-test-node", S_IFCHR | 0600, makedev(9, 9)) < 0)
		return 14;
	return unlink("/tmp/hull-test-node") < 0 ? 15 : 0;
}

static void devices_hold(struct cgroup *cg)
{
	struct err e = {0};
	size_t n = array_len(some_rules) - 1; /* the last one v1 cannot hold */
	int status = 0;
	pid_t pid = 0;

	if (!cgroup_is_v2(cg, CGROUP_DEVICES))
		assert_int_equal(cgroup_devices(cg, some_rules, n + 1, &e), -ERR_UNSUPPORTED);
	assert_int_equal(cgroup_devices(cg, some_rules, n, &e), 0);
	assert_int_equal(cgroup_devices(cg, some_rules, n, &e), 0);
	pid = fork();
	if (pid == 0)
		_exit(open_devices(cg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(cgroup_delete(cg, 2000, &e), 0);
}

static void test_real_devices(void **state)
{
	auto_cgroup struct cgroup *cg = make_real("devices", 0);

	devices_hold(cg);
}

/* What the machine's v2 root hands on belongs to the machine: as it was before, also after. */
static void restore_root(const char *before)
{
	auto_strbuf struct strbuf now = {0};
	struct str rest = {0}, name = {0};

	assert_int_equal(cgroup_slurp("/sys/fs/cgroup", "cgroup.subtree_control", &now), 0);
	rest = str_trim(strbuf_str(&now));
	while (rest.n && str_cut(&rest, ' ', &name)) {
		auto_free char *word = str_dup(name);
		auto_free char *minus = mem_printf("-%s", word);

		if (!strstr(before, word))
			(void)cgroup_spit("/sys/fs/cgroup", "cgroup.subtree_control", minus,
					  strlen(minus));
	}
}

/* The machine as pure v2, in a mount namespace of a child's own. */
static void test_real_v2(void **state)
{
	int status = 0;
	pid_t pid = 0;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		struct cgroup *cg = NULL;
		auto_strbuf struct strbuf before = {0};

		if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(77);
		(void)umount2("/sys/fs/cgroup", MNT_DETACH);
		if (mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
			_exit(77);
		assert_int_equal(cgroup_slurp("/sys/fs/cgroup", "cgroup.subtree_control", &before),
				 0);
		cg = make_real("v2", 0);
		assert_int_equal(cgroup_mode(cg), CGROUP_MODE_V2);
		live_through(cg);
		cg = cgroup_free(cg);
		cg = make_real("v2dev", 0);
		devices_hold(cg);
		(void)cgroup_free(cg);
		restore_root(strbuf_text(&before));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* A process over a limit of 4 MiB is killed and the sentence says why. */
static void killed_for_memory(bool both)
{
	auto_cgroup struct cgroup *cg = make_real("oom", 0);
	struct cgroup_late late = {.fd = -1};
	auto_strbuf struct strbuf b = {0};
	struct err e = {0};
	int status = 0, fd = -1;
	const char *file = cgroup_is_v2(cg, CGROUP_MEMORY) ? "memory.max" : "memory.limit_in_bytes";
	pid_t pid = 0;
	uint64_t signalled = 0;

	if (!cgroup_has(cg, CGROUP_MEMORY)) {
		(void)!cgroup_delete(cg, 0, NULL);
		skip();
	}
	assert_int_equal(cgroup_write_u64(cg, CGROUP_MEMORY, file, 4 << 20, &e), 0);
	if (!cgroup_is_v2(cg, CGROUP_MEMORY) && both)
		assert_int_equal(cgroup_write_u64(cg, CGROUP_MEMORY, "memory.memsw.limit_in_bytes",
						  4 << 20, &e),
				 0);
	assert_false(cgroup_oom_explain(cg, NULL, 0, &b));
	assert_int_equal(cgroup_oom_open(cg, &fd, &e), 0);
	assert_int_equal(cgroup_late_open(cg, &late, &e), 0);
	pid = fork();
	if (pid == 0) {
		if (cgroup_join_self(cg, false, NULL) < 0 || cgroup_join_late(&late, NULL) < 0)
			_exit(10);
		for (size_t i = 0; i < 64; i++)
			memset(malloc(1 << 20), 1, 1 << 20);
		_exit(11);
	}
	(void)fd_close(late.fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(cgroup_oom_kills(cg), 1);
	assert_true(cgroup_oom_explain(cg, "hog", pid, &b));
	assert_non_null(strstr(strbuf_text(&b), "limit 4 MiB"));
	assert_non_null(strstr(strbuf_text(&b), "'hog'"));
	assert_true(read(fd, &signalled, sizeof signalled) > 0);
	(void)close(fd);
	assert_int_equal(cgroup_delete(cg, 2000, &e), 0);
}

static void test_real_oom(void **state)
{
	killed_for_memory(false);
	killed_for_memory(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_save),
		cmocka_unit_test(test_null_object),
		cmocka_unit_test(test_device_program),
		cmocka_unit_test(test_real_life),
		cmocka_unit_test(test_real_cpuset_later),
		cmocka_unit_test(test_real_devices),
		cmocka_unit_test(test_real_v2),
		cmocka_unit_test(test_real_oom),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
