/*
 * Time zones: see zone.h. A file (RFC 8536) has a block with 32-bit moments that is skipped, then
 * one with 64-bit moments: moments of change, which kind of local time each begins, and the kinds.
 */
#include "cluster/controllers/zone.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define FOLDER "/usr/share/zoneinfo"

struct zone {
	size_t n;
	int64_t *moments; /* ascending */
	int64_t *offsets; /* from that moment on */
	int64_t first;	  /* before the first of them */
};

struct head {
	uint32_t utc_n, std_n, leaps_n, moments_n, kinds_n, chars_n;
};

static bool read_head(struct cursor *c, struct head *h)
{
	const unsigned char *magic = cursor_bytes(c, 4);

	if (!magic || memcmp(magic, "TZif", 4) != 0)
		return false;
	(void)cursor_bytes(c, 16); /* version, reserved */
	h->utc_n = cursor_be32(c);
	h->std_n = cursor_be32(c);
	h->leaps_n = cursor_be32(c);
	h->moments_n = cursor_be32(c);
	h->kinds_n = cursor_be32(c);
	h->chars_n = cursor_be32(c);
	return !c->bad && h->moments_n <= ZONE_FILE_MAX && h->kinds_n > 0 && h->kinds_n <= 256 &&
	       h->chars_n <= ZONE_FILE_MAX && h->leaps_n <= 1024 && h->std_n <= 256 &&
	       h->utc_n <= 256;
}

static int64_t be64(struct cursor *c)
{
	uint64_t high = cursor_be32(c);

	return (int64_t)(high << 32 | cursor_be32(c));
}

static int read_block(struct cursor *c, const struct head *h, struct zone *z)
{
	const unsigned char *which;
	int64_t offsets[256] = {0};

	z->n = h->moments_n;
	z->moments = mem_new_array(int64_t, z->n + 1);
	z->offsets = mem_new_array(int64_t, z->n + 1);
	for (size_t i = 0; i < z->n; i++)
		z->moments[i] = be64(c);
	which = cursor_bytes(c, z->n);
	for (size_t i = 0; i < h->kinds_n; i++) {
		offsets[i] = (int32_t)cursor_be32(c);
		(void)cursor_bytes(c, 2);
	}
	if (c->bad)
		return -1;
	z->first = offsets[0];
	for (size_t i = 0; i < z->n; i++) {
		if (which[i] >= h->kinds_n)
			return -1;
		z->offsets[i] = offsets[which[i]];
	}
	return 0;
}

static bool is_name(const char *name)
{
	if (!name[0] || name[0] == '/' || strstr(name, "..") || strlen(name) > 64)
		return false;
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_+-/", *p))
			return false;
	return true;
}

static int read_file(const char *name, unsigned char *ret, size_t *ret_n, struct err *e)
{
	auto_close int folder = open(FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, ZONE_FILE_MAX);

	if (n < 0)
		return err_set(e, ERR_NOT_FOUND, "unknown time zone %s", name);
	*ret_n = (size_t)n;
	return 0;
}

int timezone_read(struct str bytes, const char *name, struct zone **ret, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct zone *z;
	struct head h;

	if (!read_head(&c, &h))
		return err_set(e, ERR_INVALID, "the file of time zone '%s' is damaged", name);
	(void)cursor_bytes(&c, (size_t)h.moments_n * 5 + (size_t)h.kinds_n * 6 + h.chars_n +
				       (size_t)h.leaps_n * 8 + h.std_n + h.utc_n);
	z = mem_new(struct zone);
	if (!read_head(&c, &h) || read_block(&c, &h, z) < 0) {
		(void)timezone_free(z);
		return err_set(e, ERR_INVALID, "the file of time zone '%s' is damaged", name);
	}
	*ret = z;
	return 0;
}

int timezone_open(const char *name, struct zone **ret, struct err *e)
{
	auto_free unsigned char *bytes = mem_new_bytes(1, ZONE_FILE_MAX);
	size_t n = 0;

	if (!name || !is_name(name))
		return err_set(e, ERR_INVALID, "'%s' is no name of a time zone", name ? name : "");
	if (read_file(name, bytes, &n, e) < 0)
		return -(int)e->kind;
	return timezone_read((struct str){(const char *)bytes, n}, name, ret, e);
}

struct zone *timezone_free(struct zone *z)
{
	if (!z)
		return NULL;
	free(z->moments);
	free(z->offsets);
	free(z);
	return NULL;
}

int64_t timezone_offset(const struct zone *z, int64_t at_s)
{
	size_t low = 0, high = z ? z->n : 0;

	if (!z)
		return 0;
	while (low < high) { /* the first moment behind at_s */
		size_t middle = low + (high - low) / 2;

		if (z->moments[middle] <= at_s)
			low = middle + 1;
		else
			high = middle;
	}
	assert(low <= z->n);
	return low ? z->offsets[low - 1] : z->first;
}
