/*
 * The host's end of one session with the agent (protocol.h): runs a process in the guest with the
 * caller's streams, as if it were a child of the caller: bytes, end of input, window size and
 * signals go in, bytes and the exit code come out.
 *
 * Single-threaded, one poll loop; the caller's streams are 0, 1, 2 or others.
 *
 *	guest_connect(<vsock socket>, GUEST_PORT, 5000, &fd, e);
 *	guest_session_run(&(struct guest_session){.fd = fd, .start = &s, ...}, &code, e);
 */
#pragma once

#include "virt/guest/protocol.h"

struct guest_session {
	int fd;	      /* connected to the agent; stays the caller's */
	int stdio[3]; /* -1: none */
	const struct guest_start *start;
	/*
	 * A signalfd with the signals that are passed on (SIGWINCH becomes a resize); -1: none.
	 * `signalled` is told of each first and may keep it for itself (true). May be NULL.
	 */
	int signals;
	bool (*signalled)(void *ctx, int sig);
	/* Another descriptor to wake for: readable, `woken` is called; negative ends the session
	 * with that error. -1: none. */
	int watch;
	int (*woken)(void *ctx, struct err *e);
	int timeout_ms; /* of `watch`'s caller: woken is called this often too; 0: never */
	void *ctx;
	void (*started)(void *ctx); /* the process runs; may be NULL */
};

/*
 * Returns with the process's exit code. Negative: it did not run (*ret_code is 126 or 127 where the
 * program is to blame, else 125) or the agent went away (ERR_GONE).
 */
int guest_session_run(const struct guest_session *o, uint32_t *ret_code, struct err *e) must_use;

/* Asks the agent for something that has no process: sets the clock, shuts the machine down. */
int guest_ask_clock(int fd, uint64_t now_ns, struct err *e) must_use;
int guest_ask_shutdown(int fd, enum guest_shutdown how, struct err *e) must_use;

/*
 * A connection through hull-vm's vsock socket: "CONNECT port\n" and its "OK ...\n". ERR_UNAVAILABLE
 * where nobody listens in the guest.
 */
int guest_connect(const char *path, unsigned port, int timeout_ms, int *ret_fd,
		  struct err *e) must_use;
