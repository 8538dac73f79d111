# The SHA-256 compression function (FIPS 180-4, 6.2.2) by the vector instructions of Power ISA
# 2.07, over two independent streams side by side.
#
# Words of a vector are counted from its most significant end. A register of the chaining value
# holds one of a to h: of the first stream in word 0, of the second in word 1; words 2 and 3 hold
# nothing. A register of the message schedule holds two successive words of either stream:
# first t, second t, first t + 1, second t + 1; eight of them are the last sixteen words.

.section .rodata.purgatory_sha256, "a", @progbits
.balign 16
# VPERM: words 0 and 1, then words 2 and 3, of both streams, as the schedule is laid out. Message
# words are big-endian; LXVW4X loads words in the byte order that the code runs in.
.Llay_out:
.if {LITTLE_ENDIAN}
    .long   0x03020100, 0x13121110, 0x07060504, 0x17161514
    .long   0x0b0a0908, 0x1b1a1918, 0x0f0e0d0c, 0x1f1e1d1c
.else
    .long   0x00010203, 0x10111213, 0x04050607, 0x14151617
    .long   0x08090a0b, 0x18191a1b, 0x0c0d0e0f, 0x1c1d1e1f
.endif

.set FRAME, 32 + 128                # ELFv2 minimum, then the chaining value before the block
.set SAVED, 32

# v0 to v31 are vs32 to vs63 to the VSX instructions, which load and store them.
.set vs_a, 32
.set vs_b, 33
.set vs_c, 34
.set vs_d, 35
.set vs_e, 36
.set vs_f, 37
.set vs_g, 38
.set vs_h, 39
.set vs_t0, 48
.set vs_t1, 49
.set vs_t2, 50
.set vs_t3, 51

# One round; \wk holds the message word + constant. Clobbers v16, v17.
.macro round a, b, c, d, e, f, g, h, wk
    vshasigmaw %v16, \e, 1, 15      # Sigma1
    vadduwm \h, \h, \wk
    vsel    %v17, \g, \f, \e        # Ch
    vadduwm \h, \h, %v16
    vxor    %v16, \a, \b
    vadduwm \h, \h, %v17
    vshasigmaw %v17, \a, 1, 0       # Sigma0
    vsel    %v16, \b, \c, %v16      # Maj: b where a and b agree, else c
    vadduwm \d, \d, \h
    vadduwm \h, \h, %v17
    vadduwm \h, \h, %v16
.endm

# Four rounds with the words in \w0 and \w1; \k: register with the offset of the constants from
# r7.
.macro four_rounds a, b, c, d, e, f, g, h, w0, w1, k
    lxvw4x  vs_t3, \k, %r7
    vmrghw  %v18, %v19, %v19
    vadduwm %v18, %v18, \w0
    round   \a, \b, \c, \d, \e, \f, \g, \h, %v18
    vsldoi  %v18, %v18, %v18, 8
    round   \h, \a, \b, \c, \d, \e, \f, \g, %v18
    vmrglw  %v18, %v19, %v19
    vadduwm %v18, %v18, \w1
    round   \g, \h, \a, \b, \c, \d, \e, \f, %v18
    vsldoi  %v18, %v18, %v18, 8
    round   \f, \g, \h, \a, \b, \c, \d, \e, %v18
.endm

# The next two message words, from the last sixteen (\w0 oldest), into \w0. Clobbers v16, v17.
.macro schedule w0, w1, w4, w5, w7
    vsldoi  %v16, \w0, \w1, 8
    vsldoi  %v17, \w4, \w5, 8
    vshasigmaw %v16, %v16, 0, 0     # sigma0
    vadduwm \w0, \w0, %v17
    vshasigmaw %v17, \w7, 0, 15     # sigma1
    vadduwm \w0, \w0, %v16
    vadduwm \w0, \w0, %v17
.endm

# Eight rounds with the words in \w0 to \w3; \k0 and \k1 as above.
.macro eight_rounds w0, w1, w2, w3, k0, k1
    four_rounds %v0, %v1, %v2, %v3, %v4, %v5, %v6, %v7, \w0, \w1, \k0
    four_rounds %v4, %v5, %v6, %v7, %v0, %v1, %v2, %v3, \w2, \w3, \k1
.endm

# Four words of both blocks; \offset: register with their offset. Clobbers v16, v17.
.macro load_words w0, w1, offset
    lxvw4x  vs_t0, \offset, %r4
    lxvw4x  vs_t1, \offset, %r5
    vperm   \w0, %v16, %v17, %v18
    vperm   \w1, %v16, %v17, %v19
.endm

