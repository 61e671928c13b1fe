/*
 * The floor under `run`: the kernel calls that a container by runc's default spec (without rlimits
 * and terminal) costs whoever makes it, and nothing else. Cgroup v1 hierarchies, new namespaces,
 * root, mounts, masks, devices, capabilities, exec, wait, removal.
 *
 * usage: floor ROOTFS NAME PROGRAM
 * No configuration is read and nothing is checked beyond the calls' own results: what a runtime
 * takes more than this is the price of being a runtime. Measured as a whole process, like its
 * peers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void must(int bad, const char *what)
{
	if (bad) {
		fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
		exit(125);
	}
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	must(fd < 0, path);
	must(write(fd, text, strlen(text)) < 0, path);
	close(fd);
}

/* --- cgroup v1 ----------------------------------------------------------------------------------
 */

static const char *const hierarchies[] = {"cpu",     "cpuacct", "cpuset", "memory", "devices",
					  "freezer", "blkio",	"pids",	  "systemd"};

static const char *const device_rules[] = {
	"c *:* m",   "b *:* m",	  "c 1:3 rwm", "c 1:8 rwm",   "c 1:7 rwm", "c 5:0 rwm",
	"c 1:5 rwm", "c 1:9 rwm", "c 5:1 rwm", "c 136:* rwm", "c 5:2 rwm",
};

static void cgroup_path(char *ret, size_t n, size_t i, const char *name, const char *file)
{
	snprintf(ret, n, "/sys/fs/cgroup/%s/%s%s", hierarchies[i], name, file);
}

static void cpuset_inherit(const char *name, const char *file)
{
	char path[256], text[256];
	snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/%s", file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	must(fd < 0, path);
	n = read(fd, text, sizeof(text) - 1);
	must(n < 0, path);
	text[n] = 0;
	close(fd);
	snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/%s/%s", name, file);
	put(path, text);
}

static void cgroup_make(const char *name)
{
	char path[256];

	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		cgroup_path(path, sizeof(path), i, name, "");
		must(mkdir(path, 0755) < 0, path);
	}
	cpuset_inherit(name, "cpuset.cpus");
	cpuset_inherit(name, "cpuset.mems");
	snprintf(path, sizeof(path), "/sys/fs/cgroup/devices/%s/devices.deny", name);
	put(path, "a");
	snprintf(path, sizeof(path), "/sys/fs/cgroup/devices/%s/devices.allow", name);
	for (size_t i = 0; i < COUNT(device_rules); i++)
		put(path, device_rules[i]);
}

/* A thread that moves itself needs no lock on the whole thread group: the cheapest way in. */
static void cgroup_enter(const char *name)
{
	char path[256];

	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		cgroup_path(path, sizeof(path), i, name, "/tasks");
		put(path, "0");
	}
}

static void cgroup_remove(const char *name)
{
	char path[256];

	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		cgroup_path(path, sizeof(path), i, name, "");
		must(rmdir(path) < 0, path);
	}
}

/* --- root and mounts ----------------------------------------------------------------------------
 */

static const struct {
	const char *source, *target, *type, *data;
	unsigned long flags;
} mounts[] = {
	{"proc", "proc", "proc", NULL, 0},
	{"tmpfs", "dev", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME},
	{"devpts", "dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
	 MS_NOSUID | MS_NOEXEC},
	{"shm", "dev/shm", "tmpfs", "mode=1777,size=65536k", MS_NOSUID | MS_NOEXEC | MS_NODEV},
	{"mqueue", "dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
	{"sysfs", "sys", "sysfs", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY},
	{"cgroup", "sys/fs/cgroup", "tmpfs", "mode=755",
	 MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME},
};

static const struct {
	const char *path;
	unsigned major, minor;
} devices[] = {
	{"dev/null", 1, 3},   {"dev/zero", 1, 5}, {"dev/full", 1, 7},
	{"dev/random", 1, 8}, {"dev/tty", 5, 0},  {"dev/urandom", 1, 9},
};

static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
				       {"/proc/self/fd/0", "dev/stdin"},
				       {"/proc/self/fd/1", "dev/stdout"},
				       {"/proc/self/fd/2", "dev/stderr"},
				       {"pts/ptmx", "dev/ptmx"}};

static const char *const masked[] = {"/proc/acpi",	  "/proc/asound",	 "/proc/kcore",
				     "/proc/keys",	  "/proc/latency_stats", "/proc/timer_list",
				     "/proc/timer_stats", "/proc/sched_debug",	 "/sys/firmware",
				     "/proc/scsi"};

static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
				       "/proc/sysrq-trigger"};

