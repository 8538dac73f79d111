# The last instructions of purgatory in 64-bit mode. Both ways take the address of a Handoff
# (purgatory/src/params.rs) in rdi.
#
# On entry we know: 64-bit mode on the identity map, GDT of entry.S, interrupts off, CR0 and CR4
# as the dead kernel left them.
# We must: leave the registers as the Handoff says, IF=0 and DF=0, and descriptor tables that
# stay usable until the next kernel loads its own. Ours lie in this image, which nothing
# overwrites before that.

.set BOOT_CS, 0x10
.set GDT_LIMIT, 4 * 8 - 1

.section .text.purgatory_handoff_long, "ax", @progbits
.globl purgatory_handoff_long
.hidden purgatory_handoff_long
.type purgatory_handoff_long, @function
# in: rdi. out: the next kernel in 64-bit mode; registers as in the Handoff (rsp 0: purgatory's
# own stack), r8 to r15 zero, CS=BOOT_CS, other segments BOOT_DS, page tables as found. The
# quadword below the given rsp is overwritten.
purgatory_handoff_long:
    mov     rax, [rdi + {RSP}]
    test    rax, rax
    cmovnz  rsp, rax
    push    [rdi + {ENTRY}]
    xor     r8d, r8d
    xor     r9d, r9d
    xor     r10d, r10d
    xor     r11d, r11d
    xor     r12d, r12d
    xor     r13d, r13d
    xor     r14d, r14d
    xor     r15d, r15d
    mov     rax, [rdi + {RAX}]
    mov     rbx, [rdi + {RBX}]
    mov     rcx, [rdi + {RCX}]
    mov     rdx, [rdi + {RDX}]
    mov     rsi, [rdi + {RSI}]
    mov     rbp, [rdi + {RBP}]
    mov     rdi, [rdi + {RDI}]
    cli
    cld
    ret
.size purgatory_handoff_long, . - purgatory_handoff_long

.section .text.purgatory_handoff_protected, "ax", @progbits
.globl purgatory_handoff_protected
.hidden purgatory_handoff_protected
.type purgatory_handoff_protected, @function
# in: rdi; this image and the given rsp below 4 GiB. out: the next kernel in 32-bit protected
# mode, by purgatory_handoff_flat (arch/x86/src/handoff.S); paging off, EFER.LME=0, CR4=0.
purgatory_handoff_protected:
    cli
    cld
    # A GDT whose BOOT_CS is 32-bit.
    lea     rax, [rip + purgatory_gdt_flat]
    push    rax
    sub     rsp, 8
    mov     word ptr [rsp + 6], GDT_LIMIT
    lgdt    [rsp + 6]

    push    BOOT_CS
    lea     rax, [rip + purgatory_leave_long_mode]
    push    rax
    retfq
.size purgatory_handoff_protected, . - purgatory_handoff_protected

.section .text.code32, "ax", @progbits
.code32
.type purgatory_leave_long_mode, @function
# in: compatibility mode on the identity map; edi. out: as above; edi.
# clobbers: eax, ecx, edx, flags.
purgatory_leave_long_mode:
    # Paging first: with it off, long mode is inactive, and only then may EFER.LME and CR4.LA57
    # change.
    mov     eax, cr0
    btr     eax, 31                 # CR0.PG
    mov     cr0, eax
    mov     ecx, 0xc0000080         # EFER
    rdmsr
    btr     eax, 8                  # EFER.LME
    wrmsr
    xor     eax, eax
    mov     cr4, eax
    jmp     purgatory_handoff_flat
.size purgatory_leave_long_mode, . - purgatory_leave_long_mode
.code64
