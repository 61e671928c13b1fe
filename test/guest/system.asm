; A guest without a kernel that walks through the system side of an x86-64 CPU: real, protected,
; virtual-8086, compatibility and long mode, and prints what every fault and interrupt looks like on
; port 0xe9. It is a 64 KiB firmware image: QEMU runs it with -bios, the unit test of virt/vm/cpu
; runs the same bytes, and both must print the same, but for what QEMU does not check (75-system.sh).
;
;	nasm -D TCG -f bin -o system.bin system.asm
;	qemu-system-x86_64 -bios system.bin -debugcon stdio -display none -no-reboot -cpu max
;
; The image copies itself to BASE and goes on there, with segments that begin at BASE, so that a
; label is an offset in every mode but the 64-bit one. A handler prints its frame and goes on at
; [resume] with the stack of [saved]. It ends with a triple fault.

BASE	equ 0x10000
STACK	equ 0x9000	; offset of the ring 0 stack's top
STACK3	equ 0xa000	; ring 3
STACK_IST equ 0xb000
PAGES	equ 0x20000	; linear: page tables
IVT	equ 0

%define L(x) (BASE + (x) - $$)

; UNCHECKED BYTES, INSTRUCTION: what must fault and makes QEMU's translator lose its way, because it does
; not check. With -D TCG it does nothing, in as many bytes: all addresses stay.
%macro UNCHECKED 2+
%ifdef TCG
	times %1 nop
%else
	%2
%endif
%endmacro

	org 0
	bits 16

; ---------------------------------------------------------------- real mode
start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	mov ax, BASE >> 4
	mov es, ax
	xor si, si
	xor di, di
	mov cx, 0x8000
	rep movsw
	jmp (BASE >> 4):real

real:
	mov ax, cs
	mov ds, ax
	mov ss, ax
	mov sp, STACK
	mov si, text_real
	call puts16
	; the table: every vector to a stub of 8 bytes
	xor ax, ax
	mov es, ax
	xor di, di
	mov bx, stubs16
	mov cx, 64
.fill:	mov [es:di], bx
	mov word [es:di + 2], BASE >> 4
	add di, 4
	add bx, 8
	loop .fill

%macro TRY16 0
	%push try
	mov word [resume], %$after
	mov [saved], sp
%endmacro
%macro END16 0
	call ok16
%$after:
	%pop
%endmacro

	TRY16			; divide by zero
	xor dx, dx
	mov ax, 1
	xor bx, bx
	div bx
	END16
	TRY16
	ud2
	END16
	TRY16
	int3
	END16
	TRY16
	int 0x21
	END16
	TRY16			; past the end of a segment
	mov bx, 0xffff
	mov ax, [bx]
	END16
	TRY16			; an IDT that is too short
	lidt [idt_short]
	int 0x21
	END16
	lidt [idt_real]
	mov ax, 0x3
	push word 0x0202	; IRET brings IF
	push cs
	push word .back
	iret
.back:	pushf
	pop ax
	cli
	call hex16
	call space16
	call far [far_pointer]
	mov ax, sp
	call hex16
	call line16
	smsw ax
	call hex16
	call line16
	jmp go_protected
far_target:
	mov ax, 0xfa11
	call hex16
	retf
far_pointer:
	dw far_target, BASE >> 4

idt_real:  dw 0x3ff
	dd 0
idt_short: dw 0x7f
	dd 0

stubs16:
%assign i 0
%rep 64
	push word i
	jmp near common16
	times 8 - 2 - 3 nop
%assign i i + 1
%endrep
	; each stub is 8 bytes: push imm8 (2), jmp near (3), nops

common16:
	mov bp, sp
	mov ax, BASE >> 4
	mov ds, ax
	mov al, 'R'
	out 0xe9, al
	mov ax, [bp]		; vector
	call hex16
	call space16
	mov ax, [bp + 4]	; cs
	call hex16
	mov al, ':'
	out 0xe9, al
	mov ax, [bp + 2]
	call hex16
	call space16
	mov ax, [bp + 6]
	and ax, 0x7700
	call hex16
	call line16
	lidt [idt_real]
	mov ax, cs
	mov ss, ax
	mov sp, [saved]
	jmp [resume]

ok16:	mov al, '-'
	out 0xe9, al
line16:	mov al, 10
	out 0xe9, al
	ret
space16: mov al, ' '
	out 0xe9, al
	ret
puts16:	lodsb
	test al, al
	jz .end
	out 0xe9, al
	jmp puts16
.end:	ret
hex16:	mov cx, 4
.next:	rol ax, 4
	push ax
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .put
	add al, 'a' - '0' - 10
.put:	out 0xe9, al
	pop ax
	loop .next
	ret

resume:	dq 0
saved:	dq 0
text_real: db 'real', 10, 0
text_protected: db 'protected', 10, 0
text_paging: db 'paging', 10, 0
text_v86: db 'v86', 10, 0
text_debug: db 'debug', 10, 0
text_task: db 'task', 10, 0
text_long: db 'long', 10, 0
text_compat: db 'compat', 10, 0

go_protected:
	lgdt [gdt_pointer]
	lidt [idt_pointer]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp CODE0:protected

; ---------------------------------------------------------------- tables
%macro DESC 4			; base, limit, access, flags nibble
	dw (%2) & 0xffff
	dw (%1) & 0xffff
	db ((%1) >> 16) & 0xff
	db %3
	db (((%2) >> 16) & 15) | ((%4) << 4)
	db ((%1) >> 24) & 0xff
