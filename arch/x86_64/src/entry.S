# Purgatory's first instructions, and its stack.
#
# On entry we know (kernel 6.1 arch/x86/kernel/relocate_kernel_64.S, identity_mapped):
#   - 64-bit mode, CPL 0, interrupts off, one CPU; the others are stopped;
#   - CR3: page tables of the kernel's making that map RAM and this image one to one; CR4: PAE,
#     LA57 if the dead kernel had it, MCE on TDX, nothing else (no OSFXSR: SSE faults); CR0: PE
#     and PG set, WP, AM, TS and EM clear;
#   - general registers are zero; rsp is in a page of the kernel's that is not ours;
#   - GDTR and IDTR describe nothing: any exception and any segment load is a triple fault.
# The loader has put the image at a page-aligned address, relocated it, and filled the parameter
# block.
#
# We must, before any Rust code: clear .bss, have a stack, and descriptor tables of our own, with
# the selectors that the 64-bit boot protocol wants the next kernel to be entered with (kernel 6.1
# Documentation/x86/boot.rst: __BOOT_CS 0x10, __BOOT_DS 0x18). .bss was zero when the image was
# loaded, but no digest covers it, and a lock that a stray write has taken would be waited for
# for ever.

.set BOOT_CS, 0x10
.set BOOT_DS, 0x18
.set GDT_LIMIT, 4 * 8 - 1
# The most seen in use is 912 bytes: digests by either code, both consoles, a damaged region.
.set STACK_SIZE, 4096

.section .text.entry, "ax", @progbits
.globl purgatory_entry
.type purgatory_entry, @function
# in: nothing. out: does not return. clobbers: everything.
purgatory_entry:
    cli
    cld
    lea     rdi, [rip + purgatory_bss]
    lea     rcx, [rip + purgatory_bss_end]
    sub     rcx, rdi
    xor     eax, eax
    rep stosb
    lea     rsp, [rip + purgatory_stack_end]

    # GDTR: the limit, then the address, which only run time knows.
    sub     rsp, 16
    lea     rax, [rip + purgatory_gdt]
    mov     word ptr [rsp + 6], GDT_LIMIT
    mov     qword ptr [rsp + 8], rax
    lgdt    [rsp + 6]
    add     rsp, 16

    # A far return is the one way to load CS here.
    push    BOOT_CS
    lea     rax, [rip + .Lown_cs]
    push    rax
    retfq
.Lown_cs:
    mov     eax, BOOT_DS
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     fs, eax
    mov     gs, eax

    xor     ebp, ebp
    lea     rdi, [rip + purgatory_params]
    call    purgatory_start
    ud2
.size purgatory_entry, . - purgatory_entry

.section .rodata.purgatory_gdt, "a", @progbits
.balign 8
# Flat segments. The accessed bit is set, so that the CPU never writes here.
purgatory_gdt:
    .quad   0
    .quad   0
    .quad   0x00af9b000000ffff      # BOOT_CS: code, 64-bit, present, ring 0
    .quad   0x00cf93000000ffff      # BOOT_DS: data, writable, 4 GiB, present, ring 0

.section .bss.purgatory_stack, "aw", @nobits
.balign 16
    .zero   STACK_SIZE
purgatory_stack_end:
