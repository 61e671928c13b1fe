/*
 * From a kernel file to a machine that can start: which file it is, where things go, and which
 * protocol. The protocols themselves are pvh.c and linux64.c.
 */
#include <assert.h>
#include <string.h>

#include "virt/vm/boot/boot_priv.h"
#include "virt/vm/memory/map.h"

#define INITRD_LAST 0x7fffffffull /* the kernel's own limit, unless its header says less */

size_t boot_memory_map(const struct ram *ram, struct boot_range ret[BOOT_RANGES_MAX])
{
	size_t n = 0;

	assert(ram->low_bytes >= RAM_SIZE_BYTES_MIN);
	ret[n++] = (struct boot_range){0, MAP_EBDA, BOOT_RANGE_RAM};
	ret[n++] = (struct boot_range){MAP_EBDA, 0xa0000 - MAP_EBDA, BOOT_RANGE_RESERVED};
	ret[n++] = (struct boot_range){MAP_ACPI_BASE, MAP_ACPI_BYTES, BOOT_RANGE_RESERVED};
	if (ram->low_bytes > RAM_SIZE_BYTES_MIN)
		ret[n++] = (struct boot_range){RAM_SIZE_BYTES_MIN,
					       ram->low_bytes - RAM_SIZE_BYTES_MIN, BOOT_RANGE_RAM};
	ret[n++] = (struct boot_range){MAP_ECAM_BASE, MAP_ECAM_BYTES, BOOT_RANGE_RESERVED};
	if (ram->size_bytes > ram->low_bytes)
		ret[n++] = (struct boot_range){RAM_HIGH_BASE, ram->size_bytes - ram->low_bytes,
					       BOOT_RANGE_RAM};
	assert(n <= BOOT_RANGES_MAX);
	return n;
}

int boot_segments(const struct boot_plan *p, uint16_t code_access, struct vcpu_state *s,
		  struct err *e)
{
	const struct vcpu_segment code = {
		.limit = UINT32_MAX, .selector = BOOT_CODE_SELECTOR, .access = code_access};
	const struct vcpu_segment data = {
		.limit = UINT32_MAX, .selector = BOOT_DATA_SELECTOR, .access = 0xc093};
	/* Descriptors as the processor would have loaded them, SDM volume 3, 3.4.5. */
	const uint64_t gdt[] = {
		0,
		0,
		0x000f00000000ffffull | (uint64_t)code_access << 40,
		0x000f00000000ffffull | 0xc093ull << 40,
	};

	for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
		s->segment[i] = i == VCPU_CS ? code : data;
	s->segment[VCPU_TR] = (struct vcpu_segment){.limit = 0x67, .access = 0x8b};
	s->segment[VCPU_LDTR] = (struct vcpu_segment){.access = 0x82, .unusable = true};
	s->gdt_base = MAP_BOOT_GDT;
	s->gdt_limit = sizeof(gdt) - 1;
	s->idt_base = 0;
	s->idt_limit = 0;
	s->rflags = 2;
	if (!ram_write(p->c->ram, (struct gpa){MAP_BOOT_GDT}, gdt, sizeof(gdt)))
		return err_set(e, ERR_INTERNAL, "no memory where the kernel's segments belong");
	return 0;
}

static int put_command_line(struct boot_plan *p, uint32_t max, struct err *e)
{
	const char *text = p->c->command_line ? p->c->command_line : "";
	size_t n = strlen(text);

	if (max == 0 || max > MAP_COMMAND_BYTES - 1)
		max = MAP_COMMAND_BYTES - 1;
	if (n > max)
		return err_set(e, ERR_INVALID,
			       "the kernel's command line has %zu bytes, it may have %u", n, max);
	if (!ram_write(p->c->ram, (struct gpa){MAP_COMMAND_LINE}, text, n + 1))
		return err_set(e, ERR_INTERNAL, "no memory where the command line belongs");
	p->command_bytes = n;
	return 0;
}