%endmacro
	align 16
gdt:
	dq 0
CODE0	equ $ - gdt
	DESC BASE, 0xffff, 0x9a, 4	; 32-bit code
DATA0	equ $ - gdt
	DESC BASE, 0xfffff, 0x92, 0xc
CODE3	equ $ - gdt
	DESC BASE, 0xffff, 0xfa, 4
DATA3	equ $ - gdt
	DESC BASE, 0xfffff, 0xf2, 0xc
FLAT0	equ $ - gdt
	DESC 0, 0xfffff, 0x92, 0xc
ABSENT	equ $ - gdt
	DESC 0, 0xfffff, 0x12, 0xc
READONLY equ $ - gdt
	DESC BASE, 0xfff, 0x90, 4
EXECONLY equ $ - gdt
	DESC BASE, 0xffff, 0x98, 4
CONFORMING equ $ - gdt
	DESC BASE, 0xffff, 0x9e, 4
DOWN	equ $ - gdt
	DESC BASE, 0x7fff, 0x96, 4	; expand-down above 0x7fff
CODE16	equ $ - gdt
	DESC BASE, 0xffff, 0x9a, 0
TSS_A	equ $ - gdt
	DESC L(tss_a), tss_end - tss_a - 1, 0x89, 0
TSS_B	equ $ - gdt
	DESC L(tss_b), 0x67, 0x89, 0
LDT_A	equ $ - gdt
	DESC L(ldt), 15, 0x82, 0
GATE0	equ $ - gdt			; call gate for ring 3, two words of parameters
	dw gate_entry, CODE0
	db 2, 0xec
	dw 0
GATE_PRIVATE equ $ - gdt		; and one for ring 0 only
	dw gate_entry, CODE0
	db 0, 0x8c
	dw 0
CODE64	equ $ - gdt
	DESC 0, 0xfffff, 0x9a, 0xa
DATA64	equ $ - gdt
	DESC 0, 0xfffff, 0x92, 0xc
COMPAT3	equ $ - gdt			; SYSRET's order: 32-bit code, data, 64-bit code
	DESC BASE, 0xfffff, 0xfa, 0xc
USER64D	equ $ - gdt
	DESC 0, 0xfffff, 0xf2, 0xc
USER64	equ $ - gdt
	DESC 0, 0xfffff, 0xfa, 0xa
BAD64	equ $ - gdt			; L and D both
	DESC 0, 0xfffff, 0x9a, 0xe
TSS64	equ $ - gdt
	DESC L(tss64), 0x67, 0x89, 0
	dq 0
gdt_end:

ldt:	DESC BASE, 0xffff, 0x92, 4
	DESC BASE, 0xffff, 0xf2, 4

gdt_pointer: dw gdt_end - gdt - 1
	dd L(gdt)
idt_pointer: dw 0x31 * 8 + 7
	dd L(idt)
idt_none: dw 0
	dd 0

	align 8
idt:
%assign i 0
%rep 0x32
%if i == 0x30
	dw stubs32 + i * 16, CODE0
	db 0, 0xee		; ring 3 may
%elif i == 0x31
	dw stubs32 + i * 16, CODE0
	db 0, 0xef		; trap gate
%elif i == 0x2f
	dw stubs32 + i * 16, CODE0
	db 0, 0x6e		; absent
%else
	dw stubs32 + i * 16, CODE0
	db 0, 0x8e
%endif
	dw 0
%assign i i + 1
%endrep

	align 4
tss_a:	dd 0
	dd STACK, DATA0
	times 25 - 2 - 1 dd 0
	dw 0
	dw iomap - tss_a
iomap:	times 0xe9 / 8 db 0
	db 0
	times 32 db 0xff
tss_end:
tss_b:	dd 0
	dd STACK, DATA0, 0, 0, 0, 0
	dd 0			; cr3
	dd task_entry, 2
	dd 0xa, 0xc, 0xd, 0xb, STACK_IST, 0, 0, 0
	dd DATA0, CODE0, DATA0, DATA0, 0, 0
	dd 0
	dw 0, 0x68
tss64:	dd 0
	dq (BASE + STACK)
	dq 0, 0, 0
	dq (BASE + STACK_IST)
	times 6 dq 0
	dq 0
	dw 0, 0x68

	bits 32
; ---------------------------------------------------------------- handlers of 32 bits
	align 16
stubs32:
%assign i 0
%rep 0x32
	align 16
%if i == 8 || (i >= 10 && i <= 14) || i == 17
	push dword i
	jmp near common32
%else
	push dword 0
	push dword i
	jmp near common32
%endif
%assign i i + 1
%endrep
	align 16

common32:
	pushad
	push ds
	push es
	mov ax, DATA0
	mov ds, ax
	mov es, ax
	mov ebp, esp
	mov al, 'E'
	out 0xe9, al
	mov eax, [ebp + 40]	; vector
	call hex8
	mov eax, [ebp + 44]	; error code
	call hex4s
	mov eax, [ebp + 52]
	call hex4s
	mov al, ':'
	out 0xe9, al
	mov eax, [ebp + 48]
	call hex4
	mov eax, [ebp + 56]
	and eax, 0x67700
	cmp byte [ebp + 40], 1
	je .no_rf
	mov eax, [ebp + 56]
	and eax, 0x77700
.no_rf:	call hex8s
	test dword [ebp + 56], 0x20000
	jnz .outer
	test byte [ebp + 52], 3
	jz .same
