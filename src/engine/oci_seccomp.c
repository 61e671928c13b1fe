/*
 * The default seccomp profile: what a container may ask of the kernel when it was not told
 * otherwise. It grants the set of calls that Docker documents for its default, so that images
 * behave the same; calls that only make sense with a capability are granted with it.
 *
 * Rows are groups: the capability that unlocks them ("" always, "-CAP" only without it), the names,
 * and where the call is allowed for some arguments only, the test. Everything else fails with
 * EPERM.
 */
#include "engine/engine_priv.h"

struct group {
	const char *capability;
	const char *names;
};

static const struct group groups[] = {
	/* files */
	{"",
	 "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 "
	 "faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 "
	 "fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock "
	 "fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate "
	 "ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown "
	 "lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek "
	 "lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat "
	 "name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 "
	 "pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat "
	 "rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat "
	 "stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range "
	 "sync_file_range2 syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat "
	 "utimensat_time64 utimes vmsplice write writev cachestat"},
	/* events and waiting */
	{"",
	 "alarm epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
	 "epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init "
	 "inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents "
	 "io_pgetevents_time64 io_setup io_submit _newselect pause pipe pipe2 poll ppoll "
	 "ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 timerfd_create "
	 "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64"},
	/* memory and locks */
	{"",
	 "brk futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list "
	 "madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 "
	 "mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc "
	 "pkey_free pkey_mprotect process_mrelease remap_file_pages rseq set_robust_list"},
	/* processes */
	{"",
	 "capget capset execve execveat exit exit_group fork getcpu getpgid getpgrp getpid getppid "
	 "getpriority getrlimit getrusage getsid get_thread_area gettid ioprio_get ioprio_set kill "
	 "landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open "
	 "pidfd_send_signal prctl prlimit64 restart_syscall rt_sigaction rt_sigpending "
	 "rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
	 "rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam "
	 "sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval "
	 "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam "
	 "sched_setscheduler sched_yield seccomp setpgid setpriority setrlimit setsid "
	 "set_thread_area set_tid_address sigaltstack sigprocmask sigreturn sysinfo tgkill times "
	 "tkill ugetrlimit uname uretprobe vfork wait4 waitid waitpid arch_prctl modify_ldt "
	 "process_vm_readv process_vm_writev ptrace riscv_hwprobe"},
	/* identity */
	{"", "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid "
	     "getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid "
	     "setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid "
	     "setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32"},
	/* time and chance */
	{"",
	 "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
	 "clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer getrandom gettimeofday "
	 "nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime "
	 "timer_gettime64 timer_settime timer_settime64"},
	/* sockets and System V */
	{"",
	 "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr "
	 "mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
	 "mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd recv recvfrom recvmmsg "
	 "recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg "
	 "sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair"},
	/* by capability */
	{"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
	{"CAP_SYS_ADMIN",
	 "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
	 "mount mount_setattr move_mount open_tree perf_event_open quotactl "
	 "quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"},
	{"CAP_SYS_BOOT", "reboot"},
	{"CAP_SYS_CHROOT", "chroot"},
	{"CAP_SYS_MODULE", "delete_module init_module finit_module"},
	{"CAP_SYS_PACCT", "acct"},
	{"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"},
	{"CAP_SYS_RAWIO", "iopl ioperm"},
	{"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
	{"CAP_SYS_TTY_CONFIG", "vhangup"},
	{"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
	{"CAP_SYSLOG", "syslog"},
	{"CAP_BPF", "bpf"},
	{"CAP_PERFMON", "perf_event_open"},
};

/* Allowed for some values of an argument only. */
static const struct {
	const char *capability;
	const char *name;
	uint32_t index;
	uint64_t value, value_two;
	const char *op;
} tests[] = {
	{"", "socket", 0, 40 /* AF_VSOCK: the host's side of machines */, 0, "SCMP_CMP_NE"},
	{"", "personality", 0, 0x0, 0, "SCMP_CMP_EQ"},
	{"", "personality", 0, 0x8, 0, "SCMP_CMP_EQ"},
	{"", "personality", 0, 0x20000, 0, "SCMP_CMP_EQ"},
	{"", "personality", 0, 0x20008, 0, "SCMP_CMP_EQ"},
	{"", "personality", 0, 0xffffffff, 0, "SCMP_CMP_EQ"},
	/* clone without any new namespace (the CLONE_NEW* bits) */
	{"-CAP_SYS_ADMIN", "clone", 0, 0x7e020000, 0, "SCMP_CMP_MASKED_EQ"},
};

#if defined(__x86_64__)
#define NATIVE_ARCHITECTURE "SCMP_ARCH_X86_64"
#else
#define NATIVE_ARCHITECTURE "SCMP_ARCH_AARCH64"
#endif

#define NO_SUCH_CALL 38 /* ENOSYS: C libraries fall back from clone3 to clone on it only */

static bool unlocked(const char *capability, char *const *capabilities)
{
	if (!*capability)
		return true;
	if (*capability == '-')
		return !text_in(capability + 1, capabilities);
	return text_in(capability, capabilities);
}

static struct json *rule_of(const char *names, const char *action)
{
	struct json *rule = json_new_object(), *list = json_new_array();
	struct str rest = str_of(names), one;

	while (str_cut(&rest, ' ', &one))
		if (one.n)
			json_append(list, json_new_str(one));
	json_set(rule, "names", list);
	json_set_text(rule, "action", action);
	return rule;
}

struct json *oci_seccomp(char *const *capabilities)
{
	static const char *const architectures[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86",
						    "SCMP_ARCH_X32", NULL};
	static const char *const arm[] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", NULL};
	struct json *profile = json_new_object(), *rules = json_new_array(), *rule;
	bool admin = text_in("CAP_SYS_ADMIN", capabilities);

	json_set_text(profile, "defaultAction", "SCMP_ACT_ERRNO");
	json_set_i64(profile, "defaultErrnoRet", EPERM);
#if defined(__x86_64__)
	json_set(profile, "architectures", json_new_texts((char *const *)architectures));
	(void)arm;
#else
	json_set(profile, "architectures", json_new_texts((char *const *)arm));
	(void)architectures;
#endif
	for (size_t i = 0; i < array_len(groups); i++)
		if (unlocked(groups[i].capability, capabilities))
			json_append(rules, rule_of(groups[i].names, "SCMP_ACT_ALLOW"));
	for (size_t i = 0; i < array_len(tests); i++) {
		struct json *test, *list;

		if (!unlocked(tests[i].capability, capabilities))
			continue;
		rule = rule_of(tests[i].name, "SCMP_ACT_ALLOW");
		test = json_new_object();
		list = json_new_array();
		json_set_i64(test, "index", tests[i].index);
		json_set_i64(test, "value", (int64_t)tests[i].value);
		json_set_i64(test, "valueTwo", (int64_t)tests[i].value_two);
		json_set_text(test, "op", tests[i].op);
		json_append(list, test);
		json_set(rule, "args", list);
		json_append(rules, rule);
	}
	if (!admin) {
		rule = rule_of("clone3", "SCMP_ACT_ERRNO");
		json_set_i64(rule, "errnoRet", NO_SUCH_CALL);
		json_append(rules, rule);
	}
	json_set(profile, "syscalls", rules);
	return profile;
}

/* A profile given by the client, in Docker's form: rules with conditions on capabilities. */

static bool any_capability(const struct json *list, char *const *capabilities)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *name = json_text(json_at(list, i));

		if (name && text_in(name, capabilities))
			return true;
	}
	return false;
}

static bool applies(const struct json *rule, char *const *capabilities)
{
	const struct json *with = json_get(json_get(rule, "includes"), "caps");
	const struct json *without = json_get(json_get(rule, "excludes"), "caps");

	if (json_len(with) && !any_capability(with, capabilities))
		return false;
	return !any_capability(without, capabilities);
}

/* OCI's form is Docker's without "archMap", "includes" and "excludes", and with names only. */
struct json *oci_seccomp_profile(const struct json *given, char *const *capabilities)
{
	struct json *profile = json_copy(given), *rules = json_new_array();
	const struct json *asked = json_get(given, "syscalls"), *map = json_get(given, "archMap");

	if (json_len(map) && !json_get(profile, "architectures")) {
		struct json *list = json_new_array();

		for (size_t i = 0; i < json_len(map); i++) {
			const struct json *subs = json_get(json_at(map, i), "subArchitectures");

			if (!text_eq(json_get_text(json_at(map, i), "architecture"),
				     NATIVE_ARCHITECTURE))
				continue;
			json_append(list, json_new_text(NATIVE_ARCHITECTURE));
			for (size_t k = 0; k < json_len(subs); k++)
				json_append(list, json_copy(json_at(subs, k)));
		}
		json_set(profile, "architectures", list);
	}
	json_remove(profile, "archMap");
	for (size_t i = 0; i < json_len(asked); i++) {
		struct json *rule;

		if (!applies(json_at(asked, i), capabilities))
			continue;
		rule = json_copy(json_at(asked, i));
		if (json_get_text(rule, "name") && !json_get(rule, "names")) {
			struct json *names = json_new_array();

			json_append(names, json_new_text(json_get_text(rule, "name")));
			json_set(rule, "names", names);
		}
		json_remove(rule, "name");
		json_remove(rule, "includes");
		json_remove(rule, "excludes");
		json_remove(rule, "comment");
		json_append(rules, rule);
	}
	json_set(profile, "syscalls", rules);
	return profile;
}
