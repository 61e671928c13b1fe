/*
 * Numbers that start.S and the C files share. Low memory: below 0x5000 nothing of the boot lies
 * but the GDT.
 */
#pragma once

#define TRAMPOLINE     0x2000 /* SIPI vector 2 */
#define HANDOVER       0x3000 /* cr3, the next stack's top, where to go */
#define VECTORS	       16
#define VECTOR_FIRST   0x30
#define VECTOR_USER    0x5f /* ring 3 is done */
#define VECTOR_SYSCALL 0x60

#define MAPPED 0x100000000 /* 2 MiB that litmus.c maps in pages of 4 KiB */
#define SHOT   MAPPED	   /* the page whose mapping every interrupt forgets */