.outer:	mov eax, [ebp + 64]	; the outer stack
	call hex4s
	mov al, ':'
	out 0xe9, al
	mov eax, [ebp + 60]
	call hex4
.same:	cmp byte [ebp + 40], 14
	jne .no_cr2
	mov eax, cr2
	call hex8s
.no_cr2: cmp byte [ebp + 40], 1
	jne .line
	mov eax, dr6
	call hex8s
	xor eax, eax
	mov dr6, eax
	call line
	cmp dword [steps], 0
	je .resume
	dec dword [steps]
	jnz .more
	and dword [ebp + 56], ~0x100	; enough of stepping
.more:	or dword [ebp + 56], 0x10000
	pop es
	pop ds
	popad
	add esp, 8
	iretd
.line:	call line
.resume:
	mov ax, DATA0
	mov ss, ax
	mov esp, [saved]
	xor eax, eax
	mov fs, ax
	mov gs, ax
	cld
	jmp [resume]

steps:	dd 0

space:	push eax
	mov al, ' '
	out 0xe9, al
	pop eax
	ret
line:	push eax
	mov al, 10
	out 0xe9, al
	pop eax
	ret
ok:	push eax
	mov al, '-'
	out 0xe9, al
	call line
	pop eax
	ret
hex4s:	call space
hex4:	push ecx
	mov ecx, 4
	shl eax, 16
	jmp hexes
hex8s:	call space
hex8:	push ecx
	mov ecx, 8
hexes:	rol eax, 4
	push eax
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .put
	add al, 'a' - '0' - 10
.put:	out 0xe9, al
	pop eax
	loop hexes
	pop ecx
	ret
puts:	lodsb
	test al, al
	jz .end
	out 0xe9, al
	jmp puts
.end:	ret

%macro TRY 0
	%push try
	mov dword [resume], %$after
	mov [saved], esp
%endmacro
%macro END 0
	call ok
%$after:
	%pop
%endmacro
; Runs what follows at ring 3, on its own stack.
%macro RING3 0
	push dword DATA3 | 3
	push dword STACK3
	push dword [user_flags]
	push dword CODE3 | 3
	push dword %%user
	iretd
%%user:
%endmacro
user_flags: dd 2

; ---------------------------------------------------------------- protected mode
protected:
	mov ax, DATA0
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, STACK
	mov esi, text_protected
	call puts
	mov ax, TSS_A
	ltr ax
	TRY			; TR is busy now
	mov ax, TSS_A
	ltr ax
	END
	TRY
	ud2
	END
	TRY
	int3
	END
	TRY
	int 0x30
	END
	TRY			; absent gate
	int 0x2f
	END
	TRY			; beyond the table
	int 0x80
	END
	TRY
	mov eax, 0x7fffffff
	inc eax
	into
	END
	TRY
	mov eax, 5
	bound eax, [bounds]
	END
	TRY
	mov eax, 1
	cdq
	xor ecx, ecx
	idiv ecx
	END
	; loads of data segments
%macro LOAD 2
	TRY
	mov ax, %2
	mov %1, ax
	END
%endmacro
	LOAD ds, 0x0ff8
	LOAD es, ABSENT
	LOAD es, EXECONLY
	LOAD es, TSS_A
	LOAD es, 4		; no LDT yet
	LOAD es, 0
	LOAD ss, 0
	LOAD ss, READONLY
	LOAD ss, DATA3 | 3
	LOAD ss, DATA0 | 1
	LOAD ss, CODE0
	LOAD ss, ABSENT
	mov ax, LDT_A
	lldt ax
	LOAD es, 4
	LOAD es, 0xc | 3
	LOAD es, 0x14 | 3
	TRY
	mov ax, CODE0
	lldt ax
	END
	TRY			; a null segment
	xor eax, eax
	mov fs, ax
	mov eax, [fs:0]
	END
	TRY			; limit
	mov ax, READONLY
	mov fs, ax
	mov eax, [fs:0xffc]
	mov eax, [fs:0xffd]
	END
	TRY
	mov ax, READONLY
	mov fs, ax
	mov [fs:0], eax
	END
	TRY
	mov ax, EXECONLY
	mov [cs:0], eax
	END
	TRY			; expand-down: valid above its limit
	mov ax, DOWN
	mov fs, ax
	mov eax, [fs:0x8000]
	mov eax, [fs:0x7fff]
	END
	; far transfers
%macro FAR 2
	TRY
	%1 %2:.never
	END
%endmacro
	jmp .over
.never:	call ok
	jmp [resume]
