/*
 * Multiplication and division. The host multiplies, flags included; a division is checked before,
 * since the host's own #DE would be the host's. Undefined flags after a division stay as they were.
 */
#include "virt/vm/cpu/alu.h"
#include "virt/vm/cpu/sys.h"

/* ---- MUL and IMUL with one operand: [A:D] = A * src ---- */

static inline uint32_t wide_mul_8(struct cpu *c, uint8_t src, bool is_signed)
{
	uint16_t a = R8(0), flags;

	if (is_signed)
		__asm__("imulb %[src]\n\tmovw %%ax, %[a]" FLAGS_OUT
			: [a] "=&r"(a), "=a"(flags)
			: [src] "q"(src), "1"(a)
			: "cc");
	else
		__asm__("mulb %[src]\n\tmovw %%ax, %[a]" FLAGS_OUT
			: [a] "=&r"(a), "=a"(flags)
			: [src] "q"(src), "1"(a)
			: "cc");
	R16(0) = a;
	return flags;
}

#define WIDE_MUL(bits, sfx)                                                                       \
	static inline uint32_t wide_mul_##bits(struct cpu *c, uint##bits##_t src, bool is_signed) \
	{                                                                                         \
		uint##bits##_t a = R##bits(0), low, high;                                         \
		uint64_t flags;                                                                   \
                                                                                                  \
		if (is_signed)                                                                    \
			__asm__("imul" sfx " %[src]\n\tmov %%rax, %q[low]" FLAGS_OUT              \
				: [low] "=&r"(low), "=a"(flags), "=d"(high)                       \
				: [src] "r"(src), "1"((uint64_t)a)                                \
				: "cc");                                                          \
		else                                                                              \
			__asm__("mul" sfx " %[src]\n\tmov %%rax, %q[low]" FLAGS_OUT               \
				: [low] "=&r"(low), "=a"(flags), "=d"(high)                       \
				: [src] "r"(src), "1"((uint64_t)a)                                \
				: "cc");                                                          \
		SET##bits(0, low);                                                                \
		SET##bits(2, high);                                                               \
		return (uint32_t)flags;                                                           \
	}

WIDE_MUL(16, "w")
WIDE_MUL(32, "l")
WIDE_MUL(64, "q")

