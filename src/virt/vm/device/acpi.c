/*
 * Writes the tables of acpi.h. Each is built in a small buffer by appending fields in the order of
 * the specification (ACPI 6.4, chapter 5), then given its length and checksum. The DSDT is
 * compiled from dsdt.asl when Hull is built.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/str.h"
#include "virt/vm/device/acpi.h"
#include "virt/vm/device/pm.h"
#include "virt/vm/memory/map.h"

#define HEADER_BYTES  36
#define FACS_BYTES    64
#define RSDP_BYTES    36
#define CHECKSUM_AT   9
#define LENGTH_AT     4
#define TABLE_ALIGN   64u
#define RESET_VALUE   6 /* to port 0xcf9: hard reset */
#define FLUSH_BYTES   64
#define IAPC_NO_VGA   (1u << 2)
#define IAPC_NO_ASPM  (1u << 4)
#define C2_NONE	      101  /* P_LVL2_LAT above 100: no C2 */
#define C3_NONE	      1001 /* P_LVL3_LAT above 1000: no C3 */
#define POLARITY_HIGH 1u
#define TRIGGER_LEVEL (3u << 2)

/* FADT flags: WBINVD and C1 work, no sleep button, no wake by the clock, reset register there. */
#define FADT_FLAGS (1u << 0 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 10)

extern const unsigned char dsdt_aml[];
extern const unsigned int dsdt_aml_bytes;

struct tables {
	struct ram *ram;
	uint64_t at; /* where the next table goes */
	uint64_t fadt, madt, mcfg, dsdt, facs;
};

static void add(struct strbuf *b, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		strbuf_add_char(b, (char)(i < 8 ? value >> (8 * i) : 0));
}

static uint8_t sum(const void *p, size_t n)
{
	const uint8_t *b = p;
	unsigned total = 0;

	for (size_t i = 0; i < n; i++)
		total += b[i];
	return (uint8_t)-total;
}

static void header(struct strbuf *b, const char *signature, uint8_t revision)
{
	strbuf_add(b, signature, 4);
	add(b, 0, 4); /* length */
	add(b, revision, 1);
	add(b, 0, 1); /* checksum */
	strbuf_add(b, "HULL  ", 6);
	strbuf_add(b, "HULLVM  ", 8);
	add(b, 1, 4);
	strbuf_add(b, "HULL", 4);
	add(b, 1, 4);
	assert(b->n == HEADER_BYTES);
}

/* Copies the table into the guest; returns its address, 0 when there is no RAM for it. */
static uint64_t place(struct tables *t, const void *p, size_t n)
{
	uint64_t at = t->at;

	if (at + n > MAP_ACPI_BASE + MAP_ACPI_BYTES || !ram_write(t->ram, (struct gpa){at}, p, n))
		return 0;
	t->at = (at + n + TABLE_ALIGN - 1) & ~(uint64_t)(TABLE_ALIGN - 1);
	return at;
}

static uint64_t finish(struct tables *t, struct strbuf *b)
{
	for (unsigned i = 0; i < 4; i++)
		b->p[LENGTH_AT + i] = (char)(b->n >> (8 * i));
	b->p[CHECKSUM_AT] = 0;
	b->p[CHECKSUM_AT] = (char)sum(b->p, b->n);
	return place(t, b->p, b->n);
}

/* 5.2.3.2: a register in port space. */
static void port(struct strbuf *b, uint16_t address, uint8_t bits)
{
	add(b, 1, 1);
	add(b, bits, 1);
	add(b, 0, 2);
	add(b, address, 8);
}

/* 5.2.9, in order. What is left out in between is zero. */
static uint64_t fadt(struct tables *t)
{
	auto_strbuf struct strbuf b = {0};

	header(&b, "FACP", 6);
	add(&b, t->facs, 4);
	add(&b, t->dsdt, 4);
	add(&b, 0, 2); /* reserved, profile: unspecified */
	add(&b, MAP_IRQ_SCI, 2);
	add(&b, 0, 8);		      /* no SMI: ACPI is on from the start */
	add(&b, MAP_PORT_PM1, 4);     /* PM1a event */
	add(&b, 0, 4);		      /* PM1b event */
	add(&b, MAP_PORT_PM1 + 4, 4); /* PM1a control */
	add(&b, 0, 8);		      /* PM1b and PM2 control */
	add(&b, MAP_PORT_PM1 + 8, 4); /* PM timer */
	add(&b, 0, 8);		      /* GPE0, GPE1 */
	add(&b, 4, 1);		      /* PM1 event length */
	add(&b, 2, 1);		      /* PM1 control length */
	add(&b, 0, 1);		      /* PM2 control length */
	add(&b, 4, 1);		      /* PM timer length */
	add(&b, 0, 4);		      /* GPE lengths and base, C-state control */
	add(&b, C2_NONE, 2);
	add(&b, C3_NONE, 2);
	add(&b, 0, 6); /* flush size and stride, duty offset and width */
	add(&b, 0, 2); /* day and month alarm */
	add(&b, 0x32, 1);
	add(&b, IAPC_NO_VGA | IAPC_NO_ASPM, 2);
	add(&b, 0, 1);
	add(&b, FADT_FLAGS, 4);
	port(&b, MAP_PORT_RESET, 8);
	add(&b, RESET_VALUE, 1);
	add(&b, 0, 2); /* ARM flags */
	add(&b, 4, 1); /* minor version: 6.4 */
	assert(b.n == 132);
	add(&b, 0, 8); /* X_FIRMWARE_CTRL: the 32-bit one is used */
	add(&b, t->dsdt, 8);
	port(&b, MAP_PORT_PM1, 32);
	add(&b, 0, 12);
	port(&b, MAP_PORT_PM1 + 4, 16);
	add(&b, 0, 24); /* PM1b and PM2 control */
	port(&b, MAP_PORT_PM1 + 8, 32);
	add(&b, 0, 48); /* GPE0, GPE1, sleep control and status */
	strbuf_add(&b, "HULL\0\0\0\0", 8);
	assert(b.n == 276);
	return finish(t, &b);
}

