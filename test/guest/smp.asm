; A guest of several vCPUs: start-up by INIT and SIPI, IPIs of every kind, timers, NMI, a shared
; counter, a TLB shootdown; it prints on port 0xe9 what came of it and ends with a triple fault of
; the first vCPU. Loaded at 0x8000 and entered there in real mode by all of them (SIPI vector 8).
;
;	nasm -f bin -o smp.bin smp.asm
;
; The number of vCPUs is a byte at 0x7000. x2APIC all through; the page view is tested by apic_test.

TABLES	equ 0x20000
STACKS	equ 0x40000	; 4 KiB each, by id
N	equ 0x7000
ALIVE	equ 0x7008	; vCPUs that arrived
GO	equ 0x7010	; what the others shall do
DONE	equ 0x7018	; how many did it
COUNT	equ 0x7020	; the shared counter
GOT	equ 0x7100	; interrupts seen, a qword for each vector from 0x40 on
NMIS	equ 0x7200
SEEN	equ 0x7208	; what the shootdown saw
TURN	equ 0x7300	; of the code that is written while somebody comes to run it
STORED	equ 0x7340	; ... it is there
RAN	equ 0x7380	; ... it was run
STALE	equ 0x73c0	; how often it was the old code then
SLOTS	equ 0x300000	; a page of 256 functions, each returns 0 until it is written: 1
TURNS	equ 256 * 9
CROSS	equ 0x301ffd	; a jump across two pages ...
TARGET	equ 0x302100	; ... to what may change its next instruction
VICTIM	equ 0x600000	; linear address whose mapping changes

	org 0x8000
	bits 16
start:
	cli
	xor ax, ax
	mov ds, ax
	lgdt [gdt_pointer]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp 8:protected
	bits 32
protected:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	cmp dword [ALIVE], 0
	jne .tables_done
	; the first one makes the tables: 1 GiB in pages of 2 MiB
	cld
	mov edi, TABLES
	xor eax, eax
	mov ecx, 0x1000
	rep stosd
	mov dword [TABLES], TABLES + 0x1007
	mov dword [TABLES + 0x1000], TABLES + 0x2007
	mov edi, TABLES + 0x2000
	mov eax, 0x87
	mov ecx, 512
.fill:	mov [edi], eax
	add edi, 8
	add eax, 0x200000
	loop .fill
.tables_done:
	mov eax, 0x620
	mov cr4, eax
	mov eax, TABLES
	mov cr3, eax
	mov ecx, 0xc0000080
	mov eax, 0x100
	xor edx, edx
	wrmsr
	mov eax, 0x80010011
	mov cr0, eax
	jmp 0x18:long_mode

	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdt_pointer:
	dw 31
	dd gdt
idt_pointer:
	dw 0xff * 16 + 15
	dq idt
idt_none: dw 0
	dq 0

	bits 64
long_mode:
	lidt [idt_pointer]
	mov ecx, 0x1b
	rdmsr
	or eax, 0xc00
	wrmsr			; x2APIC
	mov ecx, 0x802
	rdmsr
	mov r15d, eax		; the id
	shl eax, 12
	lea rsp, [rax + STACKS + 0x1000]
	mov ecx, 0x80f
	mov eax, 0x1ff
	xor edx, edx
	wrmsr
	lock inc qword [ALIVE]
	test r15d, r15d
	jz first
	; the others: do what GO says, once for each of its values
	xor r14d, r14d
	sti
.wait:	pause
	mov rax, [GO]
	cmp rax, r14
	je .wait
	mov r14, rax
	cmp eax, 1
	je .count
	cmp eax, 2
	je .sleep
	cmp eax, 3
	je .map
	cmp eax, 4
	je .halted
	cmp eax, 5
	je .kicked
	cmp eax, 6
	je .written
	jmp .wait
.count:	call count
	lock inc qword [DONE]
	jmp .wait
.sleep:	lock inc qword [DONE]	; woken by an interrupt, counted by its handler
	hlt
	jmp .wait
.map:	mov rax, [VICTIM]
	lock inc qword [DONE]
	jmp .wait
.kicked: cli			; the kick came long before: this HLT ends at once
	hlt
	sti
	lock inc qword [DONE]
	jmp .wait
.written: cmp r15d, 1		; one of them is enough
	jne .ran
	mov ebp, 256
.turn:	movzx edi, bpl
	shl edi, 4
	add edi, SLOTS
.early:	pause
	cmp [TURN], rbp
	jb .early
	call rdi		; the old one or the new one
.late:	pause
	cmp [STORED], rbp
	jb .late
	call rdi		; the new one
	cmp eax, 1
	je .new
	inc qword [STALE]
.new:	mov [RAN], rbp
	inc ebp
	cmp ebp, TURNS
	jb .turn
.ran:	lock inc qword [DONE]
	jmp .wait
.halted: cli
	lock inc qword [DONE]
	hlt			; for good: interrupts are off

