/*
 * How hull-vm gives up its rights. In two steps: namespaces, root directory, user and capabilities
 * while it is still one thread; the system call filter once every thread there will be exists,
 * before the first of them executes a guest. What the filter allows is what running a machine
 * takes; nothing can be opened by path, executed, or made executable.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/confine.h"
#include "ground/wire/loop.h"
#include "hull-vm.h"

#define OWN_ID 1212501581u /* nobody else's user and group; hull-net has the one before */

static const int syscalls[] = {
	/* files and sockets that are open */
	__NR_read,
	__NR_write,
	__NR_readv,
	__NR_writev,
	__NR_pread64,
	__NR_pwrite64,
	__NR_preadv,
	__NR_pwritev,
	__NR_preadv2,
	__NR_pwritev2,
	__NR_fsync,
	__NR_fdatasync,
	__NR_sync_file_range,
	__NR_fallocate,
	__NR_ftruncate,
	__NR_fadvise64,
	__NR_lseek,
	__NR_fstat,
	__NR_newfstatat,
	__NR_statx,
	__NR_fcntl,
	__NR_ioctl,
	__NR_close,
	__NR_unlink,
	/* vsock's and the control socket's clients */
	__NR_socket,
	__NR_connect,
	__NR_accept4,
	__NR_sendto,
	__NR_recvfrom,
	__NR_sendmsg,
	__NR_recvmsg,
	__NR_shutdown,
	__NR_getsockopt,
	__NR_setsockopt,
	__NR_getsockname,
	__NR_getpeername,
	/* waiting */
	__NR_epoll_wait,
	__NR_epoll_pwait,
	__NR_epoll_ctl,
	__NR_poll,
	__NR_ppoll,
	__NR_eventfd2,
	__NR_pipe2,
	__NR_futex,
	__NR_nanosleep,
	__NR_clock_nanosleep,
	__NR_restart_syscall,
	__NR_sched_yield,
	__NR_timerfd_create,
	__NR_timerfd_settime,
	/* memory; never executable */
	__NR_mmap,
	__NR_munmap,
	__NR_mprotect,
	__NR_madvise,
	__NR_mremap,
	__NR_brk,
	__NR_membarrier,
	/* time, identity, signals among our own threads */
	__NR_clock_gettime,
	__NR_clock_getres,
	__NR_gettimeofday,
	__NR_getrandom,
	__NR_getpid,
	__NR_gettid,
	__NR_prctl,
	__NR_getuid,
	__NR_geteuid,
	__NR_getrusage,
	__NR_sched_getaffinity,
	__NR_rt_sigaction,
	__NR_rt_sigprocmask,
	__NR_rt_sigreturn,
	__NR_tgkill,
	__NR_rseq,
	__NR_set_robust_list,
	__NR_exit,
	__NR_exit_group,
};

/* The directory of the machine's sockets becomes ours with us, unless others may write there as
 * well. A socket in it that the guest shall reach by vsock must let anybody connect: we are
 * nobody. */
static void take_along(int dirfd)
{
	struct stat st;

	if (geteuid() == 0 && fstat(dirfd, &st) == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
	    fchownat(dirfd, "", OWN_ID, OWN_ID, AT_EMPTY_PATH) < 0)
		log_warn("the machine's directory stays another user's: its sockets will remain");
}

int confinement_early(const struct vm_options *o, int dirfd, struct err *e)
{
	struct confine_rights nothing = {0};
	bool namespaces;
	int r;

	if (o->unconfined)
		return 0;
	if (dirfd >= 0)
		take_along(dirfd);
	r = confine_in_place(OWN_ID, dirfd, &namespaces, e);
	if (r == 0 && !namespaces)
		log_warn("this host allows us no namespaces: the machine is confined by its "
			 "system call filter alone");
	return r == 0 ? confine_rights(&nothing, e) : r;
}

static void nothing_to_do(void *arg)
{
}

static void pool_is_there(void *arg)
{
	loop_stop(arg);
}

int confinement_late(const struct vm_options *o, struct loop *loop, struct err *e)
{
	struct confine_rights r = {.syscalls = syscalls,
				   .syscalls_n = array_len(syscalls),
				   .all_threads = true,
				   .no_exec = true};

	if (o->unconfined)
		return 0;
	/* The first job makes the pool's threads, all of them. */
	loop_job(loop, nothing_to_do, pool_is_there, loop);
	loop_run(loop);
	return confine_rights(&r, e);
}