.over:
	FAR jmp, 0
	FAR jmp, 0x0ff8
	FAR jmp, DATA0
	FAR jmp, CODE3 | 3
	FAR jmp, ABSENT
	FAR call, CODE3
	FAR jmp, LDT_A
	FAR jmp, CODE0 | 3
	TRY
	jmp CODE0:0x12345	; beyond the limit
	END
	TRY
	call CONFORMING:conforming_entry
	END
	TRY
	call GATE_PRIVATE:0
	END
	; rings
	TRY
	RING3
	cli
	END
	TRY
	RING3
	hlt
	END
	TRY
	RING3
	mov eax, cr0
	END
	TRY
	RING3
	int 0x30
	END
	TRY
	RING3
	int 0x31
	END
	TRY
	RING3
	int 0x20		; the gate is ring 0's
	END
	TRY
	RING3
	mov ax, DATA0
	mov es, ax
	END
	TRY
	RING3
	mov al, 1
	out 0xe8, al		; the bitmap lets it
	out 0xf0, al
	END
	TRY
	RING3
	in ax, 0xef		; one byte of two is not allowed
	END
	TRY
	RING3
	push dword 0x1111
	push dword 0x2222
	call GATE0:0
	int 0x30
	END
	TRY
	RING3
	call GATE_PRIVATE:0
	END
	TRY
	RING3
	call CONFORMING:conforming_entry
	int 0x30
	END
	TRY
	RING3
	pushfd
	or dword [esp], 0x3200	; IOPL and IF are not ring 3's to set
	popfd
	int 0x30
	END
	mov dword [user_flags], 0x3002
	TRY
	RING3
	sti
	cli
	in al, 0xef
	int 0x30
	END
	mov dword [user_flags], 2
	TRY			; far return to ring 3 with release
	push dword DATA3 | 3
	push dword STACK3
	push dword 0x77
	push dword CODE3 | 3
	push dword .user
	retf 4
.user:	int 0x30
	END
	TRY			; IRET to an inner level
	RING3
	pushfd
	push dword CODE0
	push dword 0
	iretd
	END
	TRY			; a ring 3 stack for ring 3 only
	push dword DATA0
	push dword STACK3
	pushfd
	push dword CODE3 | 3
	push dword 0
	iretd
	END
	; looking
	mov ebx, selectors
.look:	movzx ecx, word [ebx]
	cmp ecx, 0xffff
	je .looked
	mov eax, ecx
	call hex4
	xor eax, eax
	lar eax, ecx
	call zero
	call hex8s
	xor eax, eax
	lsl eax, ecx
	call zero
	call hex8s
	verr cx
	call zero
	verw cx
	call zero
	call line
	add ebx, 2
	jmp .look
.looked:
	mov ax, 0x10
	mov cx, 0x13
	arpl ax, cx
	call zero
	call hex4s
	arpl cx, ax
	call zero
	sldt eax
	call hex4s
	str eax
	call hex4s
	smsw eax
	call hex4s
	sgdt [scratch]
	mov eax, [scratch + 2]
	call hex8s
	mov eax, [scratch]
	call hex4s
	call line
	; SYSENTER
	mov ecx, 0x174
	mov eax, CODE0
	xor edx, edx
	wrmsr
	inc ecx
	mov eax, STACK
	wrmsr
	inc ecx
	mov eax, L(sysenter_entry)
	wrmsr
	TRY
	RING3
	sysenter
	END
	TRY
	RING3
	rdmsr
	END
	TRY
	mov ecx, 0x12345
	rdmsr
	END
	TRY
	mov eax, 0x80000000	; paging without protection
	UNCHECKED 3, mov cr0, eax
	END
	TRY
	mov eax, cr4
	or eax, 0x80000000
	UNCHECKED 3, mov cr4, eax
	END
	TRY			; a lock where none may be
	db 0xf0
	mov eax, ebx
	END
	jmp debug

bounds:	dd 0, 4
scratch: dd 0, 0
selectors: dw 0, CODE0, DATA0, CODE3, DATA3 | 3, ABSENT, READONLY, EXECONLY, CONFORMING, DOWN
	dw TSS_A, TSS_B, LDT_A, GATE0, GATE_PRIVATE, 4, 0xc, 0x14, 0xff8, 0xffff

zero:	push eax
	setz al
	add al, '0'
	call space
	out 0xe9, al
	pop eax
	ret

conforming_entry:
	mov eax, cs
	mov ebx, [esp]
	mov edx, [esp + 4]
	test al, 3
	jnz .user
	call hex4
	mov eax, edx
	call hex4s
	call line
	retf
.user:	int 0x30
	retf

gate_entry:
	mov eax, [esp + 8]
	call hex8
	mov eax, [esp + 12]
	call hex8s
	mov eax, [esp + 4]
	call hex4s
	mov eax, [esp + 16]
	call hex4s
	mov eax, [esp + 20]
	call hex4s
	mov eax, esp
	call hex4s
	call line
	mov ecx, [esp + 4]
	test cl, 3
	jz .same
	retf 8
.same:	retf

sysenter_entry equ $ - $$
	; flat segments: SYSENTER's begin at 0
	mov ax, DATA0
	mov ds, ax
	mov ecx, esp
	mov ax, ss
	movzx edi, ax
	mov ax, DATA0
	mov ss, ax
	mov esp, STACK - 64
	pushfd
	mov eax, ecx
	call .here
.here:	pop ebx
	call .print - BASE + BASE
	jmp CODE0:.back
.print:	push eax
	mov al, 'S'
	out 0xe9, al
	pop eax
	call hex8s
	mov eax, edi
	call hex4s
	mov eax, cs
	call hex4s
	call line
	ret
.back:	mov esp, [saved]
	jmp [resume]

; ---------------------------------------------------------------- debug
debug:
	mov esi, text_debug
	call puts
	TRY
	mov dword [steps], 4
	pushfd
	or dword [esp], 0x100
	popfd
	nop
	mov eax, 1
	mov ax, ss
	mov ss, ax		; no trap between this and the next
	nop
	nop
	END
	mov dword [steps], 3
	pushfd
	or dword [esp], 0x100
	popfd
	mov ecx, 2
	cld
	lea esi, [scratch]
	lea edi, [scratch + 2]
	rep movsb
	nop
	mov dword [steps], 0
	; instruction breakpoint
	mov eax, L(.here)
	mov dr0, eax
	mov eax, 2
	UNCHECKED 3, mov dr7, eax
	mov dword [steps], 1