count:	mov ecx, 20000
.next:	lock inc qword [COUNT]
	mov rax, [COUNT + 8]	; and a compare-and-swap loop
.again:	lea rdx, [rax + 3]
	lock cmpxchg [COUNT + 8], rdx
	jnz .again
	loop .next
	ret

%macro WAIT_FOR 2		; [address] == value
%%again: pause
	cmp qword [%1], %2
	jne %%again
%endmacro
%macro OTHERS 1			; all others have done GO = %1
	mov qword [DONE], 0
	mov qword [GO], %1
%%again: pause
	movzx eax, byte [N]
	dec eax
	cmp [DONE], rax
	jne %%again
%endmacro
%macro ICR 2			; destination, low half
	mov ecx, 0x830
	mov edx, %1
	mov eax, %2
	wrmsr
%endmacro
%macro SAY 1
	mov rdi, %1
	call hex
%endmacro

first:
	ICR 0, 0xc4500		; INIT and SIPI to all others
	ICR 0, 0xc4608
	ICR 0, 0xc4608		; the second is for nobody
	movzx ebx, byte [N]
	WAIT_FOR ALIVE, rbx
	SAY [ALIVE]
	; a shared counter
	cmp ebx, 1
	je .alone
	mov qword [DONE], 0
	mov qword [GO], 1
	call count
	dec rbx
	WAIT_FOR DONE, rbx
	inc rbx
	jmp .counted
.alone:	call count
.counted:
	SAY [COUNT]
	SAY [COUNT + 8]
	call line
	; fixed IPIs to each of the others, asleep or not
	OTHERS 2
	mov r12d, 1
.each:	cmp r12d, ebx
	jae .sent
	ICR r12d, 0x4040
	inc r12d
	jmp .each
.sent:	lea rax, [rbx - 1]
	WAIT_FOR GOT, rax
	SAY [GOT]
	; to all but self, to all, to self
	sti
	ICR 0, 0xc4041
	ICR 0, 0x84042
	ICR 0, 0x44043
	lea rax, [rbx - 1]
	WAIT_FOR GOT + 8, rax
	WAIT_FOR GOT + 16, rbx
	WAIT_FOR GOT + 24, 1
	mov ecx, 0x83f
	mov eax, 0x43
	xor edx, edx
	wrmsr
	WAIT_FOR GOT + 24, 2
	cli
	SAY [GOT + 8]
	SAY [GOT + 16]
	SAY [GOT + 24]
	call line
	; logical: the ids 0 and 1 of cluster 0
	sti
	ICR 3, 0x4844
	mov eax, 2
	cmp ebx, 1
	cmove eax, ebx
	WAIT_FOR GOT + 32, rax
	cli
	SAY [GOT + 32]
	; priority: with the TPR up nothing comes
	mov eax, 8
	mov cr8, rax
	mov ecx, 0x83f
	mov eax, 0x45
	xor edx, edx
	wrmsr
	sti
	nop
	nop
	SAY [GOT + 40]
	xor eax, eax
	mov cr8, rax
	WAIT_FOR GOT + 40, 1
	cli
	SAY [GOT + 40]
	; interrupts of one moment come by priority; STI gives one instruction more
	mov ecx, 0x83f
	mov eax, 0x46
	xor edx, edx
	wrmsr
	mov eax, 0x57
	wrmsr
	mov qword [order], 0
	sti
	mov rax, [order]
	WAIT_FOR GOT + 48, 1
	cli
	SAY rax
	SAY [order]
	call line
	; NMI: comes with interrupts off, and not twice before IRET
	ICR 0, 0x44400
	WAIT_FOR NMIS, 1
	SAY [NMIS]
	; one-shot timer: 200 microseconds, slept through
	mov ecx, 0x83e
	mov eax, 0xb
	xor edx, edx
	wrmsr
	mov ecx, 0x832
	mov eax, 0x48
	wrmsr
	rdtsc
	shl rdx, 32
	lea r13, [rdx + rax]
	mov ecx, 0x838
	mov eax, 200000
	xor edx, edx
	wrmsr
.one:	cli
	cmp qword [GOT + 64], 1
	je .came
	sti
	hlt
	jmp .one
.came:	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r13
	xor edi, edi
	cmp rax, 200000
	setae dil
	call hex
	; TSC deadline while running
	mov ecx, 0x832
	mov eax, 0x40049
	xor edx, edx
	wrmsr
	rdtsc
	shl rdx, 32
	or rax, rdx
	add rax, 300000
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0x6e0
	wrmsr
	sti
	WAIT_FOR GOT + 72, 1
	cli
	rdmsr
	shl rdx, 32
	or rax, rdx
	SAY rax
	SAY [GOT + 72]
	; periodic: three times
	mov ecx, 0x832
	mov eax, 0x2004a
	xor edx, edx
	wrmsr
	mov ecx, 0x838
	mov eax, 50000
	wrmsr
	sti
