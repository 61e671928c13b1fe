/*
 * The ways in: of the first processor by Linux's 64-bit boot protocol (long mode, the first 4 GiB
 * mapped to themselves, RSI the zero page), and of the others by SIPI in real mode. And the stubs
 * of the vectors 0x30 to 0x3f, which count.
 */
#include "layout.h"

	.section .start, "ax"
	.code64
	.globl _start
_start:
	cli
	lea stack_end(%rip), %rsp
	mov %rsi, %rdi
	call guest_main
1:	hlt
	jmp 1b

	/* Copied to TRAMPOLINE; the segments are those of the first processor. */
	.globl start_other, start_other_end
	.code16
start_other:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl TRAMPOLINE + (gdt_pointer - start_other)
	mov $0x620, %eax /* SSE, PAE */
	mov %eax, %cr4
	movl HANDOVER, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	mov $0x100, %eax
	xor %edx, %edx
	wrmsr
	mov $0x80000011, %eax
	mov %eax, %cr0
	ljmpl $0x10, $TRAMPOLINE + (2f - start_other)
	.code64
2:	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $0x1000, %esp
	lock xadd %rsp, HANDOVER + 8
	lidt idt_pointer
	call *HANDOVER + 16
3:	hlt
	jmp 3b
	.balign 8
gdt:	.quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word 31
	.long TRAMPOLINE + (gdt - start_other)
start_other_end:

	.text
	.globl stubs
	.balign 16
stubs:
	.set number, 0
	.rept VECTORS
	push %rax
	mov $number, %eax
	jmp came
	.balign 16
	.set number, number + 1
	.endr
came:	push %rcx
	push %rdx
	mov $SHOT, %rcx
	invlpg (%rcx)
	lock incq interrupts(, %rax, 8)
	mov $0x80b, %ecx /* x2APIC: end of interrupt */
	xor %eax, %eax
	xor %edx, %edx
	wrmsr
	pop %rdx
	pop %rcx
	pop %rax
	iretq

	/* A fault prints where and ends the machine. */
	.globl fault_stub
fault_stub:
	mov (%rsp), %rdi
	mov 8(%rsp), %rsi
	mov %cr2, %rdx
	and $-16, %rsp
	call fault
	/* bool probe_write(p, v): false when the page is not there. */
	.globl probe_write, page_fault_stub
probe_write:
	mov $1, %eax
probe_here:
	movb %sil, (%rdi)
	ret
probe_fails:
	xor %eax, %eax
	ret
page_fault_stub:
	cmpq $probe_here, 8(%rsp)
	jne fault_stub
	movq $probe_fails, 8(%rsp)
	add $8, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits

	.bss
	.balign 16
	.skip 16384
stack_end:
