/*
 * hull-mate's parts: see main.c. The machine it minds is described by a JSON file that the engine
 * wrote (engine/runtime_vm.c); its texts live in the arena.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "virt/guest/protocol.h"

#define MATE_CODE_FAILED 125
#define MATE_DISKS_MAX	 8
#define MATE_PUBLISH_MAX 64

struct mate_disk {
	char *path, *format, *bus;
	bool read_only;
};

struct mate_spec {
	char *dir;		    /* of sockets: <run>/keeper/ID/machine */
	char *hull_vm, *hull_slirp; /* programs */
	char *accel;		    /* "auto", "kvm", "cpu" */
	uint32_t cpus;
	int64_t memory_bytes;
	char *kernel, *initrd, *append; /* initrd, append: NULL where there is none */
	struct mate_disk disks[MATE_DISKS_MAX];
	size_t disks_n;
	/* An image as the root; NULL: none, and no agent. */
	char *image;  /* erofs file, made from `lower` where it is missing */
	char **lower; /* directories, topmost first */
	char *upper;  /* ext4 file, made where it is missing */
	int64_t upper_bytes;
	char *console_log; /* the kernel's console, with an image */
	/* "none", "user" or "tap". */
	char *net, *tap, *name;
	char **publish;		    /* "tcp:ADDRESS:HOST:GUEST" */
	bool loopback;		    /* the guest may reach the host's loopback */
	struct guest_start process; /* with an image */
};

/* ERR_INVALID names the key. */
int spec_read(const char *path, struct arena *a, struct mate_spec *ret, struct err *e) must_use;

/* disk.c: makes what is missing. */
int disk_make_image(const struct mate_spec *s, struct err *e) must_use;
int disk_make_upper(const struct mate_spec *s, struct err *e) must_use;

/* child.c: programs that end with us. */
struct mate_child {
	pid_t pid;
	int pidfd;
};
#define MATE_FDS_MAX 8
/* fds[i] becomes descriptor i; -1 is /dev/null. */
int child_start(char *const *argv, const int *fds, size_t fds_n, struct mate_child *ret,
		struct err *e) must_use;
/* Waits up to timeout_ms (-1: for ever), reaps; its exit code as a shell tells it. */
int child_wait(struct mate_child *c, int timeout_ms, int *ret_code, struct err *e) must_use;
void child_kill(struct mate_child *c); /* and reaps */

/* machine.c */
int machine_mind(const struct mate_spec *s, struct err *e) must_use; /* the exit code */
