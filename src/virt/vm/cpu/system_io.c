/*
 * Handlers of port accesses: IN, OUT, and their string forms, which commit each element before the
 * next, so that an interrupt or a fault finds them between two. See system_ops.h.
 */
#include "virt/vm/cpu/system_ops.h"

#include "virt/vm/cpu/sys_priv.h"
#include "virt/vm/memory/bus.h"

#define ELEMENTS_MAX 4096 /* before events are looked for */

static uint16_t port_of(const struct cpu *c, const struct op *o)
{
	return o->src != 0 ? (uint16_t)o->imm : R16(VCPU_RDX);
}

OP(sys_in)
{
	uint16_t port = port_of(c, o);
	unsigned bytes = op_bytes(o);
	uint64_t value;

	flags_pack(c);
	if (!sys_io_allowed(c, port, bytes))
		FAULTED;
	value = bus_read(c->bus, BUS_PORT, port, bytes);
	if (bytes == 1)
		R8(0) = (uint8_t)value;
	else
		system_put(c, VCPU_RAX, bytes, value);
	sys_debug_io(c, port, bytes);
	NEXT;
}

OP(sys_out)
{
	uint16_t port = port_of(c, o);
	unsigned bytes = op_bytes(o);

	flags_pack(c);
	if (!sys_io_allowed(c, port, bytes))
		FAULTED;
	bus_write(c->bus, BUS_PORT, port, bytes,
		  R64(VCPU_RAX) & (bytes == 4 ? UINT32_MAX : (1u << (bytes * 8)) - 1));
	sys_debug_io(c, port, bytes);
	NEXT;
}

/* ---- string forms: `dst` is log2 of the address size, `src` repeat, `imm` OUTS's segment ---- */

static uint64_t index_mask(const struct op *o)
{
	return o->dst == 3 ? UINT64_MAX : o->dst == 2 ? UINT32_MAX : 0xffff;
}

/* Moves an index or count register by `by`, in the address size. */
static void step(struct cpu *c, const struct op *o, unsigned reg, int64_t by)
{
	uint64_t value = R64(reg) + (uint64_t)by;

	if (o->dst == 1)
		R16(reg) = (uint16_t)value;
	else
		R64(reg) = o->dst == 2 ? (uint32_t)value : value;
}

static bool string_address(struct cpu *c, const struct op *o, unsigned name, unsigned reg,
			   bool write, uint64_t *ret)
{
	return segment_address(c, name, R64(reg) & index_mask(o), op_bytes(o), write, ret);
}

static bool in_one(struct cpu *c, const struct op *o, uint16_t port)
{
	unsigned bytes = op_bytes(o);
	uint64_t at, value;

	if (!string_address(c, o, VCPU_ES, VCPU_RDI, true, &at) || !mmu_probe_write(c, at, bytes))
		return false;
	value = bus_read(c->bus, BUS_PORT, port, bytes);
	return mmu_store(c, at, value, bytes);
}

static bool out_one(struct cpu *c, const struct op *o, uint16_t port)
{
	unsigned bytes = op_bytes(o);
	uint64_t at;

	if (!string_address(c, o, (unsigned)o->imm, VCPU_RSI, false, &at) ||
	    !mmu_load(c, at, bytes))
		return false;
	bus_write(c->bus, BUS_PORT, port, bytes, c->loaded);
	return true;
}

typedef bool one_fn(struct cpu *c, const struct op *o, uint16_t port);

/* True: done to the end; false: a fault, or *ret_again, to go on after events. */
static bool string_port(struct cpu *c, const struct op *o, one_fn *one, unsigned reg,
			bool *ret_again)
{
	uint16_t port = R16(VCPU_RDX);
	int64_t by = (c->flags & FLAG_DF) != 0 ? -(int64_t)op_bytes(o) : op_bytes(o);

	*ret_again = false;
	if (!sys_io_allowed(c, port, op_bytes(o))) /* also where nothing is left to do */
		return false;
	for (unsigned n = 0;; n++) {
		if (o->src != 0 && (R64(VCPU_RCX) & index_mask(o)) == 0)
			return true;
		if (n == ELEMENTS_MAX || (n > 0 && cpu_attention_wanted(c))) {
			*ret_again = true;
			return false;
		}
		if (!one(c, o, port))
			return false;
		step(c, o, reg, by);
		sys_debug_io(c, port, op_bytes(o));
		if (o->src == 0)
			return true;
		step(c, o, VCPU_RCX, -1);
		if (c->sys.debug != 0 || (c->flags & FLAG_TF) != 0) {
			*ret_again = true;
			return false;
		}
	}
}

static void string_run(struct cpu *c, const struct op *o, one_fn *one, unsigned reg)
{
	bool again;

	flags_pack(c);
	if (string_port(c, o, one, reg, &again))
		NEXT;
	if (!again)
		FAULTED;
	c->rip = op_rip(c, o);
	LEAVE(CPU_STOP_SYSTEM);
}

OP(sys_ins)
{
	string_run(c, o, in_one, VCPU_RDI);
}

OP(sys_outs)
{
	string_run(c, o, out_one, VCPU_RSI);
}