# Half of both chaining values: a to d, or e to h; \first and \second: registers with the streams'
# offsets from r3. Clobbers v16, v17.
.macro load_state a, b, c, d, first, second
    lxvw4x  vs_t0, \first, %r3
    lxvw4x  vs_t1, \second, %r3
    vmrghw  \a, %v16, %v17
    vmrglw  \c, %v16, %v17
    vsldoi  \b, \a, \a, 8
    vsldoi  \d, \c, \c, 8
.endm

# The inverse. Clobbers v16 to v19.
.macro store_state a, b, c, d, first, second
    vmrghw  %v16, \a, \b            # first a, first b, second a, second b
    vmrghw  %v17, \c, \d
    xxpermdi vs_t2, vs_t0, vs_t1, 0
    xxpermdi vs_t3, vs_t0, vs_t1, 3
    stxvw4x vs_t2, \first, %r3
    stxvw4x vs_t3, \second, %r3
.endm

# Adds what was saved at \offset from \base. Clobbers v16.
.macro add_saved register, offset, base
    lxvw4x  vs_t0, \offset, \base
    vadduwm \register, \register, %v16
.endm

# A section of its own: the only one in which the build's audit allows vectors.
.section .text.digest, "ax", @progbits
.balign 32
.globl purgatory_sha256_pair
.hidden purgatory_sha256_pair
.type purgatory_sha256_pair, @function
# void purgatory_sha256_pair(uint32_t states[2][8], const uint8_t *first, const uint8_t *second,
#                            size_t count)
# in: r3 states, r4 and r5 the streams' blocks, r6 number of blocks of each, r2 the TOC; MSR[VEC]
# and MSR[VSX] are set. out: states updated. clobbers: r0, r4 to r12, ctr, cr0, v0 to v19.
purgatory_sha256_pair:
    cmpdi   %r6, 0
    beqlr
    stdu    %r1, -FRAME(%r1)
    li      %r8, 16
    li      %r9, 32
    li      %r10, 48
    addi    %r11, %r1, SAVED
    load_state %v0, %v1, %v2, %v3, 0, %r9
    load_state %v4, %v5, %v6, %v7, %r8, %r10

.Lblock:
    addi    %r12, %r11, 64
    stxvw4x vs_a, 0, %r11
    stxvw4x vs_b, %r8, %r11
    stxvw4x vs_c, %r9, %r11
    stxvw4x vs_d, %r10, %r11
    stxvw4x vs_e, 0, %r12
    stxvw4x vs_f, %r8, %r12
    stxvw4x vs_g, %r9, %r12
    stxvw4x vs_h, %r10, %r12

    addis   %r7, %r2, .Llay_out@toc@ha
    addi    %r7, %r7, .Llay_out@toc@l
    lxvw4x  vs_t2, 0, %r7
    lxvw4x  vs_t3, %r8, %r7
    load_words %v8, %v9, 0
    load_words %v10, %v11, %r8
    load_words %v12, %v13, %r9
    load_words %v14, %v15, %r10

    addis   %r7, %r2, {ROUND_CONSTANTS}@toc@ha
    addi    %r7, %r7, {ROUND_CONSTANTS}@toc@l
    eight_rounds %v8, %v9, %v10, %v11, 0, %r8
    eight_rounds %v12, %v13, %v14, %v15, %r9, %r10
    addi    %r7, %r7, 64
    li      %r0, 3
    mtctr   %r0
.Lsixteen_rounds:
    schedule %v8, %v9, %v12, %v13, %v15
    schedule %v9, %v10, %v13, %v14, %v8
    schedule %v10, %v11, %v14, %v15, %v9
    schedule %v11, %v12, %v15, %v8, %v10
    eight_rounds %v8, %v9, %v10, %v11, 0, %r8
    schedule %v12, %v13, %v8, %v9, %v11
    schedule %v13, %v14, %v9, %v10, %v12
    schedule %v14, %v15, %v10, %v11, %v13
    schedule %v15, %v8, %v11, %v12, %v14
    eight_rounds %v12, %v13, %v14, %v15, %r9, %r10
    addi    %r7, %r7, 64
    bdnz    .Lsixteen_rounds

    addi    %r12, %r11, 64
    add_saved %v0, 0, %r11
    add_saved %v1, %r8, %r11
    add_saved %v2, %r9, %r11
    add_saved %v3, %r10, %r11
    add_saved %v4, 0, %r12
    add_saved %v5, %r8, %r12
    add_saved %v6, %r9, %r12
    add_saved %v7, %r10, %r12
    addi    %r4, %r4, 64
    addi    %r5, %r5, 64
    addi    %r6, %r6, -1
    cmpdi   %r6, 0
    bne     .Lblock

    store_state %v0, %v1, %v2, %v3, 0, %r9
    store_state %v4, %v5, %v6, %v7, %r8, %r10
    addi    %r1, %r1, FRAME
    blr
.size purgatory_sha256_pair, . - purgatory_sha256_pair