/* As high as it may lie, so that it is out of the growing kernel's way. */
static int put_initrd(struct boot_plan *p, uint64_t last, struct err *e)
{
	struct ram *ram = p->c->ram;
	uint64_t top = ram->low_bytes < last + 1 ? ram->low_bytes : last + 1;
	struct boot_image i;
	uint8_t *to;
	int r;

	if (p->c->initrd < 0)
		return 0;
	r = boot_image_of_file(p->c->initrd, p->c->initrd_name, IMAGE_INITRD_BYTES_MAX, &i, e);
	if (r < 0)
		return r;
	if (i.bytes > top || ((top - i.bytes) & ~(uint64_t)(RAM_PAGE_BYTES - 1)) < p->elf->last)
		return err_set(e, ERR_INVALID,
			       "initrd '%s' of %llu MiB does not fit behind the kernel into the "
			       "machine's %llu MiB: give it more memory",
			       i.name, (unsigned long long)((i.bytes + 0xfffff) >> 20),
			       (unsigned long long)(ram->size_bytes >> 20));
	p->initrd_at = (top - i.bytes) & ~(uint64_t)(RAM_PAGE_BYTES - 1);
	p->initrd_bytes = i.bytes;
	to = ram_at(ram, (struct gpa){p->initrd_at}, i.bytes);
	assert(to);
	r = boot_image_read(&i, 0, to, i.bytes, e);
	ram_wrote(ram, (struct gpa){p->initrd_at}, i.bytes);
	return r;
}

static int choose(const struct boot_config *c, const struct elf *f, enum boot_protocol *ret,
		  struct err *e)
{
	uint64_t entry;

	*ret = c->protocol;
	if (c->protocol == BOOT_AUTO)
		*ret = f->has_pvh ? BOOT_PVH : BOOT_LINUX64;
	if (*ret == BOOT_PVH && !f->has_pvh)
		return err_set(e, ERR_UNSUPPORTED,
			       "'%s' has no PVH entry: boot it by Linux's 64-bit protocol",
			       c->kernel_name);
	entry = *ret == BOOT_PVH ? f->pvh_entry : f->entry;
	if (!elf_loads(f, entry))
		return err_set(e, ERR_INVALID,
			       "'%s' starts at 0x%llx, where it loads nothing: it is no kernel",
			       c->kernel_name, (unsigned long long)entry);
	return 0;
}

static int load(const struct boot_config *c, const struct boot_image *kernel,
		const struct bzimage *z, struct vcpu_state *s, struct boot_report *ret,
		struct err *e)
{
	struct elf f;
	struct boot_plan p = {.c = c, .elf = &f};
	enum boot_protocol protocol = c->protocol;
	int r = elf_parse(kernel, &f, e);

	if (r == 0)
		r = choose(c, &f, &protocol, e);
	if (r == 0)
		r = elf_load(kernel, &f, c->ram, e);
	if (r == 0)
		r = put_command_line(&p, z ? z->command_line_max : 0, e);
	if (r == 0)
		r = put_initrd(&p, z && z->initrd_last ? z->initrd_last : INITRD_LAST, e);
	if (r < 0)
		return r;
	p.setup_header = z ? z->header : NULL;
	r = protocol == BOOT_PVH ? boot_pvh(&p, s, e) : boot_linux64(&p, s, e);
	*ret = (struct boot_report){.protocol = protocol,
				    .entry = s->rip,
				    .kernel_first = f.first,
				    .kernel_last = f.last,
				    .initrd_at = p.initrd_at,
				    .initrd_bytes = p.initrd_bytes};
	return r;
}

int boot_load(const struct boot_config *c, struct vcpu_state *s, struct boot_report *ret,
	      struct err *e)
{
	struct bzimage z = {0};
	struct boot_image file, inside;
	int r = boot_image_of_file(c->kernel, c->kernel_name, IMAGE_KERNEL_BYTES_MAX, &file, e);

	if (r < 0)
		return r;
	if (elf_is(&file))
		return load(c, &file, NULL, s, ret, e);
	if (!bzimage_is(&file))
		return err_set(e, ERR_INVALID,
			       "'%s' is no kernel: it is neither an ELF vmlinux nor a bzImage",
			       c->kernel_name);
	r = bzimage_unpack(&file, &z, e);
	if (r < 0)
		return r;
	inside = boot_image_of_memory(z.kernel, z.kernel_bytes, c->kernel_name);
	if (!elf_is(&inside))
		r = err_set(e, ERR_INVALID, "what '%s' holds is no ELF kernel: it is damaged",
			    c->kernel_name);
	else
		r = load(c, &inside, &z, s, ret, e);
	bzimage_done(&z);
	return r;
}
