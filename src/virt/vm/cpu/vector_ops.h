/*
 * The handlers that vector_rows.c names one by one, and the numbers that its ops carry as `id`.
 */
#pragma once

#include "virt/vm/cpu/op.h"

#define VECTOR_ID_ROWS 0x4000u /* + 2 * row + memory */
#define VECTOR_ID_X87  0x6000u /* + (opcode & 7) << 8 | ModRM; the last is FWAIT */
#define VECTOR_ID_EMMS 0x6800u

#define VECTOR_IMM_WIDE 0x100u /* in `imm`, beside an immediate: REX.W */

op_fn op_mmx_cvtpd2pi_mem, op_mmx_cvtpd2pi_reg, op_mmx_cvtpi2pd_mem, op_mmx_cvtpi2pd_reg,
	op_mmx_cvtpi2ps_mem, op_mmx_cvtpi2ps_reg, op_mmx_cvtps2pi_mem, op_mmx_cvtps2pi_reg,
	op_mmx_cvttpd2pi_mem, op_mmx_cvttpd2pi_reg, op_mmx_cvttps2pi_mem, op_mmx_cvttps2pi_reg,
	op_mmx_maskmovq, op_mmx_mov4_load, op_mmx_mov4_store, op_mmx_mov8_load, op_mmx_mov8_store,
	op_mmx_mov_reg, op_mmx_movd_from_gpr, op_mmx_movd_to_gpr, op_mmx_movdq2q, op_mmx_movq2dq,
	op_mmx_movq_from_gpr, op_mmx_movq_to_gpr, op_mmx_palignr_mem, op_mmx_palignr_reg,
	op_mmx_pextrw, op_mmx_pinsrw_mem, op_mmx_pinsrw_reg, op_mmx_pmovmskb, op_mmx_pshufw_mem,
	op_mmx_pshufw_reg, op_mmx_pslld_imm, op_mmx_psllq_imm, op_mmx_psllw_imm, op_mmx_psrad_imm,
	op_mmx_psraw_imm, op_mmx_psrld_imm, op_mmx_psrlq_imm, op_mmx_psrlw_imm, op_sse_aesdec_mem,
	op_sse_aesdec_reg, op_sse_aesdeclast_mem, op_sse_aesdeclast_reg, op_sse_aesenc_mem,
	op_sse_aesenc_reg, op_sse_aesenclast_mem, op_sse_aesenclast_reg, op_sse_aesimc_mem,
	op_sse_aesimc_reg, op_sse_aeskeygenassist_mem, op_sse_aeskeygenassist_reg,
	op_sse_blendvpd_mem, op_sse_blendvpd_reg, op_sse_blendvps_mem, op_sse_blendvps_reg,
	op_sse_clflush, op_sse_comisd_mem, op_sse_comisd_reg, op_sse_comiss_mem, op_sse_comiss_reg,
	op_sse_cvtsd2si_32_mem, op_sse_cvtsd2si_32_reg, op_sse_cvtsd2si_64_mem,
	op_sse_cvtsd2si_64_reg, op_sse_cvtsi2sd_32_mem, op_sse_cvtsi2sd_32_reg,
	op_sse_cvtsi2sd_64_mem, op_sse_cvtsi2sd_64_reg, op_sse_cvtsi2ss_32_mem,
	op_sse_cvtsi2ss_32_reg, op_sse_cvtsi2ss_64_mem, op_sse_cvtsi2ss_64_reg,
	op_sse_cvtss2si_32_mem, op_sse_cvtss2si_32_reg, op_sse_cvtss2si_64_mem,
	op_sse_cvtss2si_64_reg, op_sse_cvttsd2si_32_mem, op_sse_cvttsd2si_32_reg,
	op_sse_cvttsd2si_64_mem, op_sse_cvttsd2si_64_reg, op_sse_cvttss2si_32_mem,
	op_sse_cvttss2si_32_reg, op_sse_cvttss2si_64_mem, op_sse_cvttss2si_64_reg, op_sse_fence,
	op_sse_fxrstor, op_sse_fxrstor64, op_sse_fxsave, op_sse_fxsave64, op_sse_insertps_mem,
	op_sse_insertps_reg, op_sse_ldmxcsr, op_sse_maskmovdqu, op_sse_mov4_load, op_sse_mov4_store,
	op_sse_mov8_load, op_sse_mov8_store, op_sse_mov_reg, op_sse_mova_load, op_sse_mova_store,
	op_sse_movd_from_gpr, op_sse_movd_to_gpr, op_sse_movh_load, op_sse_movh_store,
	op_sse_movhlps, op_sse_movl_load, op_sse_movlhps, op_sse_movmskpd, op_sse_movmskps,
	op_sse_movnti32, op_sse_movnti64, op_sse_movq_from_gpr, op_sse_movq_reg, op_sse_movq_to_gpr,
	op_sse_movsd_reg, op_sse_movss_reg, op_sse_movu_load, op_sse_movu_store,
	op_sse_pblendvb_mem, op_sse_pblendvb_reg, op_sse_pclmulqdq_mem, op_sse_pclmulqdq_reg,
	op_sse_pcmpestri_mem, op_sse_pcmpestri_reg, op_sse_pcmpestrm_mem, op_sse_pcmpestrm_reg,
	op_sse_pcmpistri_mem, op_sse_pcmpistri_reg, op_sse_pcmpistrm_mem, op_sse_pcmpistrm_reg,
	op_sse_pextrb_mem, op_sse_pextrb_reg, op_sse_pextrd_mem, op_sse_pextrd_reg,
	op_sse_pextrq_mem, op_sse_pextrq_reg, op_sse_pextrw_mem, op_sse_pextrw_reg,
	op_sse_pinsrb_mem, op_sse_pinsrb_reg, op_sse_pinsrd_mem, op_sse_pinsrd_reg,
	op_sse_pinsrq_mem, op_sse_pinsrq_reg, op_sse_pinsrw_mem, op_sse_pinsrw_reg, op_sse_pmovmskb,
	op_sse_pslld_imm, op_sse_pslldq_imm, op_sse_psllq_imm, op_sse_psllw_imm, op_sse_psrad_imm,
	op_sse_psraw_imm, op_sse_psrld_imm, op_sse_psrldq_imm, op_sse_psrlq_imm, op_sse_psrlw_imm,
	op_sse_ptest_mem, op_sse_ptest_reg, op_sse_sha1msg1_mem, op_sse_sha1msg1_reg,
	op_sse_sha1msg2_mem, op_sse_sha1msg2_reg, op_sse_sha1nexte_mem, op_sse_sha1nexte_reg,
	op_sse_sha1rnds4_mem, op_sse_sha1rnds4_reg, op_sse_sha256msg1_mem, op_sse_sha256msg1_reg,
	op_sse_sha256msg2_mem, op_sse_sha256msg2_reg, op_sse_sha256rnds2_mem,
	op_sse_sha256rnds2_reg, op_sse_stmxcsr, op_sse_ucomisd_mem, op_sse_ucomisd_reg,
	op_sse_ucomiss_mem, op_sse_ucomiss_reg, op_mmx_emms, op_mmx_off, op_sse_off, op_x87_off,
	op_x87_fwait;
