/*
 * Reads ELF headers with cursors: see elf.h. System V ABI, chapters 4 and 5; the PVH note is Xen's
 * type 18.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/boot/elf.h"
#include "virt/vm/memory/map.h"

#define HEADER_BYTES  64u
#define PROGRAM_BYTES 56u
#define PROGRAMS_MAX  128u
#define LOWEST	      (1ull << 20) /* below lie boot structures and the PC's holes */
#define NOTE_PVH      18u

enum { IDENT_CLASS = 4, IDENT_DATA = 5, CLASS_64 = 2, DATA_LITTLE = 1 };
enum { MACHINE_X86_64 = 62, SEGMENT_LOAD = 1, SEGMENT_NOTE = 4 };

static const struct {
	uint16_t machine;
	const char *name;
} others[] = {
	{3, "32-bit x86"}, {40, "32-bit ARM"}, {183, "ARM64"}, {243, "RISC-V"},
	{8, "MIPS"},	   {21, "PowerPC"},    {22, "S/390"},  {258, "LoongArch"},
};

static uint16_t le16(struct cursor *c)
{
	const unsigned char *p = cursor_bytes(c, 2);

	return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

bool elf_is(const struct boot_image *i)
{
	uint8_t magic[4];

	return boot_image_read(i, 0, magic, sizeof(magic), NULL) == 0 &&
	       memcmp(magic, "\177ELF", 4) == 0;
}

static int wrong_machine(const struct boot_image *i, uint16_t machine, struct err *e)
{
	for (size_t k = 0; k < array_len(others); k++)
		if (others[k].machine == machine)
			return err_set(e, ERR_UNSUPPORTED,
				       "'%s' is a kernel for %s; one for x86-64 is needed", i->name,
				       others[k].name);
	return err_set(e, ERR_UNSUPPORTED,
		       "'%s' is a kernel for another processor (ELF machine %u); one for x86-64 is "
		       "needed",
		       i->name, machine);
}

struct programs {
	uint64_t at;
	uint16_t n;
};

static int parse_header(const struct boot_image *i, struct elf *f, struct programs *ret,
			struct err *e)
{
	uint8_t head[HEADER_BYTES];
	struct cursor c = cursor_of(head, sizeof(head));
	uint16_t machine, bytes;
	int r = boot_image_read(i, 0, head, sizeof(head), e);

	if (r < 0)
		return r;
	(void)cursor_bytes(&c, 18); /* identification, type */
	machine = head[IDENT_DATA] == DATA_LITTLE ? le16(&c) : cursor_be16(&c);
	if (machine != MACHINE_X86_64)
		return wrong_machine(i, machine, e);
	if (head[IDENT_CLASS] != CLASS_64 || head[IDENT_DATA] != DATA_LITTLE)
		return err_set(e, ERR_UNSUPPORTED, "'%s' is not a 64-bit kernel", i->name);
	(void)cursor_bytes(&c, 4); /* version */
	f->entry = cursor_le64(&c);
	ret->at = cursor_le64(&c);
	(void)cursor_bytes(&c, 14); /* sections, flags, size of this */
	bytes = le16(&c);
	ret->n = le16(&c);
	assert(!c.bad);
	if (bytes != PROGRAM_BYTES || ret->n == 0 || ret->n > PROGRAMS_MAX)
		return err_set(e, ERR_INVALID,
			       "'%s' is damaged: it has %u program headers of %u bytes", i->name,
			       ret->n, bytes);
	return 0;
}

static int add_segment(const struct boot_image *i, struct elf *f, const struct elf_segment *s,
		       struct err *e)
{
	uint64_t end;

	if (s->memory_bytes == 0)
		return 0;
	if (s->file_bytes > s->memory_bytes || s->offset > i->bytes ||
	    s->file_bytes > i->bytes - s->offset)
		return err_set(e, ERR_INVALID,
			       "'%s' is cut off or damaged: a segment of %llu bytes at %llu does "
			       "not lie in it",
			       i->name, (unsigned long long)s->file_bytes,
			       (unsigned long long)s->offset);
	if (s->address < LOWEST || __builtin_add_overflow(s->address, s->memory_bytes, &end))
		return err_set(e, ERR_INVALID,
			       "'%s' wants to be loaded at 0x%llx, which is not above 1 MiB: it "
			       "is no kernel",
			       i->name, (unsigned long long)s->address);
	if (f->segments == ELF_SEGMENTS_MAX)
		return err_set(e, ERR_INVALID, "'%s' has more than %u segments", i->name,
			       ELF_SEGMENTS_MAX);
	f->segment[f->segments++] = *s;
	f->first = s->address < f->first ? s->address : f->first;
	f->last = end > f->last ? end : f->last;
	return 0;
}

/* Notes: name and description, each padded to four bytes. */
static int read_notes(const struct boot_image *i, struct elf *f, const struct elf_segment *s,
		      struct err *e)
{
	uint64_t n = s->file_bytes < ELF_NOTES_MAX ? s->file_bytes : ELF_NOTES_MAX;
	auto_free uint8_t *notes = mem_new_bytes(1, n + 1);
	struct cursor c = cursor_of(notes, n);
	int r = boot_image_read(i, s->offset, notes, n, e);

	while (r == 0 && c.n > 0 && !c.bad) {
		uint32_t name_n = cursor_le32(&c), value_n = cursor_le32(&c);
		uint32_t type = cursor_le32(&c);
		const unsigned char *name = cursor_bytes(&c, ((uint64_t)name_n + 3) & ~3ull);
		const unsigned char *value = cursor_bytes(&c, ((uint64_t)value_n + 3) & ~3ull);
		struct cursor v = cursor_of(value, value_n);

		if (name && name_n == 6 && memcmp(name, "Linux", 6) == 0)
			f->is_linux = true;
		if (!name || !value || name_n != 4 || memcmp(name, "Xen", 4) != 0 ||
		    type != NOTE_PVH || value_n < 4)
			continue;
		f->pvh_entry = cursor_le32(&v);
		f->has_pvh = true;
	}
	return r;
}

static int parse_program(const struct boot_image *i, struct elf *f, uint64_t at, struct err *e)
{
	uint8_t program[PROGRAM_BYTES];
	struct cursor c = cursor_of(program, sizeof(program));
	struct elf_segment s;
	uint32_t type;
	int r = boot_image_read(i, at, program, sizeof(program), e);

	if (r < 0)
		return r;
	type = cursor_le32(&c);
	(void)cursor_le32(&c); /* flags */
	s.offset = cursor_le64(&c);
	(void)cursor_le64(&c); /* virtual address */
	s.address = cursor_le64(&c);
	s.file_bytes = cursor_le64(&c);
	s.memory_bytes = cursor_le64(&c);
	assert(!c.bad);
	if (type == SEGMENT_LOAD)
		return add_segment(i, f, &s, e);
	return type == SEGMENT_NOTE ? read_notes(i, f, &s, e) : 0;
}

bool elf_loads(const struct elf *f, uint64_t address)
{
	for (size_t k = 0; k < f->segments; k++)
		if (address - f->segment[k].address < f->segment[k].memory_bytes)
			return true;
	return false;
}

int elf_parse(const struct boot_image *i, struct elf *ret, struct err *e)
{
	struct elf f = {.first = UINT64_MAX};
	struct programs programs = {0};
	int r = parse_header(i, &f, &programs, e);

	for (uint16_t k = 0; r == 0 && k < programs.n; k++) {
		uint64_t at;

		if (__builtin_add_overflow(programs.at, (uint64_t)k * PROGRAM_BYTES, &at))
			at = UINT64_MAX;
		r = parse_program(i, &f, at, e);
	}
	if (r < 0)
		return r;
	if (f.segments == 0)
		return err_set(e, ERR_INVALID, "'%s' loads nothing: it is no kernel", i->name);
	*ret = f;
	return 0;
}

int elf_load(const struct boot_image *i, const struct elf *f, struct ram *ram, struct err *e)
{
	for (size_t k = 0; k < f->segments; k++) {
		const struct elf_segment *s = &f->segment[k];
		struct gpa at = {s->address}, rest = {s->address + s->file_bytes};
		uint8_t *to = ram_at(ram, at, s->memory_bytes);
		int r;

		if (!to || f->last > ram->low_bytes)
			return err_set(e, ERR_INVALID,
				       "'%s' ends at %llu MiB of memory, the machine has %llu MiB: "
				       "give it more",
				       i->name, (unsigned long long)((f->last + 0xfffff) >> 20),
				       (unsigned long long)(ram->size_bytes >> 20));
		r = boot_image_read(i, s->offset, to, s->file_bytes, e);
		ram_wrote(ram, at, s->file_bytes);
		if (r < 0)
			return r;
		if (!ram_zero(ram, rest, s->memory_bytes - s->file_bytes))
			return err_set(e, ERR_INTERNAL, "'%s' left guest memory", i->name);
	}
	return 0;
}
