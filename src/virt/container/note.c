/*
 * Notes: see note.h. Errors cross as kind, errno and text; the peer may be another build of the
 * program, so no pointer crosses.
 */
#include "virt/container/note.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"
#include "ground/linux/fdpass.h"

struct failure {
	uint32_t kind;
	int32_t sys;
	char text[1024];
};

struct packet {
	uint32_t type;
	char bytes[NOTE_BYTES_MAX];
};

int note_send(int sock, enum note_type type, const void *p, size_t n, const int *fds, size_t fds_n,
	      struct err *e)
{
	struct packet k;

	assert(n <= sizeof(k.bytes));
	k.type = type;
	if (n)
		memcpy(k.bytes, p, n);
	return fdpass_send(sock, &k, sizeof(k.type) + n, fds, fds_n, e);
}

void note_send_error(int sock, const struct err *why)
{
	struct failure f = {.kind = (uint32_t)why->kind, .sys = why->sys};

	memcpy(f.text, why->text, strnlen(why->text, sizeof(f.text) - 1));
	(void)!note_send(sock, NOTE_FAILED, &f, offsetof(struct failure, text) + strlen(f.text) + 1,
			 NULL, 0, NULL);
}

static int failed(const struct note *n, struct err *e)
{
	struct failure f = {0};
	uint32_t kind;

	memcpy(&f, n->bytes, n->n < sizeof(f) ? n->n : sizeof(f));
	f.text[sizeof(f.text) - 1] = '\0';
	kind = f.kind > ERR_NONE && f.kind < ERR_KINDS ? f.kind : ERR_INTERNAL;
	(void)err_set(e, (enum err_kind)kind, "%s", f.text);
	if (e)
		e->sys = f.sys;
	return -(int)kind;
}

int note_recv(int sock, struct note *ret, struct err *e)
{
	struct packet k;
	size_t got;
	int r;

	k.type = NOTE_END;
	r = fdpass_recv(sock, &k, sizeof(k), ret->fds, array_len(ret->fds), &got, &ret->fds_n, e);
	if (r < 0) {
		if (e && e->sys != ECONNRESET)
			return r;
		err_clear(e);
		got = 0;
	}
	ret->type = got < sizeof(k.type) ? (uint32_t)NOTE_END : k.type;
	ret->n = got < sizeof(k.type) ? 0 : (uint32_t)(got - sizeof(k.type));
	memcpy(ret->bytes, k.bytes, ret->n);
	ret->bytes[ret->n] = '\0';
	return ret->type == NOTE_FAILED ? failed(ret, e) : 0;
}

int note_expect(int sock, enum note_type want, struct note *ret, struct err *e)
{
	int r = note_recv(sock, ret, e);

	if (r < 0)
		return r;
	if (ret->type == NOTE_END)
		return err_set(e, ERR_GONE, "the other process has ended without a word");
	if (ret->type != want)
		return err_set(e, ERR_INTERNAL, "note %u came where %d was due", ret->type,
			       (int)want);
	return 0;
}