#define ONE(name, bits, is_signed)                                                   \
	OP(name##_r_##bits)                                                          \
	{                                                                            \
		c->arith = (uint16_t)wide_mul_##bits(c, R##bits(o->dst), is_signed); \
		NEXT;                                                                \
	}                                                                            \
	OP(name##_m_##bits)                                                          \
	{                                                                            \
		LOAD(bits, v, ea_of(c, o));                                          \
		c->arith = (uint16_t)wide_mul_##bits(c, v, is_signed);               \
		NEXT;                                                                \
	}

ONE(mul, 8, false)
ONE(mul, 16, false)
ONE(mul, 32, false)
ONE(mul, 64, false)
ONE(imul, 8, true)
ONE(imul, 16, true)
ONE(imul, 32, true)
ONE(imul, 64, true)

const struct form form_mul_r = {.run = FORM_ROW(mul_r, )};
const struct form form_mul_m = {.run = FORM_ROW(mul_m, )};
const struct form form_imul_r = {.run = FORM_ROW(imul_r, )};
const struct form form_imul_m = {.run = FORM_ROW(imul_m, )};

/* ---- IMUL with two and three operands ---- */

#define TIMES(bits, a, b)                                                   \
	do {                                                                \
		uint##bits##_t product = (uint##bits##_t)(a);               \
		uint32_t f;                                                 \
                                                                            \
		ALU("", "imul", "+&r"(product), "rm"((uint##bits##_t)(b))); \
		SET##bits(o->dst, product);                                 \
		c->arith = (uint16_t)f;                                     \
	} while (0)
#define TIMES_Q(bits, a, b) SET##bits(o->dst, (uint64_t)(a) * (uint64_t)(b))

#define IMUL(bits, sfx, times)                                 \
	OP(imul_rr_##bits##sfx)                                \
	{                                                      \
		times(bits, R##bits(o->dst), R##bits(o->src)); \
		NEXT;                                          \
	}                                                      \
	OP(imul_rri_##bits##sfx)                               \
	{                                                      \
		times(bits, R##bits(o->src), o->imm);          \
		NEXT;                                          \
	}                                                      \
	OP(imul_rm_##bits##sfx)                                \
	{                                                      \
		LOAD(bits, v, ea_of(c, o));                    \
		times(bits, R##bits(o->dst), v);               \
		NEXT;                                          \
	}                                                      \
	OP(imul_rmi_##bits##sfx)                               \
	{                                                      \
		LOAD(bits, v, ea_of(c, o));                    \
		times(bits, v, o->imm);                        \
		NEXT;                                          \
	}

IMUL(16, , TIMES)
IMUL(32, , TIMES)
IMUL(64, , TIMES)
IMUL(16, _q, TIMES_Q)
IMUL(32, _q, TIMES_Q)
IMUL(64, _q, TIMES_Q)

#define IMUL_FORM(name) \
	const struct form form_##name = {.run = FORM_ROW_V(name, ), .quiet = FORM_ROW_V(name, _q)};

IMUL_FORM(imul_rr)
IMUL_FORM(imul_rm)
IMUL_FORM(imul_rri)
IMUL_FORM(imul_rmi)

/* ---- DIV and IDIV: false: #DE ---- */

static inline bool div_8(struct cpu *c, uint8_t by)
{
	uint16_t n = R16(0);

	if (by == 0 || n / by > UINT8_MAX)
		return false;
	R16(0) = (uint16_t)((n % by) << 8 | n / by);
	return true;
}

static inline bool idiv_8(struct cpu *c, uint8_t by)
{
	int n = (int16_t)R16(0), d = by - ((by & 0x80) << 1);

	if (d == 0 || n / d != (int8_t)(n / d))
		return false;
	R16(0) = (uint16_t)((uint8_t)(n % d) << 8 | (uint8_t)(n / d));
	return true;
}

#define DIVIDE(bits, wide)                                                                \
	static inline bool div_##bits(struct cpu *c, uint##bits##_t by)                   \
	{                                                                                 \
		uint##wide##_t n = (uint##wide##_t)R##bits(2) << bits | R##bits(0);       \
                                                                                          \
		if (R##bits(2) >= by) /* zero, too */                                     \
			return false;                                                     \
		SET##bits(0, n / by);                                                     \
		SET##bits(2, n % by);                                                     \
		return true;                                                              \
	}                                                                                 \
	static inline bool idiv_##bits(struct cpu *c, uint##bits##_t by)                  \
	{                                                                                 \
		int##wide##_t n =                                                         \
			(int##wide##_t)((uint##wide##_t)R##bits(2) << bits | R##bits(0)); \
		int##bits##_t d = (int##bits##_t)by;                                      \
                                                                                          \
		if (d == 0 || (d == -1 && n == INT##wide##_MIN))                          \
			return false;                                                     \
		if (n / d != (int##bits##_t)(n / d))                                      \
			return false;                                                     \
		SET##bits(2, (uint##bits##_t)(n % d));                                    \
		SET##bits(0, (uint##bits##_t)(n / d));                                    \
		return true;                                                              \
	}

DIVIDE(16, 32)
DIVIDE(32, 64)

static inline bool div_64(struct cpu *c, uint64_t by)
{
	uint64_t low = R64(0), high = R64(2);

	if (high >= by)
		return false;
	__asm__("divq %[by]" : "+a"(low), "+d"(high) : [by] "r"(by) : "cc");
	R64(0) = low;
	R64(2) = high;
	return true;
}

static inline bool idiv_64(struct cpu *c, uint64_t by)
{
	__int128 n = (__int128)((unsigned __int128)R64(2) << 64 | R64(0)), q;
	int64_t low = (int64_t)R64(0), d = (int64_t)by;

	if (d == 0)
		return false;
	if (n == low && d != -1) { /* nearly always: what CQO made */
		R64(0) = (uint64_t)(low / d);
		R64(2) = (uint64_t)(low % d);
		return true;
	}
	if (d == -1 && (R64(2) == 1ull << 63))
		return false;
	q = n / d;
	if (q != (int64_t)q)
		return false;
	R64(0) = (uint64_t)q;
	R64(2) = (uint64_t)(n % d);
	return true;
}

#define DIV(name, bits)                                           \
	OP(name##_r_##bits)                                       \
	{                                                         \
		if (unlikely(!name##_##bits(c, R##bits(o->dst)))) \
			FAULT(VECTOR_DE, -1);                     \
		NEXT;                                             \
	}                                                         \
	OP(name##_m_##bits)                                       \
	{                                                         \
		LOAD(bits, v, ea_of(c, o));                       \
		if (unlikely(!name##_##bits(c, v)))               \
			FAULT(VECTOR_DE, -1);                     \
		NEXT;                                             \
	}

DIV(div, 8)
DIV(div, 16)
DIV(div, 32)
DIV(div, 64)
DIV(idiv, 8)
DIV(idiv, 16)
DIV(idiv, 32)
DIV(idiv, 64)

const struct form form_div_r = {.run = FORM_ROW(div_r, )};
const struct form form_div_m = {.run = FORM_ROW(div_m, )};
const struct form form_idiv_r = {.run = FORM_ROW(idiv_r, )};
const struct form form_idiv_m = {.run = FORM_ROW(idiv_m, )};