/* 5.2.12. The kernel's SCI is a level interrupt, which an ISA interrupt is not by default. */
static uint64_t madt(struct tables *t, unsigned cpus)
{
	auto_strbuf struct strbuf b = {0};

	header(&b, "APIC", 5);
	add(&b, MAP_APIC_BASE, 4);
	add(&b, 0, 4); /* flags: no 8259 */
	for (unsigned i = 0; i < cpus; i++) {
		add(&b, 0, 1);
		add(&b, 8, 1);
		add(&b, i, 1); /* processor */
		add(&b, i, 1); /* APIC id */
		add(&b, 1, 4); /* enabled */
	}
	add(&b, 1, 1); /* I/O APIC */
	add(&b, 12, 1);
	add(&b, 0, 2);
	add(&b, MAP_IOAPIC_BASE, 4);
	add(&b, 0, 4);
	add(&b, 2, 1); /* interrupt source override */
	add(&b, 10, 1);
	add(&b, 0, 1);
	add(&b, MAP_IRQ_SCI, 1);
	add(&b, MAP_IRQ_SCI, 4);
	add(&b, POLARITY_HIGH | TRIGGER_LEVEL, 2);
	add(&b, 4, 1); /* NMI at LINT1 of all processors */
	add(&b, 6, 1);
	add(&b, 0xff, 1);
	add(&b, 0, 2);
	add(&b, 1, 1);
	return finish(t, &b);
}

/* PCI firmware specification 3.2, 4.1.2. */
static uint64_t mcfg(struct tables *t)
{
	auto_strbuf struct strbuf b = {0};

	header(&b, "MCFG", 1);
	add(&b, 0, 8);
	add(&b, MAP_ECAM_BASE, 8);
	add(&b, 0, 2); /* segment */
	add(&b, 0, 1); /* first bus */
	add(&b, (MAP_ECAM_BYTES >> 20) - 1, 1);
	add(&b, 0, 4);
	return finish(t, &b);
}

static uint64_t facs(struct tables *t)
{
	uint8_t b[FACS_BYTES] = {'F', 'A', 'C', 'S', FACS_BYTES};

	b[32] = 2; /* version */
	return place(t, b, sizeof(b));
}

static uint64_t xsdt(struct tables *t)
{
	auto_strbuf struct strbuf b = {0};

	header(&b, "XSDT", 1);
	add(&b, t->fadt, 8);
	add(&b, t->madt, 8);
	add(&b, t->mcfg, 8);
	return finish(t, &b);
}

static bool rsdp(struct ram *ram, uint64_t xsdt_at)
{
	auto_strbuf struct strbuf b = {0};

	strbuf_add(&b, "RSD PTR ", 8);
	add(&b, 0, 1);
	strbuf_add(&b, "HULL  ", 6);
	add(&b, 2, 1);
	add(&b, 0, 4); /* no RSDT */
	add(&b, RSDP_BYTES, 4);
	add(&b, xsdt_at, 8);
	add(&b, 0, 4); /* extended checksum, reserved */
	assert(b.n == RSDP_BYTES);
	b.p[8] = (char)sum(b.p, 20);
	b.p[32] = (char)sum(b.p, RSDP_BYTES);
	return ram_write(ram, (struct gpa){MAP_ACPI_BASE}, b.p, b.n);
}

int acpi_write(struct ram *ram, unsigned cpus, struct err *e)
{
	struct tables t = {.ram = ram, .at = MAP_ACPI_BASE + TABLE_ALIGN};
	uint64_t xsdt_at;

	assert(cpus > 0 && cpus < 255);
	t.facs = facs(&t);
	t.dsdt = place(&t, dsdt_aml, dsdt_aml_bytes);
	t.fadt = fadt(&t);
	t.madt = madt(&t, cpus);
	t.mcfg = mcfg(&t);
	xsdt_at = xsdt(&t);
	if (!t.facs || !t.dsdt || !t.fadt || !t.madt || !t.mcfg || !xsdt_at || !rsdp(ram, xsdt_at))
		return err_set(e, ERR_INVALID,
			       "the machine's memory has no room for its ACPI tables: give it at "
			       "least 1 MiB");
	return 0;
}