.here:	nop
	; data: writes of a word
	mov eax, L(scratch)
	mov dr1, eax
	mov eax, 0x500008
	mov dr7, eax
	mov dword [steps], 2
	mov eax, [scratch]
	mov byte [scratch + 2], 1
	mov byte [scratch + 1], 1
	inc word [scratch]
	; reads or writes of four
	mov eax, 0xf00008
	mov dr7, eax
	mov dword [steps], 2
	mov eax, [scratch]
	mov al, [scratch + 4]
	mov al, [scratch + 3]
	mov dword [steps], 0
	xor eax, eax
	mov dr7, eax
	TRY			; general detect
	mov eax, 0x2000
	mov dr7, eax
	mov eax, dr0
	END
	mov eax, dr7
	call hex8
	mov eax, dr0
	call hex8s
	call line
	xor eax, eax
	mov dr7, eax
	TRY
	mov eax, cr4
	or al, 8
	mov cr4, eax
	mov eax, dr4
	END
	mov eax, cr4
	and al, ~8
	mov cr4, eax
	TRY
	mov dword [steps], 1
	RING3
	db 0xf1			; INT1 needs no right
	int 0x30
	END
	; alignment check
	mov eax, cr0
	or eax, 0x40000
	mov cr0, eax
	mov dword [user_flags], 0x40002
	TRY
	RING3
	mov ax, DATA3 | 3
	mov ds, ax
	mov eax, [scratch]
	mov eax, [scratch + 1]
	END
	mov dword [user_flags], 2
	mov eax, cr0
	and eax, ~0x40000
	mov cr0, eax

; ---------------------------------------------------------------- paging
	mov esi, text_paging
	call puts
	mov ax, FLAT0
	mov es, ax
	mov edi, PAGES
	xor eax, eax
	mov ecx, 0x4000
	rep stosd
	; a directory at PAGES, one table behind it: identity, user, writable
	mov dword [es:PAGES], PAGES + 0x1000 + 7
	mov dword [es:PAGES + 4], 0x400087	; a page of 4 MiB
	mov edi, PAGES + 0x1000
	mov eax, 7
	mov ecx, 0x400
.map:	stosd
	add eax, 0x1000
	loop .map
	mov dword [es:PAGES + 0x1000 + 0x40 * 4], 0x40005	; read-only, user
	mov dword [es:PAGES + 0x1000 + 0x41 * 4], 0x41003	; writable, kernel
	mov dword [es:PAGES + 0x1000 + 0x42 * 4], 0x42006	; absent
	mov eax, PAGES
	mov cr3, eax
	mov eax, cr4
	or al, 0x10
	mov cr4, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	mov ax, FLAT0
	mov es, ax
	TRY
	mov eax, [es:0x40000]
	mov [es:0x40000], eax	; without WP the kernel may
	mov eax, [es:0x41000]
	mov eax, [es:0x42000]
	END
	mov ax, FLAT0
	mov es, ax
	TRY
	mov [es:0x42ffe], eax
	END
	mov ax, FLAT0
	mov es, ax
	TRY
	mov eax, [es:0x41ffe]	; crosses into the absent page
	END
	mov ax, FLAT0
	mov es, ax
	mov eax, cr0
	or eax, 0x10000
	mov cr0, eax
	TRY
	mov [es:0x40010], eax
	END
	mov ax, FLAT0
	mov es, ax
	TRY
	mov eax, [es:0x800000]	; no table
	END
	TRY
	RING3
	mov eax, [ds:0x41000 - BASE]
	END
	TRY
	RING3
	mov ax, DATA3 | 3
	mov ds, ax
	mov eax, [ds:0x41000 - BASE]
	END
	TRY
	RING3
	mov ax, DATA3 | 3
	mov ds, ax
	mov [ds:0x40000 - BASE], eax
	END
	TRY
	RING3
	mov ax, DATA3 | 3
	mov ds, ax
	inc dword [ds:0x40000 - BASE]
	END
	mov ax, FLAT0
	mov es, ax
	mov dword [es:0x400000], 1
	; accessed and dirty
	mov eax, [es:PAGES]
	call hex8
	mov eax, [es:PAGES + 4]
	call hex8s
	mov eax, [es:PAGES + 0x1000 + 0x40 * 4]
	call hex8s
	mov eax, [es:PAGES + 0x1000 + 0x41 * 4]
	call hex8s
	mov eax, [es:PAGES + 0x1000 + 0x43 * 4]
	call hex8s
	call line
	; INVLPG, and a mapping that moves
	mov dword [es:0x43000], 0x43
	mov dword [es:0x44000], 0x44
	mov eax, [es:0x43000]
	mov dword [es:PAGES + 0x1000 + 0x43 * 4], 0x44007
	invlpg [es:0x43000]
	mov eax, [es:0x43000]
	call hex8
	mov dword [es:PAGES + 0x1000 + 0x43 * 4], 0x43007
	mov eax, cr3
	mov cr3, eax
	mov eax, [es:0x43000]
	call hex8s
	call line
	; a handler whose stack is absent: double fault through a task gate comes below
	jmp v86

; ---------------------------------------------------------------- virtual-8086 mode
v86:
	mov esi, text_v86
	call puts
