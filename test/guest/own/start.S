/*
 * The ways in: of the first processor by Linux's 64-bit boot protocol (long mode, the first 4 GiB
 * mapped to themselves, RSI the zero page), and of the others by SIPI in real mode. And the stubs
 * of the vectors 0x30 to 0x3f, which count.
 */
#include "layout.h"

	.section .note.pvh, "a", @note
	.long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad start_pvh

	/* By PVH: 32-bit protected mode without paging, EBX the start_info. */
	.section .start, "ax"
	.code32
start_pvh:
	cli
	mov $level4, %edi
	mov $level3 + 7, %eax
	mov %eax, (%edi)
	mov $4, %ecx
	mov $level3, %edi
	mov $level2 + 7, %eax
1:	mov %eax, (%edi)
	add $8, %edi
	add $0x1000, %eax
	loop 1b
	mov $level2, %edi
	mov $0x83, %eax
	mov $2048, %ecx
2:	mov %eax, (%edi)
	add $8, %edi
	add $0x200000, %eax
	loop 2b
	mov $0x620, %eax
	mov %eax, %cr4
	mov $level4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov $0x80010033, %eax
	mov %eax, %cr0
	lgdtl gdt_all_pointer
	ljmpl $0x10, $3f
	.code64
3:	mov %ebx, %edi
	jmp 4f

	.globl _start
_start:
	cli
	mov %rsi, %rdi
	lgdt gdt_all_pointer
4:	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	lea stack_end(%rip), %rsp
	push $0x10
	push $5f
	lretq
5:	call guest_main
6:	hlt
	jmp 6b

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

	/* Exceptions leave their frame in `fault` and go back to who attempted something. */
	.globl exceptions, user_done
	.balign 16
exceptions:
	.set number, 0
	.rept 32
	.if (0x60227d00 >> number) & 1 /* pushes an error code: 8, 10 to 14, 17, 21, 29, 30 */
	.byte 0x90, 0x90
	.else
	push $0
	.endif
	push $number
	jmp excepted
	.balign 16
	.set number, number + 1
	.endr
user_done:
	push $0
	push $VECTOR_USER
excepted:
	cld
	popq fault
	popq fault + 8
	popq fault + 16
	popq fault + 24
	popq fault + 32
	popq fault + 40
	popq fault + 48
	mov %rcx, fault + 56
	mov %r11, fault + 64
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov attempt_stack, %rsp
	test %rsp, %rsp
	jnz 1f
	lea stack_end(%rip), %rsp
	call fatal
1:	movq $0, attempt_stack
	mov $1, %eax
	jmp attempted

	/* bool attempt(run, arg): whether an exception came of it. */
	.globl attempt, attempt_user
attempt:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, attempt_stack
	mov %rdi, %rax
	mov %rsi, %rdi
	call *%rax
	movq $0, attempt_stack
	xor %eax, %eax
attempted:
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	/* bool attempt_user(rip, rdi, flags, rsp): the same in ring 3; always true. */
attempt_user:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, attempt_stack
	push $0x23
	push %rcx
	push %rdx
	push $0x2b
	push %rdi
	mov %rsi, %rdi
	mov $0x18, %ecx
	iretq

	/* What ring 3 does, copied to a page of its own; RDI is an address. */
	.globl user_code, user_code_end
	.balign 16
user_code:
	.balign 16
	mov (%rdi), %eax
	int $VECTOR_USER
	.balign 16
	movb $1, (%rdi)
	int $VECTOR_USER
	.balign 16
	call *%rdi
	int $VECTOR_USER
	.balign 16
	cli
	int $VECTOR_USER
	.balign 16
	hlt
	int $VECTOR_USER
	.balign 16
	in $0x60, %al
	int $VECTOR_USER
	.balign 16
	rdmsr
	int $VECTOR_USER
	.balign 16
	mov %cr0, %rax
	int $VECTOR_USER
	.balign 16
	mov %rax, %dr7
	int $VECTOR_USER
	.balign 16
	lgdt (%rdi)
	int $VECTOR_USER
	.balign 16
	int $0x30
	int $VECTOR_USER
	.balign 16
	swapgs
	int $VECTOR_USER
	.balign 16
	rdtsc
	int $VECTOR_USER
	.balign 16
	mov %cx, %ss
	int $VECTOR_USER
	.balign 16
	push $0x10
	push %rdi
	lretq
	int $VECTOR_USER
	.balign 16
	mov 1(%rdi), %eax
	int $VECTOR_USER
	.balign 16
	push $0x3202
	popf
	pushf
	pop %rcx
	int $VECTOR_USER
	.balign 16
	syscall
	int $VECTOR_USER
	.balign 16
	ud2
	int $VECTOR_USER
	.balign 16
	wbinvd
	int $VECTOR_USER
	.balign 16
	lmsw %ax
	int $VECTOR_USER
	.balign 16
	invlpg (%rdi)
	int $VECTOR_USER
user_code_end:

	/* SYSCALL comes here. */
	.globl syscall_came
syscall_came:
	push %rax /* where a frame would be: SS, RSP, flags, CS, RIP */
	push %rax
	pushf
	mov %cs, %eax
	push %rax
	push $0
	push $0
	push $VECTOR_SYSCALL
	jmp excepted

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
	jne exceptions + 14 * 16
	movq $probe_fails, 8(%rsp)
	add $8, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits

	.data
	.balign 16
	.globl gdt_all
gdt_all:
	.quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff /* ring 0: 0x10, 0x18 */
	.quad 0x00cff3000000ffff, 0x00affb000000ffff	   /* ring 3: 0x20, 0x28 */
	.quad 0, 0, 0x00001b000000ffff			   /* 0x30: TSS; 0x40: code, absent */
gdt_all_pointer:
	.word . - gdt_all - 1
	.quad gdt_all

	.bss
	.balign 4096
level4:	.skip 4096
level3:	.skip 4096
level2:	.skip 4 * 4096
	.globl fault, attempt_stack, trap_stack_end
fault:	.skip 80
attempt_stack:
	.skip 16
	.skip 8192
trap_stack_end:
	.skip 16384
stack_end:
