/* Writing newc archives: see cpio.h. A header of hexadecimal fields, name and bytes padded to 4. */
#include "virt/guest/cpio.h"

#include <assert.h>
#include <sys/stat.h>

struct entry {
	const char *path;
	unsigned mode, links, major, minor;
	struct str bytes;
};

static void pad(struct strbuf *out)
{
	while (out->n % 4)
		strbuf_add_char(out, '\0');
}

static void add(struct strbuf *out, const struct entry *x)
{
	size_t name = strlen(x->path) + 1;

	assert(out->n % 4 == 0);
	assert(x->path[0] != '/');
	assert(x->bytes.n <= UINT32_MAX);
	/* inode, mode, owner, group, links, time, size, device of the file (2), of the node (2),
	 * length of the name, check sum */
	strbuf_printf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, x->mode,
		      0, 0, x->links, 0, (unsigned)x->bytes.n, 0, 0, x->major, x->minor,
		      (unsigned)name, 0);
	strbuf_add(out, x->path, name);
	pad(out);
	strbuf_add(out, x->bytes.p, x->bytes.n);
	pad(out);
}

void cpio_directory(struct strbuf *out, const char *path)
{
	add(out, &(struct entry){.path = path, .mode = S_IFDIR | 0755, .links = 2});
}

void cpio_file(struct strbuf *out, const char *path, unsigned mode, struct str bytes)
{
	add(out, &(struct entry){.path = path, .mode = S_IFREG | mode, .links = 1, .bytes = bytes});
}

void cpio_device(struct strbuf *out, const char *path, unsigned mode, unsigned major,
		 unsigned minor)
{
	add(out, &(struct entry){.path = path,
				 .mode = S_IFCHR | mode,
				 .links = 1,
				 .major = major,
				 .minor = minor});
}

void cpio_end(struct strbuf *out)
{
	add(out, &(struct entry){.path = "TRAILER!!!", .links = 1});
	while (out->n % 512)
		strbuf_add_char(out, '\0');
}
