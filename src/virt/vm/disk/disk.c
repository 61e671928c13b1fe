/*
 * The formats, by name.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/disk/disk.h"
#include "virt/vm/disk/disk_priv.h"

static const struct {
	const char *name;
	int (*open)(struct loop *l, const struct disk_options *o, struct block_back **ret,
		    struct err *e);
} formats[] = {
	{"raw", raw_open},
	{"qcow2", qcow2_open},
};

int disk_open(struct loop *l, const struct disk_options *o, struct block_back **ret, struct err *e)
{
	size_t serial = o->serial ? strlen(o->serial) : 0;
	int failed;

	assert(l && o->path);
	if (!o->format)
		return err_set(
			e, ERR_INVALID,
			"disk '%s' needs its format named (format=raw or format=qcow2): it is "
			"never guessed",
			o->path);
	if (serial > sizeof((*ret)->serial) - 1)
		return err_set(e, ERR_INVALID, "serial number '%s' is longer than 20 characters",
			       o->serial);
	for (size_t i = 0; i < array_len(formats); i++) {
		if (strcmp(formats[i].name, o->format) != 0)
			continue;
		failed = formats[i].open(l, o, ret, e);
		if (!failed && serial)
			memcpy((*ret)->serial, o->serial, serial);
		return failed;
	}
	return err_set(e, ERR_UNSUPPORTED, "disk '%s': there is no format '%s', only raw and qcow2",
		       o->path, o->format);
}
