/*
 * The guest agent's protocol: what the host and hull-init in a machine say to each other over one
 * stream (vsock; a unix socket in tests).
 *
 * A connection is a session and runs at most one process. It begins with `hello` from both sides
 * and is a row of frames: type u8, stream u8, zero u16, length u32 (little endian), then the
 * payload. Unknown types are skipped, so that one release back and one ahead understand each other;
 * a hello of another major version, a frame that is too long and bytes beyond the credit end the
 * session.
 *
 *	host                               guest
 *	hello VERSION               -->
 *	                            <--    hello VERSION
 *	start (argv, env, ...)      -->
 *	                            <--    started PID | failed CODE TEXT
 *	data 0, end 0, resize, signal -->
 *	                            <--    data 1|2, credit N, exit CODE (the last frame)
 *	clock NS, shutdown HOW      -->
 *	                            <--    done
 *
 * Standard input is bounded by credit: the host sends no more than GUEST_CREDIT bytes that the guest
 * has not passed on, so that a signal never waits behind input that nobody reads. Output needs none:
 * nothing but output travels that way. When the connection ends, the guest kills the process.
 *
 * Both ends are bounded and trust nothing: a text inside is cut at its NUL, every list has a limit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/str.h"

#define GUEST_PROTOCOL_VERSION 1
#define GUEST_PORT	       1024	    /* of the agent, in the guest */
#define GUEST_FRAME_MAX	       (128u << 10) /* payload bytes */
#define GUEST_DATA_MAX	       (32u << 10)  /* of one data frame that we send */
#define GUEST_CREDIT	       (64u << 10)  /* bytes of input on their way */
#define GUEST_LIST_MAX	       4096	    /* arguments, and variables */
#define GUEST_SESSIONS_MAX     64
#define GUEST_HEADER_BYTES     8

enum guest_type {
	GUEST_HELLO = 1, /* u32 version */
	GUEST_START,	 /* struct guest_start */
	GUEST_STARTED,	 /* u32 pid */
	GUEST_FAILED,	 /* u32 exit code (126, 127), text */
	GUEST_DATA,	 /* bytes of `stream` */
	GUEST_END,	 /* of `stream` */
	GUEST_TAKEN,	 /* u32 bytes of input passed on: credit */
	GUEST_RESIZE,	 /* u32 rows, u32 columns */
	GUEST_SIGNAL,	 /* u32 signal: to the process group of the process */
	GUEST_EXIT,	 /* u32 exit code, 128 + n for signal n */
	GUEST_CLOCK,	 /* u32 low, u32 high: nanoseconds since 1970 */
	GUEST_SHUTDOWN,	 /* u32 enum guest_shutdown */
	GUEST_DONE,	 /* clock or shutdown is under way */
	GUEST_TYPES
};

enum guest_shutdown { GUEST_POWER_OFF, GUEST_REBOOT };

struct guest_start {
	char **args;	 /* at least one; looked up in PATH of `env` */
	char **env;	 /* NAME=VALUE; PATH and HOME are added where they are missing */
	char *cwd;	 /* NULL: "/" */
	char *user;	 /* "name|uid[:group|gid]" of the guest; NULL: root */
	bool tty;	 /* a terminal: one stream, 1 */
	bool want_stdin; /* else /dev/null */
	uint32_t rows, columns;
	bool power_off; /* when the process ends, so does the machine */
};

struct guest_frame {
	uint8_t type, stream;
	struct str payload;
};

/* Appends a frame. */
void guest_write(struct strbuf *out, enum guest_type type, unsigned stream, struct str payload);
void guest_write_u32(struct strbuf *out, enum guest_type type, uint32_t value);
void guest_write_pair(struct strbuf *out, enum guest_type type, uint32_t a, uint32_t b);
void guest_write_failed(struct strbuf *out, uint32_t exit_code, const char *text);
/* ERR_INVALID where arguments and environment do not fit a frame. */
int guest_write_start(struct strbuf *out, const struct guest_start *s, struct err *e) must_use;

/*
 * Takes the next whole frame from the front of `in`: 1 and *ret (which points into `in`, for the
 * caller to drop *ret_n bytes when it is done), 0 when more bytes are needed, ERR_INVALID for a
 * frame beyond the limit.
 */
int guest_next(const struct strbuf *in, struct guest_frame *ret, size_t *ret_n,
	       struct err *e) must_use;

/* Payloads. Missing bytes read as zero where a value is optional, as an error where it is not. */
int guest_read_u32(const struct guest_frame *f, uint32_t *ret, struct err *e) must_use;
int guest_read_pair(const struct guest_frame *f, uint32_t *ret_a, uint32_t *ret_b,
		    struct err *e) must_use;
int guest_read_failed(const struct guest_frame *f, struct arena *a, uint32_t *ret_code,
		      const char **ret_text, struct err *e) must_use;
int guest_read_start(const struct guest_frame *f, struct arena *a, struct guest_start *ret,
		     struct err *e) must_use;
