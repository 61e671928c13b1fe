/*
 * Forms: the handlers of one operation with one kind of operands, by width. The families (int_*.c)
 * define them by macro, the opcode tables (opcodes.c) name them.
 *
 * A handler has up to four shapes: keeping the arithmetic flags or leaving them alone where they
 * are dead ("quiet"), and with any memory operand or one of base and displacement only ("plain"),
 * which is most of them.
 */
#pragma once

#include "virt/vm/cpu/op.h"

struct form {
	op_fn *run[4]; /* by log2 of the operand's bytes */
	op_fn *quiet[4];
	op_fn *plain[4];
	op_fn *plain_quiet[4];
};

#define FORM_ROW(name, tail)                                                     \
	{                                                                        \
		op_##name##_8##tail, op_##name##_16##tail, op_##name##_32##tail, \
			op_##name##_64##tail                                     \
	}
#define FORM_ROW_V(name, tail)                                                         \
	{                                                                              \
		NULL, op_##name##_16##tail, op_##name##_32##tail, op_##name##_64##tail \
	}

/* ---- the arithmetic flags out of the host's, in AX as c->arith has them ---- */

#define FLAGS_OUT "\n\tlahf\n\tseto %%al"
#define CARRY_IN  "btw $8, %[arith]\n\t"

/* ---- conditions: X(number, name), names as the host's assembler has them ---- */

#define CONDITIONS(X) \
	X(0, o)       \
	X(1, no)      \
	X(2, b)       \
	X(3, ae)      \
	X(4, e)       \
	X(5, ne)      \
	X(6, be)      \
	X(7, a)       \
	X(8, s)       \
	X(9, ns)      \
	X(10, p)      \
	X(11, np)     \
	X(12, l)      \
	X(13, ge)     \
	X(14, le)     \
	X(15, g)

#define CC_o(a)	 (((a)&1u) != 0)
#define CC_b(a)	 (((a)&0x100u) != 0)
#define CC_e(a)	 (((a)&0x4000u) != 0)
#define CC_be(a) (((a)&0x4100u) != 0)
#define CC_s(a)	 (((a)&0x8000u) != 0)
#define CC_p(a)	 (((a)&0x400u) != 0)
#define CC_l(a)	 ((((a) >> 15 ^ (a)) & 1u) != 0)
#define CC_le(a) (CC_e(a) || CC_l(a))
#define CC_no(a) (!CC_o(a))
#define CC_ae(a) (!CC_b(a))
#define CC_ne(a) (!CC_e(a))
#define CC_a(a)	 (!CC_be(a))
#define CC_ns(a) (!CC_s(a))
#define CC_np(a) (!CC_p(a))
#define CC_ge(a) (!CC_l(a))
#define CC_g(a)	 (!CC_le(a))

/* Flags that a condition reads, by number. */
extern const uint8_t condition_reads[16];

/* ---- what the tables name ---- */