static void mount_cgroups(const char *name)
{
	char from[256], to[256];

	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		cgroup_path(from, sizeof(from), i, name, "");
		snprintf(to, sizeof(to), "sys/fs/cgroup/%s", hierarchies[i]);
		must(mkdir(to, 0755) < 0, to);
		must(mount(from, to, NULL, MS_BIND, NULL) < 0, to);
		must(mount(NULL, to, NULL,
			   MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV,
			   NULL) < 0,
		     to);
	}
	must(mount(NULL, "sys/fs/cgroup", NULL,
		   MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) < 0,
	     "sys/fs/cgroup");
}

static void mount_all(const char *name)
{
	for (size_t i = 0; i < COUNT(mounts); i++) {
		must(mkdir(mounts[i].target, 0755) < 0 && errno != EEXIST, mounts[i].target);
		must(mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags,
			   mounts[i].data) < 0,
		     mounts[i].target);
	}
	mount_cgroups(name);
	umask(0);
	for (size_t i = 0; i < COUNT(devices); i++)
		must(mknod(devices[i].path, S_IFCHR | 0666,
			   makedev(devices[i].major, devices[i].minor)) < 0,
		     devices[i].path);
	umask(022);
	for (size_t i = 0; i < COUNT(links); i++)
		must(symlink(links[i][0], links[i][1]) < 0, links[i][1]);
}

static void mask_all(void)
{
	struct stat st;

	for (size_t i = 0; i < COUNT(readonly); i++) {
		if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0 &&
		    errno == ENOENT)
			continue;
		must(mount(NULL, readonly[i], NULL,
			   MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV,
			   NULL) < 0,
		     readonly[i]);
	}
	for (size_t i = 0; i < COUNT(masked); i++) {
		if (stat(masked[i], &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			must(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "size=0k") < 0,
			     masked[i]);
		else
			must(mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0, masked[i]);
	}
}

static void enter_root(const char *rootfs, const char *name)
{
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0, "slave");
	must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) < 0, rootfs);
	must(chdir(rootfs) < 0, rootfs);
	mount_all(name);
	must(syscall(SYS_pivot_root, ".", ".") < 0, "pivot_root");
	must(umount2(".", MNT_DETACH) < 0, "old root");
	must(chdir("/") < 0, "/");
	must(mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0, "read-only root");
	mask_all();
}

/* --- the process --------------------------------------------------------------------------------
 */

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	must(fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0, "lo");
	close(fd);
}

static void drop_rights(void)
{
	const unsigned keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{keep, keep, 0}, {0, 0, 0}};

	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap >= 32 || !(keep & 1u << cap))
			must(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL, "bound");
	must(syscall(SYS_capset, &head, data) < 0, "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0, "no_new_privs");
}

static int child(const char *rootfs, const char *name, char *program)
{
	char *argv[] = {program, NULL};
	char *env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		       "TERM=xterm", NULL};

	cgroup_enter(name);
	must(setsid() < 0, "setsid");
	enter_root(rootfs, name);
	must(sethostname("runc", 4) < 0, "hostname");
	loopback_up();
	drop_rights();
	must(syscall(SYS_close_range, 3, ~0u, 0) < 0, "close_range");
	execve(program, argv, env);
	must(1, program);
	return 127;
}

/* What makes a container known to a later `state`: a directory with a file. */
static void record(const char *name, char *path, size_t n)
{
	char file[300];
	int fd;

	snprintf(path, n, "/run/floor-%s", name);
	must(mkdir(path, 0700) < 0, path);
	snprintf(file, sizeof(file), "%s/state", path);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd < 0 || write(fd, name, strlen(name)) < 0, file);
	close(fd);
}

static void forget(const char *path)
{
	char file[300];

	snprintf(file, sizeof(file), "%s/state", path);
	must(unlink(file) < 0 || rmdir(path) < 0, path);
}

int main(int argc, char **argv)
{
	struct clone_args args = {.flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
					   CLONE_NEWUTS | CLONE_NEWNS,
				  .exit_signal = SIGCHLD};
	char path[256];
	int status;
	pid_t pid;

	if (argc != 4) {
		fprintf(stderr, "usage: floor ROOTFS NAME PROGRAM\n");
		return 2;
	}
	cgroup_make(argv[2]);
	record(argv[2], path, sizeof(path));
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	must(pid < 0, "clone3");
	if (pid == 0)
		_exit(child(argv[1], argv[2], argv[3]));
	must(waitpid(pid, &status, 0) < 0, "wait");
	cgroup_remove(argv[2]);
	forget(path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
