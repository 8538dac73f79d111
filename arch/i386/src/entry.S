# Purgatory's first instructions, and its stack.
#
# On entry we know (kernel 6.1 arch/x86/kernel/relocate_kernel_32.S, identity_mapped):
#   - 32-bit protected mode, CPL 0, interrupts off, one CPU; the others are stopped;
#   - CR0: PE set, PG, WP, AM, TS and EM clear; CR4, where there is one: 0 (no OSFXSR: SSE faults);
#   - segments are flat; GDTR and IDTR describe nothing: any exception and any segment load is a
#     triple fault;
#   - general registers are zero; esp is near the top of a page of the kernel's that is not ours,
#     and that nobody needs any more.
# The loader has put the image at a page-aligned address, relocated it, and filled the parameter
# block.
#
# We must, before any Rust code: clear .bss, have a stack, and descriptor tables of our own, with
# the selectors that the next kernel is to be entered with: those of purgatory_gdt_flat
# (arch/x86/src/handoff.S). .bss was zero when the image was loaded, but no digest covers it, and a
# lock that a stray write has taken would be waited for for ever.

.set BOOT_CS, 0x10
.set BOOT_DS, 0x18
.set GDT_LIMIT, 4 * 8 - 1
.set STACK_SIZE, 4096

.section .text.entry, "ax", @progbits
.globl purgatory_entry
.type purgatory_entry, @function
# in: esp. out: does not return. clobbers: everything.
purgatory_entry:
    cli
    cld
    # Addresses are relative to the GOT's; its relocation counts from the second instruction.
    call    .Lentry_here
.Lentry_here:
    pop     ebx
    add     ebx, offset _GLOBAL_OFFSET_TABLE_ + 1
    lea     edi, [ebx + purgatory_bss@GOTOFF]
    lea     ecx, [ebx + purgatory_bss_end@GOTOFF]
    sub     ecx, edi
    xor     eax, eax
    rep stosb
    lea     esp, [ebx + purgatory_stack_end@GOTOFF]

    # GDTR: the limit, then the address, which only run time knows.
    lea     eax, [ebx + purgatory_gdt_flat@GOTOFF]
    push    eax
    push    GDT_LIMIT << 16
    lgdt    [esp + 2]
    add     esp, 8

    # A far return loads CS without knowing at build time where to.
    lea     eax, [ebx + .Lown_cs@GOTOFF]
    push    BOOT_CS
    push    eax
    retf
.Lown_cs:
    mov     eax, BOOT_DS
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     fs, eax
    mov     gs, eax

    xor     ebp, ebp
    lea     eax, [ebx + purgatory_params@GOTOFF]
    # A C function expects esp to be a multiple of 16 before it is called.
    sub     esp, 12
    push    eax
    call    purgatory_start
    ud2
.size purgatory_entry, . - purgatory_entry

.section .bss.purgatory_stack, "aw", @nobits
.balign 16
    .zero   STACK_SIZE
purgatory_stack_end:
