/*
 * Pid 1 of a guest: see pid1.h. Every step that fails says so on the console; one without which
 * nothing can run powers the machine off, so that the host learns of it.
 */
#include "virt/guest/pid1.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/guest/agent.h"
#include "virt/guest/netif.h"

#define DEVICE_TRIES	250
#define DEVICE_PAUSE_NS 20000000L
#define KILL_PAUSE_NS	100000000L
#define CONNECT_TRIES	50

struct wishes {
	char *lower, *upper, *disk, *init, *net, *name, *agent;
};

static const struct {
	const char *key;
	size_t offset;
} keys[] = {
	{"hull.lower=", offsetof(struct wishes, lower)},
	{"hull.upper=", offsetof(struct wishes, upper)},
	{"hull.disk=", offsetof(struct wishes, disk)},
	{"hull.init=", offsetof(struct wishes, init)},
	{"hull.net=", offsetof(struct wishes, net)},
	{"hull.name=", offsetof(struct wishes, name)},
	{"hull.agent=", offsetof(struct wishes, agent)},
};

static const struct {
	const char *type, *target, *options;
	unsigned long flags;
} mounts[] = {
	{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
	{"devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC},
	{"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
	{"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
	{"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV},
};

static int upper_fd = -1; /* a directory of the file system that is written to */

static void pause_ns(long ns)
{
	const struct timespec t = {0, ns};

	(void)nanosleep(&t, NULL);
}

static void complain(const char *what, const struct err *e)
{
	(void)dprintf(2, "hull-init: %s%s%s\n", what, e ? ": " : "", e ? e->text : "");
}

/* What is left is killed, written and switched off. */
static _Noreturn void end(int how)
{
	(void)kill(-1, SIGTERM);
	pause_ns(KILL_PAUSE_NS);
	(void)kill(-1, SIGKILL);
	sync();
	/* The root cannot be unmounted; frozen, its journal is empty and it is marked clean. */
	if (upper_fd >= 0)
		(void)ioctl(upper_fd, FIFREEZE, 0);
	(void)reboot(how);
	for (;;)
		(void)pause();
}

static _Noreturn void give_up(const char *what, const struct err *e)
{
	complain(what, e);
	end(RB_POWER_OFF);
}

static void mount_all(void)
{
	for (size_t i = 0; i < array_len(mounts); i++) {
		(void)mkdir(mounts[i].target, 0755);
		if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
			  mounts[i].options) < 0 &&
		    errno != EBUSY) /* the kernel has mounted /dev */
			(void)dprintf(2, "hull-init: cannot mount '%s': %s\n", mounts[i].target,
				      strerror(errno));
	}
}

/* The kernel's console becomes 0, 1 and 2: an initramfs without /dev has none. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	for (int i = 0; i < 3 && fd >= 0; i++)
		if (fd != i)
			(void)dup2(fd, i);
	if (fd > 2)
		(void)fd_close(fd);
}

static void read_wishes(struct wishes *w)
{
	static char line[PID1_CMDLINE_MAX];
	auto_close int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : 0;
	struct str rest = {line, n > 0 ? (size_t)n : 0}, word;

	while (str_cut(&rest, ' ', &word)) {
		word = str_trim(word);
		for (size_t i = 0; i < array_len(keys); i++)
			if (str_starts(word, keys[i].key))
				*(char **)(void *)((char *)w + keys[i].offset) =
					str_dup((struct str){word.p + strlen(keys[i].key),
							     word.n - strlen(keys[i].key)});
	}
}

static int load_one(const char *name)
{
	auto_free char *path = mem_printf(PID1_MODULES_DIR "/%s", name);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST && errno != ENODEV) {
		(void)dprintf(2, "hull-init: cannot load '%s': %s\n", name, strerror(errno));
		return -1;
	}
	(void)unlink(path); /* its memory is free again */
	return 0;
}

/* Their names begin with their number. */
static void load_modules(void)
{
	struct dirent **list = NULL;
	int n = scandir(PID1_MODULES_DIR, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.')
			(void)load_one(list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

static char *device(const char *name)
{
	char *path = *name == '/' ? mem_dup_text(name) : mem_printf("/dev/%s", name);

	for (int i = 0; i < DEVICE_TRIES && access(path, F_OK) < 0; i++)
		pause_ns(DEVICE_PAUSE_NS);
	return path;
}

static int mount_device(const char *name, const char *type, const char *target, unsigned long flags,
			struct err *e)
{
	auto_free char *path = device(name);

	(void)mkdir(target, 0755);
	if (mount(path, target, type, flags, NULL) < 0)
		return err_sys(e, "cannot mount '%s' as %s", path, type);
	return 0;
}

static int mount_overlay(const struct wishes *w, struct err *e)
{
	if (mount_device(w->lower, "erofs", "/lower", MS_RDONLY, e) < 0 ||
	    mount_device(w->upper, "ext4", "/upper", 0, e) < 0)
		return -ERR_SYSTEM;
	upper_fd = open("/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)mkdir("/upper/upper", 0755);
	(void)mkdir("/upper/work", 0755);
	(void)mkdir("/root", 0755);
	if (mount("overlay", "/root", "overlay", 0,
		  "lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work") < 0)
		return err_sys(e, "cannot join '%s' and '%s' by an overlay", w->lower, w->upper);
	return 0;
}

static int mount_disk(const struct wishes *w, struct err *e)
{
	static const char *const types[] = {"ext4", "erofs", "squashfs", "xfs", "btrfs"};
	int r = 0;

	for (size_t i = 0; i < array_len(types); i++) {
		r = mount_device(w->disk, types[i], "/root", 0, e);
		if (r == 0)
			return 0;
	}
	return r;
}

/* /root becomes /, with the mounts that every root has. */
static int switch_root(struct err *e)
{
	static const char *const moved[] = {"/proc", "/sys", "/dev", "/run"};

	for (size_t i = 0; i < array_len(moved); i++) {
		auto_free char *target = mem_printf("/root%s", moved[i]);

		(void)mkdir(target, 0755);
		if (mount(moved[i], target, NULL, MS_MOVE, NULL) < 0)
			return err_sys(e, "cannot move '%s' into the root", moved[i]);
	}
	if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return err_sys(e, "cannot enter the root");
	return 0;
}

static void write_file(const char *path, const char *text)
{
	auto_close int fd = -1;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
}

static void name_machine(const char *name)
{
	auto_free char *line = mem_printf("%s\n", name), *hosts = NULL;

	(void)!sethostname(name, strlen(name));
	hosts = mem_printf("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t%s\n", name);
	(void)mkdir("/etc", 0755);
	write_file("/etc/hostname", line);
	write_file("/etc/hosts", hosts);
}

static int bring_up(const struct wishes *w, struct err *e)
{
	struct netif_config c = {0};
	char name[NETIF_NAME_ROOM], dns[INET_ADDRSTRLEN];
	auto_free char *resolv = NULL;
	int r;

	(void)!netif_up("lo", NULL);
	if (!w->net)
		return 0;
	if (netif_find(name, e) < 0 || netif_up(name, e) < 0)
		return -ERR_SYSTEM;
	r = text_eq(w->net, "dhcp") ? netif_dhcp(name, &c, e) : netif_parse(str_of(w->net), &c, e);
	if (r < 0 || netif_configure(name, &c, e) < 0)
		return -ERR_SYSTEM;
	if (!c.dns || !inet_ntop(AF_INET, &c.dns, dns, sizeof(dns)))
		return 0;
	resolv = mem_printf("nameserver %s\n", dns);
	write_file("/etc/resolv.conf", resolv);
	return 0;
}

static int listen_vsock(struct err *e)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = GUEST_PORT};
	auto_close int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 16) < 0)
		return err_sys(e, "cannot listen on vsock port %d", GUEST_PORT);
	return take_fd(&fd);
}

/* The host waits for this one: it tells that the agent serves, and carries the first session. */
static int call_host(struct err *e)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = GUEST_PORT};

	for (int i = 0; i < CONNECT_TRIES; i++) {
		auto_close int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
			return take_fd(&fd);
		pause_ns(DEVICE_PAUSE_NS);
	}
	return err_sys(e, "the host does not answer on vsock port %d", GUEST_PORT);
}