%macro V86 1			; flags
	push dword 0		; gs
	push dword 0		; fs
	push dword BASE >> 4	; ds
	push dword BASE >> 4	; es
	push dword BASE >> 4	; ss
	push dword STACK3
	push dword 0x20002 | (%1)
	push dword BASE >> 4
	push dword %%code
	iretd
	bits 16
%%code:
%endmacro
	TRY
	V86 0
	int 0x30
	bits 32
	END
	TRY
	V86 0x3000
	mov ax, 0x1234
	mov fs, ax
	int 0x30
	bits 32
	END
	TRY
	V86 0x3000
	int 0x20		; the gate's level counts
	bits 32
	END
	TRY
	V86 0
	pushf
	bits 32
	END
	TRY
	V86 0x3000
	pushf
	pop ax
	cli
	sti
	hlt
	bits 32
	END
	TRY
	V86 0x3000
	mov ebx, 0x10000
%ifdef TCG
	hlt			; another fault: it must come back
	times 2 nop
%else
	mov ax, [ebx]
%endif
	bits 32
	END
	TRY
	V86 0
	out 0xe8, al
	sldt ax
	bits 32
	END

; ---------------------------------------------------------------- tasks
	mov esi, text_task
	call puts
	mov eax, cr3
	mov [tss_b + 28], eax
	mov [tss_a + 28], eax
	mov ebx, 0xb
	call TSS_B:0
	mov ax, [gdt + TSS_A + 5]
	call hex4
	mov ax, [gdt + TSS_B + 5]
	call hex4s
	mov eax, cr0
	call hex4s
	str ax
	call hex4s
	mov ax, [tss_b]
	call hex4s
	clts
	call line
	TRY			; busy
	call TSS_A:0
	END
	; #DF by a task gate: its stack is gone, the task's is not
	mov word [idt + 8 * 8 + 2], TSS_B
	mov byte [idt + 8 * 8 + 5], 0x85
	mov dword [tss_b + 32], double_entry
	mov dword [tss_b + 56], STACK_IST
	mov dword [tss_b + 36], 2
	TRY
	mov dword [esp - 4], 0
	mov esp, 0x42100 - BASE
	ud2
	END
	jmp go_long

task_entry:
	mov al, 'T'
	out 0xe9, al
	pushfd
	pop eax
	call hex8
	mov eax, esp
	call hex4s
	str ax
	call hex4s
	mov eax, ebx
	call hex4s
	mov eax, cr0
	and eax, 8
	call hex4s
	clts
	call line
	iretd
	mov al, 'U'
	out 0xe9, al

double_entry:
	mov al, 'D'
	out 0xe9, al
	pop eax
	call hex8
	mov ax, [tss_b]
	call hex4s
	mov eax, [tss_a + 32]
	call hex4s
	mov eax, [tss_a + 56]
	call hex8s
	mov eax, cr2
	call hex8s
	call line
	clts
	; stay in this task: TR is TSS_B
	mov esp, [saved]
	pushfd
	and dword [esp], ~0x4000
	popfd
	jmp [resume]

; ---------------------------------------------------------------- long mode
go_long:
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	mov ax, FLAT0
	mov es, ax
	mov edi, PAGES
	xor eax, eax
	mov ecx, 0x4000
	rep stosd
	mov dword [es:PAGES], PAGES + 0x1000 + 7
	mov dword [es:PAGES + 0x1000], PAGES + 0x2000 + 7
	mov dword [es:PAGES + 0x1008], 0x87		; 1 GiB at 1 GiB: the first again
	mov dword [es:PAGES + 0x2000], PAGES + 0x3000 + 7
	mov dword [es:PAGES + 0x2008], 0x200087	; 2 MiB
	mov dword [es:PAGES + 0x2010], 0x402087	; 2 MiB with a reserved bit
	mov dword [es:PAGES + 0x2018], 0x600087
	mov dword [es:PAGES + 0x201c], 0x80000000	; not to be executed
	mov edi, PAGES + 0x3000
	mov eax, 7
	mov ecx, 0x200
.map:	mov [es:edi], eax
	add edi, 8
	add eax, 0x1000
	loop .map
	mov dword [es:PAGES + 0x3000 + 0x40 * 8], 0x40005
	mov dword [es:PAGES + 0x3000 + 0x41 * 8], 0x41003
	mov dword [es:PAGES + 0x3000 + 0x42 * 8], 0
	mov eax, cr4
	or al, 0x20
	mov cr4, eax
	mov eax, PAGES
	mov cr3, eax
	mov ecx, 0xc0000080
	mov eax, 0x901		; NXE, LME, SCE
	xor edx, edx
	wrmsr
	TRY
	mov eax, cr4
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	END
	; compatibility mode now
	mov ecx, 0xc0000080
	rdmsr
	call hex8
	call line
	lidt [idt64_pointer]
	jmp CODE64:dword L(long_mode)

	align 8
idt64_pointer: dw 0x81 * 16 + 15
	dd L(idt64)
gdt64_pointer: dw gdt_end - gdt - 1
	dq L(gdt)

	align 16
idt64:
%assign i 0
%rep 0x82
	dw (L(stubs64) + (i * 16)) & 0xffff
	dw CODE64
%if i == 8 || i == 2
	db 1
%else
	db 0
%endif
%if i == 0x30 || i == 0x80
	db 0xee
%elif i == 0x31
	db 0xef
%elif i == 0x2f
	db 0x8c			; a call gate is no interrupt gate
%else
	db 0x8e