.three:	hlt
	cmp qword [GOT + 80], 3
	jb .three
	cli
	mov ecx, 0x838
	xor eax, eax
	xor edx, edx
	wrmsr
	call line
	; a shootdown: everybody has the old mapping, is told, and sees the new one
	mov qword [VICTIM], 0x600
	mov qword [0x800000], 0x800
	OTHERS 3
	mov qword [TABLES + 0x2018], 0x800087
	mov qword [SEEN], 0
	invlpg [VICTIM]
	sti
	ICR 0, 0xc404b
	lea rax, [rbx - 1]
	WAIT_FOR GOT + 88, rax
	cli
	mov rax, [VICTIM]
	SAY rax
	SAY [SEEN]
	; a lock across two lines
	mov qword [0x703c], 0
	lock add qword [0x703c], 5
	SAY [0x703c]
	; a kick waits for the HLT that it ends, interrupts off, as paravirtual spinlocks use it
	xor r12d, r12d
.kick:	mov eax, 5
	mov ecx, r12d
	vmcall
	inc r12d
	cmp r12d, ebx
	jb .kick
	jmp .kicks		; no interrupt, but a boundary to look for one at
.kicks:	hlt
	OTHERS 5
	SAY [DONE]
	; code is written while another vCPU decodes it: it must not keep what it saw
	cmp ebx, 1
	je .patched
	mov qword [DONE], 0
	mov qword [GO], 6
	mov ebp, 256
.turn:	movzx edi, bpl
	test edi, edi
	jnz .there
	mov rax, 0xc300000000b8	; mov eax, 0; ret
	mov edx, SLOTS
	mov ecx, 256
.fill:	mov [rdx], rax
	add edx, 16
	loop .fill
.there:	shl edi, 4
	add edi, SLOTS + 1
	mov [TURN], rbp
	mov ecx, ebp
	and ecx, 31
	inc ecx
.delay:	loop .delay
	test ebp, 1
	jz .locked
	mov byte [rdi], 1
	jmp .stored
.locked: lock inc byte [rdi]
.stored: mov [STORED], rbp
.running: pause
	cmp [RAN], rbp
	jb .running
	inc ebp
	cmp ebp, TURNS
	jb .turn
	lea rax, [rbx - 1]
	WAIT_FOR DONE, rax
.patched:
	SAY [STALE]
	; what ran by itself leads to code that changes itself, known from a first time
	mov byte [CROSS], 0xe9
	mov dword [CROSS + 1], TARGET - CROSS - 5
	mov rax, 0x1b80207c6	; mov byte [rdi], 2; mov eax, 1
	mov [TARGET], rax
	mov byte [TARGET + 8], 0xc3
	mov esi, CROSS
	mov edi, SLOTS + 8
	call rsi
	SAY rax
	mov edi, TARGET + 4
	call rsi
	SAY rax
	OTHERS 4
	ICR 0, 0xc404c		; halted for good: nobody comes
	SAY [GOT + 96]
	SAY [GOT + 8]
	call line
	mov al, 'Z'
	out 0xe9, al
	call line
	lidt [idt_none]
	ud2

order:	dq 0

line:	push rax
	mov al, 10
	out 0xe9, al
	pop rax
	ret

; rdi in as many digits as it needs, and a space
hex:	push rax
	push rcx
	push rdi
	mov ecx, 16
.skip:	rol rdi, 4
	test dil, 15
	jnz .digits
	dec ecx
	jnz .skip
	inc ecx
.digits:
	mov eax, edi
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .put
	add al, 'a' - '0' - 10
.put:	out 0xe9, al
	rol rdi, 4
	dec ecx
	jnz .digits
	mov al, ' '
	out 0xe9, al
	pop rdi
	pop rcx
	pop rax
	ret

nmi:	push rax
	lock inc qword [NMIS]
	pop rax
	iretq

%macro HANDLER 1
	align 16
	push rax
	mov eax, %1
	jmp handle
%endmacro
handle:	push rcx
	push rdx
	push rsi
	mov rcx, [order]
	shl rcx, 8
	or rcx, rax
	cmp eax, 0x46
	je .note
	cmp eax, 0x57
	jne .plain
.note:	mov [order], rcx
.plain:	cmp eax, 0x4b
	jne .count
	invlpg [VICTIM]
	mov rsi, [VICTIM]
	lock add [SEEN], rsi
.count:	lock inc qword [GOT + rax * 8 - 0x40 * 8]
	mov ecx, 0x80b
	xor eax, eax
	xor edx, edx
	wrmsr
	pop rsi
	pop rdx
	pop rcx
	pop rax
	iretq

	align 16
handlers:
%assign i 0x40
%rep 0x20
	HANDLER i
%assign i i + 1
%endrep

	align 16
idt:
	times 2 * 16 db 0
	dw nmi - $$ + 0x8000, 0x18, 0x8e00, 0
	dq 0
	times (0x40 - 3) * 16 db 0
%assign i 0
%rep 0x20
	dw handlers - $$ + 0x8000 + i * 16, 0x18, 0x8e00, 0
	dq 0
%assign i i + 1
%endrep
