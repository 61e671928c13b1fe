/*
 * Processes as the kernel tells of them: identity that survives reuse of pids (start time, boot
 * id), pidfds, and a private procfs that no container can have tampered with.
 *
 * A process is named for later by {boot id, pid, start time}: process_start_time() of a pid that
 * was reused differs. proc(5), pidfd_open(2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"

#define BOOT_ID_SIZE 37 /* with its NUL */

/* Field 22 of /proc/PID/stat: clock ticks since boot. *ret_state (may be NULL) is its letter,
 * 'Z'... */
int process_start_time(pid_t pid, uint64_t *ret, char *ret_state, struct err *e) must_use;

/* Does that very process still run? A zombie does not. */
bool process_alive(pid_t pid, uint64_t start_time);

int process_boot_id(char ret[BOOT_ID_SIZE], struct err *e) must_use;

/* A pidfd of a process that is verified to be the one with that start time; ERR_GONE otherwise. */
int process_open(pid_t pid, uint64_t start_time, int *ret_pidfd, struct err *e) must_use;
int process_signal(int pidfd, int sig, struct err *e) must_use;

/*
 * Waits up to timeout_ms (-1: for ever) for the end of a process. A child is reaped and *ret_status
 * (may be NULL) is as waitpid's; another's process ends with status 0. ERR_TIMEOUT otherwise.
 */
int process_wait(int pidfd, int timeout_ms, int *ret_status, struct err *e) must_use;

/* 0..255 as a shell tells it: 128 + signal for a signal. */
int process_exit_code(int wait_status);

/*
 * A new procfs of the caller's pid namespace, attached nowhere: what is written below it cannot
 * land elsewhere. A directory descriptor; use process_write_proc for files below it.
 */
int process_private_proc(int *ret_fd, struct err *e) must_use;

/* Writes a value to `path` (relative) below a private procfs: no links, no other file system. */
int process_write_proc(int procfd, const char *path, const char *value, struct err *e) must_use;

/*
 * Makes this program's file unwritable through /proc/PID/exe for whoever shares a pid namespace
 * with it: re-executes from a read-only detached clone of its own mount, once. Returns 0 at once
 * when that is so already, or where the caller has no right to (and so owns nothing worth
 * protecting). Call it first in main of a program that enters containers.
 */
int process_protect_exe(char *const argv[], struct err *e) must_use;
