/*
 * The first instructions of a payload, 32-bit or 64-bit.
 *
 * On entry: the state that the protocol promises, and nothing else: no stack, so the registers are
 * saved one by one, at addresses that are known when it is linked.
 */
#ifdef __x86_64__
#define A %rax
#define B %rbx
#define C %rcx
#define D %rdx
#define SI %rsi
#define DI %rdi
#define BP %rbp
#define SP %rsp
#define PUSHF pushfq
#else
#define A %eax
#define B %ebx
#define C %ecx
#define D %edx
#define SI %esi
#define DI %edi
#define BP %ebp
#define SP %esp
#define PUSHF pushfl
#endif

#ifdef MULTIBOOT
	/* Multiboot 0.6.96, 3.1: modules on pages, memory information, with -DFLAT the addresses. */
	.section .header, "a"
	.balign 4
#ifdef FLAT
#define FLAGS 0x00010003
#else
#define FLAGS 0x00000003
#endif
header:
	.long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
#ifdef FLAT
	.long header, load_start, load_end, bss_end, entry
#endif
#endif

#ifdef MULTIBOOT2
	/* Multiboot2 2.0, 3.1: information request, module alignment, end. */
	.section .header, "a"
	.balign 8
header:
	.long 0xe85250d6, 0, header_end - header, -(0xe85250d6 + header_end - header)
	.short 1, 0
	.long 20, 1, 4, 6
	.balign 8
	.short 6, 0
	.long 8
	.short 0, 0
	.long 8
header_end:
#endif

#ifdef LINUX
	/*
	 * Documentation/x86/boot.rst, "The Real-Mode Kernel Header": a bzImage of this protocol that
	 * must be at its preferred address. Its setup code is never run.
	 */
	.section .header, "a"
	.org 0x1f1
	.byte 1				/* setup_sects */
	.short 0			/* root_flags */
	.long syssize
	.short 0, 0, 0			/* ram_size, vid_mode, root_dev */
	.short 0xaa55			/* boot_flag */
	.byte 0xeb, header_end - . - 1	/* jump */
	.ascii "HdrS"
	.short LINUX			/* version */
	.org 0x211
	.byte 1				/* loadflags: LOADED_HIGH */
	.org 0x22c
#if LINUX > 0x202
	.long 0x7fffffff		/* initrd_addr_max */
	.long 0x100000			/* kernel_alignment */
	.byte 0, 20			/* relocatable_kernel, min_alignment */
	.short 3			/* xloadflags: KERNEL_64, CAN_BE_LOADED_ABOVE_4G */
	.long 2047			/* cmdline_size */
	.org 0x258
	.quad 0x100000			/* pref_address */
	.long 0x100000			/* init_size */
	.long 0				/* handover_offset */
#endif
header_end:
	.org 0x400
#endif

	.section .text.entry, "ax"
#if defined(LINUX) && defined(__x86_64__)
	.org 0x200			/* the 64-bit entry */
#endif
	.globl entry
entry:
	mov	A, registers + 0
	mov	B, registers + 8
	mov	C, registers + 16
	mov	D, registers + 24
	mov	SI, registers + 32
	mov	DI, registers + 40
	mov	BP, registers + 48
	mov	SP, registers + 56
	mov	$stack_end, SP
	PUSHF
	pop	A
	mov	A, registers + 64
	mov	%cs, %eax
	mov	%ax, registers + 72
	mov	%ds, %eax
	mov	%ax, registers + 74
	mov	%es, %eax
	mov	%ax, registers + 76
	mov	%fs, %eax
	mov	%ax, registers + 78
	mov	%gs, %eax
	mov	%ax, registers + 80
	mov	%ss, %eax
	mov	%ax, registers + 82
	call	report
1:	hlt
	jmp	1b

	/* In .data: .bss is examined. */
	.data
	.balign 16
	.globl registers
registers:
	.fill	96, 1, 0
	.fill	8192, 1, 0
stack_end:

	.section .note.GNU-stack, "", @progbits
