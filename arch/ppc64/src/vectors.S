# Exceptions. Their vectors are at fixed places in low memory (Power ISA 3.0B book III 6.5), where
# exceptions.rs copies the code that is here.
#
# On entry we know: real mode, 64-bit, interrupts off; SRR0 says what was interrupted (HSRR0 for
# the hypervisor's own exceptions). Which byte order it is, the hypervisor or LPCR decided for the
# dead kernel: it need not be the image's.
# We must: call purgatory_exception(vector, srr0, dar) on purgatory's TOC and stack. It does not
# return, so no register is saved, and the stack starts anew. The exception is a system reset (a
# watchdog, a button), which is no fault of purgatory's and not worth losing the dump for; we go
# on.

.section .rodata.purgatory_vectors, "a", @progbits
.balign 4
.globl purgatory_vector
.hidden purgatory_vector
# For every vector but one. out: lr less than VECTOR_STEP (exceptions.rs) after the vector.
purgatory_vector:
    tdi     0, 0, OTHER_ORDER_SKIPS
    bla     {COMMON}
    other_order (0x48000003 | {COMMON_OTHER_ORDER})     # bla COMMON_OTHER_ORDER

.globl purgatory_reset_vector
.hidden purgatory_reset_vector
# For system reset.
purgatory_reset_vector:
    tdi     0, 0, OTHER_ORDER_SKIPS
    rfid
    other_order 0x4c000024          # rfid

.globl purgatory_vector_common
.hidden purgatory_vector_common
# For address COMMON. The doubleword at HANDLER holds the address of purgatory_exception_entry.
# in: lr. out: r3 what was lr, r4 SRR0, r12 purgatory_exception_entry, where it goes.
purgatory_vector_common:
    mflr    %r3
    mfsrr0  %r4
.Lcommon_native:
    ld      %r12, {HANDLER}(0)
    mtctr   %r12
    bctr

    .org    purgatory_vector_common + {COMMON_OTHER_ORDER} - {COMMON}
    # The same from the other byte order: SRR0 is read before RFID needs it.
    other_order 0x7c6802a6          # mflr r3
    other_order 0x7c9a02a6          # mfsrr0 r4
    other_order 0x7ca000a6          # mfmsr r5
    other_order 0x68a50001          # xori r5, r5, MSR_LE
    other_order 0x7cbb03a6          # mtsrr1 r5
    other_order (0x38a00008 | {COMMON})                 # li r5, .Lcommon_native as copied
    other_order 0x7cba03a6          # mtsrr0 r5
    other_order 0x4c000024          # rfid

    .org    purgatory_vector_common + {COMMON_SIZE}

.section .text.purgatory_exception_entry, "ax", @progbits
.set FRAME_MIN, 32                  # ELFv2 ABI: back chain, CR, LR and TOC save words
.globl purgatory_exception_entry
.hidden purgatory_exception_entry
.type purgatory_exception_entry, @function
# in: r3 an address less than VECTOR_STEP after the vector, r4 SRR0, r12 address of this.
# out: does not return. clobbers: everything.
purgatory_exception_entry:
    addis   %r2, %r12, .TOC.-purgatory_exception_entry@ha
    addi    %r2, %r2, .TOC.-purgatory_exception_entry@l
    # Is it our CPU? One that the dead kernel could not stop must not use our stack.
    mfsprg  %r5, 0
    cmpd    %r5, %r12
    bne     .Lforeign
    addis   %r1, %r2, purgatory_stack_end@toc@ha
    addi    %r1, %r1, purgatory_stack_end@toc@l
    li      %r0, 0
    stdu    %r0, -FRAME_MIN(%r1)
    clrrdi  %r3, %r3, {VECTOR_STEP_BITS}
    mfdar   %r5
    bl      purgatory_exception
    nop
.Lforeign:
    or      %r31, %r31, %r31        # very low priority
    b       .Lforeign
.size purgatory_exception_entry, . - purgatory_exception_entry

.section .bss.purgatory_saved, "aw", @nobits
.balign 8
.globl purgatory_saved
.hidden purgatory_saved
# What was in low memory.
purgatory_saved:
    .zero   {SAVED_SIZE}
