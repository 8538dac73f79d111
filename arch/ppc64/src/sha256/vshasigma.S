# The SHA-256 compression function (FIPS 180-4, 6.2.2) by the vector instructions of Power ISA
# 2.07, over four independent streams side by side.
#
# Words of a vector are counted from its most significant end: word n is of stream n. v0 to v7
# hold the chaining value, a to h; v8 to v23 the last sixteen words of the message schedule; v28
# and v29 the byte orders below; the rest is scratch. v0 to v31 are vs32 to vs63 to the VSX
# instructions, which load and store them; vs0 to vs7 hold the chaining value before the block.

.section .rodata.purgatory_sha256, "a", @progbits
.balign 16
# VPERM: words 0 and 1, then words 2 and 3, of two streams in turns. Message words are big-endian;
# LXVW4X loads words in the byte order that the code runs in.
.Lmessage_order:
.if {LITTLE_ENDIAN}
    .long   0x03020100, 0x13121110, 0x07060504, 0x17161514
    .long   0x0b0a0908, 0x1b1a1918, 0x0f0e0d0c, 0x1f1e1d1c
.else
    .long   0x00010203, 0x10111213, 0x04050607, 0x14151617
    .long   0x08090a0b, 0x18191a1b, 0x0c0d0e0f, 0x1c1d1e1f
.endif

.set FRAME, 32 + 192                # ELFv2 minimum, then v20 to v31, which are the caller's
.set SAVED, 32

# Loads or stores v20 to v31. Clobbers r12.
.macro callers_registers instruction
    addi    %r12, %r1, SAVED
.irp register, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63
    \instruction \register, 0, %r12
    addi    %r12, %r12, 16
.endr
.endm

# One round. \m0, \m1: what Maj is where v25 has a 0, and where it has a 1; \w: message word; \n:
# which word of v31 is the constant. Clobbers v24, v26, v27.
.macro round a, d, e, f, g, h, m0, m1, w, n
    vspltw  %v24, %v31, \n
    vshasigmaw %v26, \e, 1, 15      # Sigma1
    vadduwm %v24, %v24, \w
    vsel    %v27, \g, \f, \e        # Ch
    vadduwm \h, \h, %v24
    vadduwm \h, \h, %v27
    vshasigmaw %v24, \a, 1, 0       # Sigma0
    vadduwm \h, \h, %v26
    vsel    %v27, \m0, \m1, %v25
    vadduwm \d, \d, \h
    vadduwm \h, \h, %v24
    vadduwm \h, \h, %v27
.endm

# Two rounds. In the second, a and b have become b and c, so that one difference serves both: Maj is
# b where a and b agree, else c; and it is b where b and c agree, else a. Clobbers v24 to v27.
.macro two_rounds a, b, c, d, e, f, g, h, w0, w1, n0, n1
    vxor    %v25, \a, \b
    round   \a, \d, \e, \f, \g, \h, \b, \c, \w0, \n0
    round   \h, \c, \d, \e, \f, \g, \a, \h, \w1, \n1
.endm

# Eight rounds, after which the variables are back in their registers. \k0, \k1: registers with
# the offsets of the constants from r12. Clobbers v24 to v27, v31.
.macro eight_rounds w0, w1, w2, w3, w4, w5, w6, w7, k0, k1
    lxvw4x  63, \k0, %r12
    two_rounds %v0, %v1, %v2, %v3, %v4, %v5, %v6, %v7, \w0, \w1, 0, 1
    two_rounds %v6, %v7, %v0, %v1, %v2, %v3, %v4, %v5, \w2, \w3, 2, 3
    lxvw4x  63, \k1, %r12
    two_rounds %v4, %v5, %v6, %v7, %v0, %v1, %v2, %v3, \w4, \w5, 0, 1
    two_rounds %v2, %v3, %v4, %v5, %v6, %v7, %v0, %v1, \w6, \w7, 2, 3
.endm

# The next message word, from the last sixteen (\w0 oldest), into \w0. Clobbers v24, v26.
.macro schedule w0, w1, w9, w14
    vshasigmaw %v24, \w1, 0, 0      # sigma0
    vshasigmaw %v26, \w14, 0, 15    # sigma1
    vadduwm \w0, \w0, \w9
    vadduwm \w0, \w0, %v24
    vadduwm \w0, \w0, %v26
.endm

# Rows become columns: words 0 to 3 of v24 to v27 become v\c0 to v\c3, which may be the same
# registers. \high and \low merge words 0 and 1, and words 2 and 3, of two registers. Clobbers v24
# to v27, v30, v31.
.macro transpose c0, c1, c2, c3, high, low
    \high   %v30, %v24, %v25
    \high   %v31, %v26, %v27
    \low    %v24, %v24, %v25
    \low    %v27, %v26, %v27
    xxpermdi 32 + \c2, 56, 59, 0
    xxpermdi 32 + \c3, 56, 59, 3
    xxpermdi 32 + \c0, 62, 63, 0
    xxpermdi 32 + \c1, 62, 63, 3
.endm

.macro merge_high_message to, first, second
    vperm   \to, \first, \second, %v28
.endm

