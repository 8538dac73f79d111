# The last instructions of purgatory. Both ways take the address of a Handoff
# (purgatory/src/params.rs) in rdi.
#
# On entry we know: 64-bit mode on the identity map, GDT of entry.S, interrupts off, CR0 and CR4
# as the dead kernel left them.
# We must: leave the registers as the Handoff says, IF=0 and DF=0, and descriptor tables that
# stay usable until the next kernel loads its own. Ours lie in this image, which nothing
# overwrites before that.

.set BOOT_CS, 0x10
.set BOOT_DS, 0x18
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
# mode; registers as in the low halves of the Handoff's (rsp 0: purgatory's own stack), paging
# off, EFER.LME=0, CR4=0, CS=BOOT_CS, other segments BOOT_DS, flat; no IDT. The 64 bytes below
# the given rsp are overwritten.
purgatory_handoff_protected:
    cli
    cld
    mov     rax, [rdi + {RSP}]
    test    rax, rax
    cmovnz  rsp, rax

    # The frame that purgatory_code32 pops: POPAD's eight doublewords, then the entry.
    sub     rsp, 36
    mov     eax, [rdi + {RDI}]
    mov     [rsp], eax
    mov     eax, [rdi + {RSI}]
    mov     [rsp + 4], eax
    mov     eax, [rdi + {RBP}]
    mov     [rsp + 8], eax
    mov     eax, [rdi + {RBX}]      # [rsp + 12] is esp's place, which POPAD skips
    mov     [rsp + 16], eax
    mov     eax, [rdi + {RDX}]
    mov     [rsp + 20], eax
    mov     eax, [rdi + {RCX}]
    mov     [rsp + 24], eax
    mov     eax, [rdi + {RAX}]
    mov     [rsp + 28], eax
    mov     eax, [rdi + {ENTRY}]
    mov     [rsp + 32], eax

    # Descriptor tables: a GDT whose BOOT_CS is 32-bit, and no IDT, because ours is for 64-bit
    # mode.
    lea     rax, [rip + purgatory_gdt32]
    push    rax
    sub     rsp, 8
    mov     word ptr [rsp + 6], GDT_LIMIT
    lgdt    [rsp + 6]
    mov     qword ptr [rsp + 8], 0
    mov     word ptr [rsp + 6], 0
    lidt    [rsp + 6]
    add     rsp, 16

    push    BOOT_CS
    lea     rax, [rip + purgatory_code32]
    push    rax
    retfq
.size purgatory_handoff_protected, . - purgatory_handoff_protected

.section .text.code32, "ax", @progbits
.code32
.type purgatory_code32, @function
# in: compatibility mode on the identity map, [esp] the frame. out: as above.
purgatory_code32:
    mov     eax, BOOT_DS
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     fs, eax
    mov     gs, eax

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
    popad
    ret
.size purgatory_code32, . - purgatory_code32
.code64

.section .rodata.purgatory_gdt32, "a", @progbits
.balign 8
# Flat segments. The accessed bit is set, so that the CPU never writes here.
purgatory_gdt32:
    .quad   0
    .quad   0
    .quad   0x00cf9b000000ffff      # BOOT_CS: code, 32-bit, 4 GiB, present, ring 0
    .quad   0x00cf93000000ffff      # BOOT_DS: data, writable, 4 GiB, present, ring 0
