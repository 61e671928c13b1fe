/*
 * Private: notes, the messages between the caller's side and the container's side over a packet
 * socket. One packet is a note: its type, and bytes or an error. Descriptors may come along.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

enum note_type {
	NOTE_END,    /* the peer has closed: exec has succeeded, or it is dead */
	NOTE_FAILED, /* text, kind and errno of an error */
	NOTE_MAPPED, /* to the inside: the id maps are written */
	NOTE_CGROUP, /* to the inside: the cgroup as text, empty when the other side has joined it
		      */
	NOTE_HOOKS,  /* to the outside: the runtime's hooks may run */
	NOTE_GO,     /* to the inside: they have run */
	NOTE_READY,  /* to the outside: all is made; with the console's master when wanted */
	NOTE_START,  /* to the inside: through the gate */
	NOTE_MADE,   /* from a helper child to the caller: struct note_made and descriptors */
};

#define NOTE_BYTES_MAX 8192

struct note {
	uint32_t type;
	uint32_t n;
	char bytes[NOTE_BYTES_MAX + 1]; /* NUL-terminated */
	int fds[4];
	size_t fds_n;
};

int note_send(int sock, enum note_type type, const void *p, size_t n, const int *fds, size_t fds_n,
	      struct err *e) must_use;
void note_send_error(int sock, const struct err *why); /* best effort */

/* Receives one; NOTE_FAILED becomes the error that it carries (negative return). */
int note_recv(int sock, struct note *ret, struct err *e) must_use;

/* The same, and anything but `want` is an error. */
int note_expect(int sock, enum note_type want, struct note *ret, struct err *e) must_use;
