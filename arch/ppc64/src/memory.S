# Copies and clears memory, address 0 included, which is no valid pointer in Rust.

.section .text.purgatory_memory, "ax", @progbits
.globl purgatory_copy
.hidden purgatory_copy
.type purgatory_copy, @function
# in: r3 destination, r4 source, r5 bytes; they do not overlap. clobbers: r0, r3, r4, r6, ctr, cr0.
purgatory_copy:
    srdi.   %r6, %r5, 3
    beq     .Lcopy_bytes
    mtctr   %r6
.Lcopy_word:
    ld      %r0, 0(%r4)
    std     %r0, 0(%r3)
    addi    %r4, %r4, 8
    addi    %r3, %r3, 8
    bdnz    .Lcopy_word
.Lcopy_bytes:
    andi.   %r6, %r5, 7
    beqlr
    mtctr   %r6
.Lcopy_byte:
    lbz     %r0, 0(%r4)
    stb     %r0, 0(%r3)
    addi    %r4, %r4, 1
    addi    %r3, %r3, 1
    bdnz    .Lcopy_byte
    blr
.size purgatory_copy, . - purgatory_copy

.globl purgatory_zero
.hidden purgatory_zero
.type purgatory_zero, @function
# in: r3 destination, r4 bytes. clobbers: r0, r3, r5, ctr, cr0.
purgatory_zero:
    li      %r0, 0
    srdi.   %r5, %r4, 5
    beq     .Lzero_bytes
    mtctr   %r5
.Lzero_words:
    std     %r0, 0(%r3)
    std     %r0, 8(%r3)
    std     %r0, 16(%r3)
    std     %r0, 24(%r3)
    addi    %r3, %r3, 32
    bdnz    .Lzero_words
.Lzero_bytes:
    andi.   %r5, %r4, 31
    beqlr
    mtctr   %r5
.Lzero_byte:
    stb     %r0, 0(%r3)
    addi    %r3, %r3, 1
    bdnz    .Lzero_byte
    blr
.size purgatory_zero, . - purgatory_zero
