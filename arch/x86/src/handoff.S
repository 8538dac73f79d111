# The last instructions of purgatory before a kernel that is entered in 32-bit protected mode, and
# the GDT for it.
#
# On entry we know: 32-bit protected mode, paging off, interrupts off; the GDT is the one below,
# CS is BOOT_CS; edi has the address of a Handoff (purgatory/src/params.rs).
# We must: leave the registers as the Handoff says, IF=0 and DF=0, and a GDT that stays usable
# until the next kernel loads its own (kernel 6.1 Documentation/x86/boot.rst, "32-bit Boot
# Protocol": __BOOT_CS 0x10, __BOOT_DS 0x18). Ours lies in this image, which nothing overwrites
# before that.

.set FLAT_DS, 0x18

.section .text.code32, "ax", @progbits
.code32
.globl purgatory_handoff_flat
.hidden purgatory_handoff_flat
.type purgatory_handoff_flat, @function
# in: edi. out: the next kernel; registers as in the low halves of the Handoff's (esp 0:
# purgatory's own stack), segments but CS FLAT_DS, no IDT. The doubleword below the given esp is
# overwritten.
purgatory_handoff_flat:
    cli
    cld
    mov     eax, FLAT_DS
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     fs, eax
    mov     gs, eax

    # Ours is purgatory's, and may be for 64-bit mode: from now on an exception resets the machine.
    push    0
    push    0
    lidt    [esp]
    add     esp, 8

    mov     eax, [edi + {ESP}]
    test    eax, eax
    jz      .Lown_stack
    mov     esp, eax
.Lown_stack:
    push    dword ptr [edi + {ENTRY}]
    mov     eax, [edi + {EAX}]
    mov     ebx, [edi + {EBX}]
    mov     ecx, [edi + {ECX}]
    mov     edx, [edi + {EDX}]
    mov     esi, [edi + {ESI}]
    mov     ebp, [edi + {EBP}]
    mov     edi, [edi + {EDI}]
    ret
.size purgatory_handoff_flat, . - purgatory_handoff_flat
.if {LONG_MODE}
.code64
.endif

.section .rodata.purgatory_gdt_flat, "a", @progbits
.balign 8
.globl purgatory_gdt_flat
.hidden purgatory_gdt_flat
.type purgatory_gdt_flat, @object
# Four descriptors. The accessed bit is set, so that the CPU never writes here.
purgatory_gdt_flat:
    .quad   0
    .quad   0
    .quad   0x00cf9b000000ffff      # BOOT_CS: code, 32-bit, 4 GiB, present, ring 0
    .quad   0x00cf93000000ffff      # BOOT_DS: data, writable, 4 GiB, present, ring 0
.size purgatory_gdt_flat, . - purgatory_gdt_flat