%endif
	dw (L(stubs64) + (i * 16)) >> 16
	dd 0
	dd 0
%assign i i + 1
%endrep

	bits 64
	align 16
stubs64:
%assign i 0
%rep 0x82
	align 16
%if i == 8 || (i >= 10 && i <= 14) || i == 17
	push qword i
	jmp near common64
%else
	push qword 0
	push qword i
	jmp near common64
%endif
%assign i i + 1
%endrep
	align 16

common64:
	push rax
	push rcx
	push rbp
	mov rbp, rsp
	mov al, 'L'
	out 0xe9, al
	mov rax, [rbp + 24]
	call hexd
	mov rax, [rbp + 32]
	call hexds
	mov rax, [rbp + 48]
	call hexds
	mov al, ':'
	out 0xe9, al
	mov rax, [rbp + 40]
	call hexq
	mov rax, [rbp + 56]
	and eax, 0x77700
	call hexds
	mov rax, [rbp + 72]
	call hexds
	mov al, ':'
	out 0xe9, al
	mov rax, [rbp + 64]
	call hexq
	lea rax, [rbp + 80]
	call hexqs
	mov eax, ss
	call hexds
	cmp byte [rbp + 24], 14
	jne .line
	mov rax, cr2
	call hexqs
.line:	call lineq
	mov rsp, [rel saved]
	mov ecx, DATA64
	mov ss, ecx
	jmp [rel resume]

%macro PUT64 1
	push rax
	mov al, %1
	out 0xe9, al
	pop rax
%endmacro
lineq:	PUT64 10
	ret
hexqs:	PUT64 ' '
hexq:	push rcx
	mov ecx, 16
	jmp hexq_all
hexds:	PUT64 ' '
hexd:	push rcx
	mov ecx, 8
	shl rax, 32
hexq_all:
	rol rax, 4
	push rax
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .put
	add al, 'a' - '0' - 10
.put:	out 0xe9, al
	pop rax
	loop hexq_all
	pop rcx
	ret
putsq:	lodsb
	test al, al
	jz .end
	out 0xe9, al
	jmp putsq
.end:	ret

%macro TRY64 0
	%push try
	lea rax, [rel %$after]
	mov [rel resume], rax
	mov [rel saved], rsp
%endmacro
%macro END64 0
	PUT64 '-'
	call lineq
%$after:
	%pop
%endmacro
%macro RING64 0
	push qword USER64D | 3
	push qword (BASE + STACK3)
	push qword 2
	push qword USER64 | 3
	lea rax, [rel %%user]
	push rax
	iretq
%%user:
%endmacro

long_mode:
	mov esp, (BASE + STACK)
	mov eax, DATA64
	mov ss, eax
	mov ds, eax
	mov es, eax
	lgdt [rel gdt64_pointer]
	lidt [rel idt64_wide]
	lea rsi, [rel text_long]
	call putsq
	mov eax, TSS64
	ltr ax
	xor eax, eax
	lldt ax
	mov ax, cs
	call hexd
	mov rax, cr0
	call hexds
	call lineq
	TRY64
	ud2
	END64
	TRY64
	int3
	END64
	TRY64
	int 0x31
	END64
	TRY64			; a gate of a wrong type
	int 0x2f
	END64
	TRY64
	int 0x90
	END64
	TRY64
	int 2			; IST
	END64
	TRY64			; an address that is not canonical
	mov rax, 0x8000000000000000
	mov rax, [rax]
	END64
	TRY64
	mov rax, 0x8000000000000000
	mov rbp, rax
	mov rax, [rbp]		; by way of SS
	END64
	TRY64
	mov rax, 0x800000000000
	jmp rax
	END64
	TRY64
	mov rax, rsp
	mov rsp, 0x8000000000000000
	push rax
	END64
	TRY64
	mov rax, [0x42000]
	END64
	TRY64
	mov [0x42ff9], rax
	END64
	TRY64
	mov [0x40000], rax	; WP is on
	END64
	TRY64
	mov eax, 0x600000
	jmp rax			; NX
	END64
	TRY64
	mov eax, [0x400000]	; a reserved bit
	END64
	TRY64
	mov eax, [0x40000000 + 0x200000 + 0x1000]	; by the page of 1 GiB
	END64
	TRY64
	RING64
	mov eax, [0x41000]
	END64
	TRY64
	RING64
	mov eax, 0x41000
	jmp rax
	END64
	TRY64
	RING64
	int 0x80
	END64
	TRY64
	RING64
	cli
	END64
	TRY64
	RING64
	xor eax, eax
	mov ss, eax		; null is not for ring 3
	END64
	TRY64
	mov eax, 0
	mov ss, eax
	push rax
	pop rax
	ud2
	END64
	TRY64
	jmp far dword [rel .bad]
	END64
	TRY64
	jmp far dword [rel .good]
	END64
	jmp .after_far
	align 8
.bad:	dd 0
	dw BAD64
	align 8
.good:	dd L(.good_target)
	dw CODE64
.good_target:
	PUT64 'J'
	call lineq