static int open_serial(const char *path, struct err *e)
{
	auto_close int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;

	if (fd < 0 || tcgetattr(fd, &raw) < 0)
		return err_sys(e, "cannot open '%s'", path);
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return err_sys(e, "cannot set '%s'", path);
	return take_fd(&fd);
}

/* The ACPI power button as an input device; -1: none. */
static int open_button(void)
{
	for (int i = 0; i < 8; i++) {
		auto_free char *name = mem_printf("/sys/class/input/event%d/device/name", i);
		auto_free char *path = mem_printf("/dev/input/event%d", i);
		auto_close int fd = open(name, O_RDONLY | O_CLOEXEC);
		char text[64] = {0};

		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 &&
		    text_starts(text, "Power Button"))
			return open(path, O_RDONLY | O_CLOEXEC);
	}
	return -1;
}

static void serve(const struct wishes *w)
{
	struct agent_options o = {.listener = -1, .power = open_button(), .ready = -1};
	enum guest_shutdown how = GUEST_POWER_OFF;
	struct err e = {0};

	if (w->agent) {
		o.ready = open_serial(w->agent, &e);
	} else {
		o.listener = listen_vsock(&e);
		if (o.listener >= 0)
			o.ready = call_host(&e);
	}
	if (o.ready < 0)
		give_up("no way to the host", &e);
	if (agent_run(&o, &how, &e) < 0)
		complain("the agent ended", &e);
	end(how == GUEST_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
}

static void run_init(const struct wishes *w)
{
	char *init = w->init ? w->init : mem_dup_text("/sbin/init");
	char *argv[] = {init, NULL};

	(void)execv(init, argv);
	(void)dprintf(2, "hull-init: cannot run '%s': %s\n", init, strerror(errno));
}

void guest_pid1(void)
{
	struct wishes w = {0};
	struct err e = {0};
	int r = 0;

	(void)umask(022);
	mount_all();
	open_console();
	read_wishes(&w);
	load_modules();
	if (w.lower && w.upper)
		r = mount_overlay(&w, &e);
	else if (w.disk)
		r = mount_disk(&w, &e);
	if (r == 0 && (w.lower || w.disk))
		r = switch_root(&e);
	if (r < 0)
		give_up("no root", &e);
	if (w.name)
		name_machine(w.name);
	if (bring_up(&w, &e) < 0)
		complain("no network", &e);
	if (w.disk)
		run_init(&w);
	else
		serve(&w);
	end(RB_POWER_OFF);
}
