/*
 * Modules of a kernel package: see modinfo.h. ELF64 (System V ABI): section headers are read through
 * bounds that the file itself cannot widen; a damaged module is an error, not a guess.
 */
#include "virt/guest/modinfo.h"

#include <assert.h>
#include <elf.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"

#define VISITED 1
#define PLACED	2

/* Copies a struct out of the file; false beyond its end. */
static bool get(struct str file, uint64_t at, void *ret, size_t n)
{
	if (at > file.n || n > file.n - at)
		return false;
	memcpy(ret, file.p + at, n);
	return true;
}

static bool section_bytes(struct str elf, const Elf64_Shdr *h, struct str *ret)
{
	if (h->sh_offset > elf.n || h->sh_size > elf.n - h->sh_offset)
		return false;
	*ret = (struct str){elf.p + h->sh_offset, h->sh_size};
	return true;
}

static bool is_modinfo(struct str names, uint32_t at)
{
	static const char wanted[] = ".modinfo";

	return at < names.n && names.n - at >= sizeof(wanted) &&
	       memcmp(names.p + at, wanted, sizeof(wanted)) == 0;
}

static int find_modinfo(struct str elf, struct str *ret, struct err *e)
{
	Elf64_Ehdr head;
	Elf64_Shdr h;
	struct str names;

	if (!get(elf, 0, &head, sizeof(head)) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != EM_X86_64)
		return err_set(e, ERR_INVALID, "not an x86-64 kernel module");
	if (head.e_shentsize != sizeof(h) ||
	    !get(elf, head.e_shoff + (uint64_t)head.e_shstrndx * sizeof(h), &h, sizeof(h)) ||
	    !section_bytes(elf, &h, &names))
		return err_set(e, ERR_INVALID, "a kernel module without section names");
	for (unsigned i = 0; i < head.e_shnum; i++)
		if (get(elf, head.e_shoff + (uint64_t)i * sizeof(h), &h, sizeof(h)) &&
		    is_modinfo(names, h.sh_name) && section_bytes(elf, &h, ret))
			return 0;
	return err_set(e, ERR_INVALID, "a kernel module without .modinfo");
}

char *module_name(struct str file, struct arena *a)
{
	char *name;

	if (str_ends(file, ".ko"))
		file.n -= 3;
	name = arena_dup(a, file);
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	return name;
}

int module_depends(struct str elf, struct arena *a, char ***ret, struct err *e)
{
	char **list = arena_new_array(a, char *, MODULE_DEPENDS_MAX + 1);
	struct str info, pair, name;
	size_t n = 0;

	if (find_modinfo(elf, &info, e) < 0)
		return -ERR_INVALID;
	while (str_cut(&info, '\0', &pair)) {
		if (!str_starts(pair, "depends="))
			continue;
		pair.p += strlen("depends=");
		pair.n -= strlen("depends=");
		while (pair.n > 0 && str_cut(&pair, ',', &name)) {
			if (n == MODULE_DEPENDS_MAX)
				return err_set(e, ERR_INVALID, "a module needs more than %d others",
					       MODULE_DEPENDS_MAX);
			if (name.n > 0)
				list[n++] = module_name(name, a);
		}
	}
	*ret = list;
	return 0;
}

int module_add(struct module_set *s, struct str file, struct str bytes, struct err *e)
{
	struct module m = {.name = module_name(file, s->arena)};
	char *copy;

	assert(s->arena);
	if (s->n >= MODULES_MAX)
		return err_set(e, ERR_INVALID, "more than %d modules", MODULES_MAX);
	if (module_depends(bytes, s->arena, &m.depends, e) < 0)
		return err_wrap(e, "module '%s'", m.name);
	copy = arena_new_bytes(s->arena, bytes.n + 1);
	memcpy(copy, bytes.p, bytes.n);
	m.bytes = (struct str){copy, bytes.n};
	mem_grow(s->list, s->n + 1, s->room);
	s->list[s->n++] = m;
	return 0;
}

struct ordering {
	const struct module_set *set;
	unsigned char *marks;
	const struct module **out;
	size_t n;
	struct err *e;
};

static int place(struct ordering *o, const char *name, bool needed, int depth)
{
	size_t i = 0;

	while (i < o->set->n && !text_eq(o->set->list[i].name, name))
		i++;
	if (i == o->set->n)
		return needed && depth > 0 ? err_set(o->e, ERR_INVALID,
						     "module '%s' is needed and not there", name)
					   : 0;
	if (o->marks[i] == PLACED)
		return 0;
	if (o->marks[i] == VISITED || depth > MODULE_DEPENDS_MAX)
		return err_set(o->e, ERR_INVALID, "module '%s' needs itself", name);
	o->marks[i] = VISITED;
	for (char **d = o->set->list[i].depends; *d; d++)
		if (place(o, *d, true, depth + 1) < 0)
			return -ERR_INVALID;
	o->marks[i] = PLACED;
	o->out[o->n++] = &o->set->list[i];
	return 0;
}

int module_order(const struct module_set *s, const char *const *wanted, struct arena *a,
		 const struct module ***ret, size_t *ret_n, struct err *e)
{
	struct ordering o = {.set = s, .e = e};

	o.marks = arena_new_bytes(a, s->n + 1);
	o.out = arena_new_array(a, const struct module *, s->n + 1);
	for (; *wanted; wanted++)
		if (place(&o, *wanted, false, 0) < 0)
			return -ERR_INVALID;
	*ret = o.out;
	*ret_n = o.n;
	return 0;
}