.after_far:
	; SYSCALL
	mov ecx, 0xc0000081
	xor eax, eax
	mov edx, ((COMPAT3 | 3) << 16) | CODE64
	wrmsr
	inc ecx
	lea rax, [rel syscall_entry]
	xor edx, edx
	wrmsr
	inc ecx
	inc ecx
	mov eax, 0x4700
	wrmsr
	TRY64
	RING64
	mov eax, 0x1234
	syscall
	int 0x30
	END64
	TRY64
	mov ecx, 0xc0000082
	mov edx, 0x800000
	xor eax, eax
	wrmsr
	END64
	TRY64
	mov rcx, 0x800000000000
	o64 sysret
	END64
	TRY64
	RING64
	sysret
	END64
	; bases
	TRY64
	rdfsbase rax
	END64
	mov rax, cr4
	or eax, 0x10000
	mov cr4, rax
	mov eax, 0x11111111
	wrfsbase rax
	mov rax, 0xffff800000000000
	wrgsbase rax
	mov ecx, 0xc0000102
	mov eax, 0x22222222
	xor edx, edx
	wrmsr
	swapgs
	rdgsbase rax
	call hexq
	rdfsbase rax
	call hexqs
	rdmsr
	mov rax, rdx
	call hexqs
	swapgs
	mov ecx, 0xc0000101
	rdmsr
	mov eax, edx
	call hexds
	xor eax, eax
	mov gs, eax
	call lineq
	TRY64
	mov rax, 0x800000000000
	wrfsbase rax
	END64
	TRY64
	RING64
	swapgs
	END64
	TRY64
	RING64
	rdfsbase rax
	int 0x30
	END64
	TRY64
	mov rax, cr4
	and al, ~0x20		; PAE stays on in long mode
	UNCHECKED 3, mov cr4, rax
	END64
	TRY64
	mov rax, cr0
	btr rax, 31
	UNCHECKED 3, mov cr0, rax
	END64
	TRY64
	mov eax, 16
	mov cr8, rax
	END64
	mov eax, 5
	mov cr8, rax
	mov rax, cr8
	call hexq
	call lineq
	xor eax, eax
	mov cr8, rax
	TRY64
	push qword 0		; NT in long mode
	pushfq
	or dword [rsp], 0x4000
	popfq
	iretq
	END64
	pushfq
	and dword [rsp], ~0x4000
	popfq
	TRY64			; back to ring 0 with a null SS
	xor eax, eax
	push rax
	lea rcx, [rsp + 8]
	push rcx
	pushfq
	push qword CODE64
	lea rax, [rel .null_back]
	push rax
	iretq
.null_back:
	mov eax, ss
	call hexd
	mov eax, DATA64
	mov ss, eax
	END64
	TRY64
	RING64
	push qword DATA64	; a stack of ring 0 for ring 3
	push rsp
	pushfq
	push qword USER64 | 3
	push qword 0
	iretq
	END64
	; a page fault while a page fault is delivered
	TRY64
	mov esp, 0x42100
	mov eax, [0x42000]
	END64
	; and #GP in #PF's place: the IDT ends before
	; SYSENTER into long mode
	mov ecx, 0x174
	mov eax, CODE64
	xor edx, edx
	wrmsr
	inc ecx
	mov eax, (BASE + STACK)
	wrmsr
	inc ecx
	lea rax, [rel sysenter64_entry]
	wrmsr

; ---------------------------------------------------------------- compatibility mode
	lea rsi, [rel text_compat]
	call putsq
%macro COMPAT 0
	push qword DATA3 | 3
	push qword STACK3
	push qword 2
	push qword COMPAT3 | 3
	push qword %%user
	iretq
	bits 32
%%user:
%endmacro
	TRY64
	COMPAT
	mov eax, 0x55
	int 0x80
	bits 64
	END64
	TRY64
	COMPAT
	sysenter
	bits 64
	END64
	TRY64
	COMPAT
%ifdef TCG
	ud2
%else
	syscall			; as on Intel: none here
%endif
	bits 64
	END64
	TRY64
	COMPAT
	push cs
	push dword .compat_back
	retf
.compat_back:
	call (COMPAT3 | 3):.compat_far
.compat_far:
	mov ax, DATA3 | 3
	mov ds, ax
	mov al, [ds:0x41000 - BASE]
	bits 64
	END64
	TRY64
	COMPAT
	call (USER64 | 3):L(.wide)	; to 64-bit code by a far call
.wide:
	bits 64
	int 0x30
	END64
	TRY64
	COMPAT
	into
	dec eax
	inc eax
	xor eax, eax
	mov es, ax
	mov al, [es:0]		; null
	bits 64
	END64

	; the end
	PUT64 'Z'
	call lineq
	lidt [rel idt_none64]
	ud2

idt_none64: dw 0
	dq 0
idt64_wide: dw 0x81 * 16 + 15
	dq L(idt64)

syscall_entry:
	call hexq		; rax
	mov rax, rcx
	call hexqs
	mov rax, r11
	and eax, 0x77702
	call hexds
	pushfq
	pop rax
	and eax, 0x77700
	call hexds
	mov eax, ss
	call hexds
	mov eax, cs
	call hexds
	call lineq
	mov r11d, 0x202
	o64 sysret

sysenter64_entry:
	mov rax, rsp
	call hexq
	mov eax, ss
	call hexds
	mov eax, cs
	call hexds
	call lineq
	; back by SYSEXIT into compatibility mode
	mov ecx, STACK3
%ifdef TCG
	mov edx, L(.user)	; DS is null, which is not checked: to code that returns
%else
	mov edx, .user
%endif
	mov rax, (BASE + STACK - 256)
	sysexit
	bits 32
.user:	int 0x80
	bits 64

	times 0xfff0 - ($ - $$) db 0
	bits 16
	jmp 0xf000:start
	times 0x10000 - ($ - $$) db 0
