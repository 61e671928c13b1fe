/*
 * The system instructions' side of the opcode maps, as vector_decode() is the vectors': called for
 * every opcode of the list below, with prefixes read and ModRM not. Fills the op and says whether
 * it ends its trace. False: not one of these (#UD).
 *
 *	one byte: 06 07 0E 16 17 1E 1F, 62 (BOUND), 63 outside 64-bit mode (ARPL), 6C to 6F
 *	(INS, OUTS), 8C 8E, 9A, 9C 9D, C4 C5 outside 64-bit mode, CA CB, CC to CF, E4 to E7, EA,
 *	EC to EF, F1, F4, FA FB, FF /3 and /5
 *	0F: 00 to 03, 05 to 09, 20 to 23, 30 to 35, A0 to A2, A8 A9, B2 B4 B5, and F3 0F AE /0 to
 *	/3 with a register (the bases of FS and GS)
 */
#pragma once

#include "virt/vm/cpu/decode.h"

bool system_decode(struct decoder *d, struct op *o, bool *ret_ends) must_use;