/* clang-format off */
#define FORMS(X) \
	/* int_alu.c */ \
	X(add_rr) \
	X(or_rr) X(adc_rr) X(sbb_rr) X(and_rr) X(sub_rr) X(xor_rr) X(cmp_rr) X(add_ri) X(or_ri) X( \
		adc_ri) X(sbb_ri) X(and_ri) X(sub_ri) X(xor_ri) X(cmp_ri) X(add_rm) X(or_rm) \
		X(adc_rm) X(sbb_rm) X(and_rm) X(sub_rm) X(xor_rm) X(cmp_rm) X(add_mr) X(or_mr) \
			X(adc_mr) X(sbb_mr) X(and_mr) X(sub_mr) X(xor_mr) X(cmp_mr) X(add_mi) \
				X(or_mi) X(adc_mi) X(sbb_mi) X(and_mi) X(sub_mi) X(xor_mi) \
					X(cmp_mi) X(test_rr) X(test_ri) X(test_mr) X(test_mi) \
						X(inc_r) X(dec_r) X(neg_r) X(not_r) X(inc_m) \
							X(dec_m) X(neg_m) \
								X(not_m) /* int_atomic.c: LOCK */ \
		X(lock_add_mr) X(lock_or_mr) X(lock_adc_mr) X(lock_sbb_mr) X(lock_and_mr) X( \
			lock_sub_mr) X(lock_xor_mr) X(lock_add_mi) X(lock_or_mi) X(lock_adc_mi) \
			X(lock_sbb_mi) X(lock_and_mi) X(lock_sub_mi) X(lock_xor_mi) X(lock_inc_m) \
				X(lock_dec_m) X(lock_neg_m) X(lock_not_m) X(xchg_rr) X(xchg_m) \
					X(xadd_rr) X(xadd_m) X(lock_xadd_m) X(cmpxchg_rr) \
						X(cmpxchg_m) X(lock_cmpxchg_m) X(cmpxchg8b) \
							X(lock_cmpxchg8b) /* int_move.c */ \
		X(mov_rr) X(mov_ri) X(mov_rm) X(mov_mr) X(mov_mi) X(lea) X(nop) X(movzx8_rr) \
			X(movzx8_rm) X(movzx16_rr) X(movzx16_rm) X(movsx8_rr) X(movsx8_rm) \
				X(movsx16_rr) X(movsx16_rm) X(movsx32_rr) X(movsx32_rm) X(bswap) \
					X(widen_acc) X(widen_dx) X(lahf) X(sahf) X(cmc) X(clc) \
						X(stc) X(cld) X(std) X(xlat) X(pause) \
							X(mov_abs_load) \
								X(mov_abs_store) /* int_stack.c */ \
		X(push_r) X(push_i) X(push_m) X(pop_r) X(pop_m) X(leave) X(enter) X(pusha) X(popa) \
			X(push_seg) /* int_branch.c */ \
		X(jmp) X(jmp_r) X(jmp_m) X(call) X(call_r) X(call_m) X(ret) X(ret_i) X(loop) \
			X(loope) X(loopne) X(jcxz) /* int_shift.c */ \
		X(rol_ri) X(ror_ri) X(rcl_ri) X(rcr_ri) X(shl_ri) X(shr_ri) X(sar_ri) X(rol_mi) X( \
			ror_mi) X(rcl_mi) X(rcr_mi) X(shl_mi) X(shr_mi) X(sar_mi) X(rol_rc) \
			X(ror_rc) X(rcl_rc) X(rcr_rc) X(shl_rc) X(shr_rc) X(sar_rc) X(rol_mc) \
				X(ror_mc) X(rcl_mc) X(rcr_mc) X(shl_mc) X(shr_mc) X(sar_mc) \
					X(shld_ri) X(shrd_ri) X(shld_mi) X(shrd_mi) X(shld_rc) \
						X(shrd_rc) X(shld_mc) X(shrd_mc) /* int_bits.c */ \
		X(bt_rr) X(bts_rr) X(btr_rr) X(btc_rr) X(bt_ri) X(bts_ri) X(btr_ri) X(btc_ri) \
			X(bt_mr) X(bts_mr) X(btr_mr) X(btc_mr) X(bt_mi) X(bts_mi) X(btr_mi) \
				X(btc_mi) X(lock_bts_mr) X(lock_btr_mr) X(lock_btc_mr) \
					X(lock_bts_mi) X(lock_btr_mi) X(lock_btc_mi) X(bsf_rr) \
						X(bsr_rr) X(bsf_rm) X(bsr_rm) X(popcnt_rr) \
							X(popcnt_rm) X(crc32_rr) \
								X(crc32_rm) /* int_muldiv.c */ \
		X(mul_r) X(mul_m) X(imul_r) X(imul_m) X(div_r) X(div_m) X(idiv_r) X(idiv_m) \
			X(imul_rr) X(imul_rm) X(imul_rri) X(imul_rmi) /* int_bcd.c */ \
		X(daa) X(das) X(aaa) X(aas) X(aam) X(aad) X(salc)     /* int_string.c */ \
		X(movs) X(cmps) X(stos) X(lods) X(scas)		      /* int_io.c */ \
		X(in_i) X(in_d) X(out_i) X(out_d) X(ins) X(outs)      /* sys_ops.c */ \
		X(ud) X(int) X(int3) X(into) X(int1) X(hlt) X(cli) X(sti) X(pushf) X(popf) X( \
			iret) X(far_jmp_i) X(far_call_i) X(far_jmp_m) X(far_call_m) X(far_ret) \
			X(far_ret_i) X(mov_seg_r) X(mov_seg_m) X(mov_r_seg) X(mov_m_seg) X( \
				pop_seg) X(load_far) X(syscall) X(sysret) X(sysenter) X(sysexit) \
				X(swapgs) X(cpuid) X(rdtsc) X(rdtscp) X(rdmsr) X(wrmsr) X( \
					rdpmc) X(clts) X(wbinvd) X(invd) \
					X(invlpg) X(mov_r_cr) X(mov_cr_r) X(mov_r_dr) X( \
						mov_dr_r) X(sgdt) X(sidt) X(lgdt) X(lidt) X(smsw_r) \
						X(smsw_m) X(lmsw_r) X(lmsw_m) X( \
							sldt_r) X(sldt_m) X(str_r) X(str_m) \
							X(lldt_r) X(lldt_m) X(ltr_r) X(ltr_m) X( \
								verr_r) X(verr_m) X(verw_r) X(verw_m) \
								X(lar_r) X(lar_m) X(lsl_r) X( \
									lsl_m) X(arpl_r) X(arpl_m) \
									X(rdbase) X(wrbase) X( \
										hypercall) X(bound) \
										X(xgetbv) X( \
											xsetbv) \
											X(clflush)
/* clang-format on */

#define FORM_DECLARE(name) extern const struct form form_##name;
/* clang-format off */
FORMS(FORM_DECLARE)
/* clang-format on */

/* By condition. */
extern const struct form form_jcc[16], form_setcc_r[16], form_setcc_m[16], form_cmov_rr[16],
	form_cmov_rm[16];