.macro merge_low_message to, first, second
    vperm   \to, \first, \second, %v29
.endm

# Four words of each stream's block, into v\w0 to v\w3; \offset: register with their offset.
# Clobbers v24 to v27, v30, v31.
.macro load_words w0, w1, w2, w3, offset
    lxvw4x  56, \offset, %r4
    lxvw4x  57, \offset, %r5
    lxvw4x  58, \offset, %r6
    lxvw4x  59, \offset, %r7
    transpose \w0, \w1, \w2, \w3, merge_high_message, merge_low_message
.endm

# Loads or stores, as v24 to v27, the half of every stream's chaining value that starts \offset
# bytes from r3. Clobbers r12.
.macro half_states instruction, offset
    addi    %r12, %r3, \offset
    \instruction 56, 0, %r12
    \instruction 57, %r10, %r12
    addi    %r12, %r12, 64
    \instruction 58, 0, %r12
    \instruction 59, %r10, %r12
.endm

# A section of its own: the only one in which the build's audit allows vectors.
.section .text.digest, "ax", @progbits
.balign 32
.globl purgatory_sha256_four
.hidden purgatory_sha256_four
.type purgatory_sha256_four, @function
# void purgatory_sha256_four(uint32_t states[4][8], const uint8_t *first, const uint8_t *second,
#                            const uint8_t *third, const uint8_t *fourth, size_t count)
# in: r3 states, r4 to r7 the streams' blocks, r8 number of blocks of each, r2 the TOC; MSR[VEC]
# and MSR[VSX] are set. out: states updated. clobbers: r0, r4 to r12, ctr, cr0, vs0 to vs7, v0 to
# v19.
purgatory_sha256_four:
    cmpdi   %r8, 0
    beqlr
    stdu    %r1, -FRAME(%r1)
    callers_registers stxvw4x
    li      %r9, 16
    li      %r10, 32
    li      %r11, 48
    half_states lxvw4x, 0
    transpose 0, 1, 2, 3, vmrghw, vmrglw
    half_states lxvw4x, 16
    transpose 4, 5, 6, 7, vmrghw, vmrglw
    addis   %r12, %r2, .Lmessage_order@toc@ha
    addi    %r12, %r12, .Lmessage_order@toc@l
    lxvw4x  60, 0, %r12
    lxvw4x  61, %r9, %r12

.Lblock:
.irp variable, 0, 1, 2, 3, 4, 5, 6, 7
    xxlor   \variable, 32 + \variable, 32 + \variable
.endr
    load_words 8, 9, 10, 11, 0
    load_words 12, 13, 14, 15, %r9
    load_words 16, 17, 18, 19, %r10
    load_words 20, 21, 22, 23, %r11

    addis   %r12, %r2, {ROUND_CONSTANTS}@toc@ha
    addi    %r12, %r12, {ROUND_CONSTANTS}@toc@l
    li      %r0, 4
    mtctr   %r0
.Lsixteen_rounds:
    eight_rounds %v8, %v9, %v10, %v11, %v12, %v13, %v14, %v15, 0, %r9
    eight_rounds %v16, %v17, %v18, %v19, %v20, %v21, %v22, %v23, %r10, %r11
    bdz     .Lend_of_block
    schedule %v8, %v9, %v17, %v22
    schedule %v9, %v10, %v18, %v23
    schedule %v10, %v11, %v19, %v8
    schedule %v11, %v12, %v20, %v9
    schedule %v12, %v13, %v21, %v10
    schedule %v13, %v14, %v22, %v11
    schedule %v14, %v15, %v23, %v12
    schedule %v15, %v16, %v8, %v13
    schedule %v16, %v17, %v9, %v14
    schedule %v17, %v18, %v10, %v15
    schedule %v18, %v19, %v11, %v16
    schedule %v19, %v20, %v12, %v17
    schedule %v20, %v21, %v13, %v18
    schedule %v21, %v22, %v14, %v19
    schedule %v22, %v23, %v15, %v20
    schedule %v23, %v8, %v16, %v21
    addi    %r12, %r12, 64
    b       .Lsixteen_rounds

.Lend_of_block:
.irp variable, 0, 1, 2, 3, 4, 5, 6, 7
    xxlor   56, \variable, \variable
    vadduwm %v\variable, %v\variable, %v24
.endr
.irp stream, %r4, %r5, %r6, %r7
    addi    \stream, \stream, 64
.endr
    addi    %r8, %r8, -1
    cmpdi   %r8, 0
    bne     .Lblock

.irp variable, 0, 1, 2, 3
    xxlor   56 + \variable, 32 + \variable, 32 + \variable
.endr
    transpose 24, 25, 26, 27, vmrghw, vmrglw
    half_states stxvw4x, 0
.irp variable, 0, 1, 2, 3
    xxlor   56 + \variable, 36 + \variable, 36 + \variable
.endr
    transpose 24, 25, 26, 27, vmrghw, vmrglw
    half_states stxvw4x, 16
    callers_registers lxvw4x
    addi    %r1, %r1, FRAME
    blr
.size purgatory_sha256_four, . - purgatory_sha256_four
