# The SHA-256 compression function (FIPS 180-4, 6.2.2) in general registers.
#
# Own code, because the compiler's is slower than kexec-tools' (mod.rs has the figures): here
# the 16 message words stay in registers.

.set FRAME, 208                     # ELFv2 minimum 32, r14 to r31, then:
.set STATE, 176                     # where the state is
.set BLOCKS, 184                    # the next block
.set COUNT, 192                     # blocks that are left
.set SAVED, 32

# One round. \w: the message word; \k: offset of the constant from r3; \old holds b ^ c, \new gets
# a ^ b, which is that of the next round. Rotations of rotations take one register. Clobbers r0,
# r4, \old.
.macro scalar_round a, b, c, d, e, f, g, h, w, k, old, new
    lwz     %r0, \k(%r3)
    xor     %r4, \f, \g
    add     \h, \h, \w
    and     %r4, %r4, \e
    add     \h, \h, %r0
    xor     %r4, %r4, \g            # Ch
    rotlwi  %r0, \e, 32 - 14
    xor     %r0, %r0, \e
    add     \h, \h, %r4
    rotlwi  %r0, %r0, 32 - 5
    xor     %r0, %r0, \e
    xor     \new, \a, \b
    rotlwi  %r0, %r0, 32 - 6        # Sigma1: by 6, 11 and 25
    and     \old, \old, \new
    add     \h, \h, %r0
    xor     \old, \old, \b          # Maj
    rotlwi  %r0, \a, 32 - 9
    add     \d, \d, \h
    xor     %r0, %r0, \a
    rotlwi  %r0, %r0, 32 - 11
    add     \h, \h, \old
    xor     %r0, %r0, \a
    rotlwi  %r0, %r0, 32 - 2        # Sigma0: by 2, 13 and 22
    add     \h, \h, %r0
.endm

# Eight rounds, with constants from \k on; afterwards the variables are in their registers again.
.macro scalar_eight_rounds w0, w1, w2, w3, w4, w5, w6, w7, k
    scalar_round %r14, %r15, %r16, %r17, %r18, %r19, %r20, %r21, \w0, \k, %r5, %r6
    scalar_round %r21, %r14, %r15, %r16, %r17, %r18, %r19, %r20, \w1, \k + 4, %r6, %r5
    scalar_round %r20, %r21, %r14, %r15, %r16, %r17, %r18, %r19, \w2, \k + 8, %r5, %r6
    scalar_round %r19, %r20, %r21, %r14, %r15, %r16, %r17, %r18, \w3, \k + 12, %r6, %r5
    scalar_round %r18, %r19, %r20, %r21, %r14, %r15, %r16, %r17, \w4, \k + 16, %r5, %r6
    scalar_round %r17, %r18, %r19, %r20, %r21, %r14, %r15, %r16, \w5, \k + 20, %r6, %r5
    scalar_round %r16, %r17, %r18, %r19, %r20, %r21, %r14, %r15, \w6, \k + 24, %r5, %r6
    scalar_round %r15, %r16, %r17, %r18, %r19, %r20, %r21, %r14, \w7, \k + 28, %r6, %r5
.endm

.macro scalar_sixteen_rounds
    scalar_eight_rounds %r22, %r23, %r24, %r25, %r26, %r27, %r28, %r29, 0
    scalar_eight_rounds %r30, %r31, %r7, %r8, %r9, %r10, %r11, %r12, 32
    addi    %r3, %r3, 64
.endm

# The next message word, from those 16, 15, 7 and 2 before it, into \w16. Clobbers r0, r4.
.macro scalar_schedule w16, w15, w7, w2
    rotlwi  %r0, \w15, 32 - 11
    srwi    %r4, \w15, 3
    xor     %r0, %r0, \w15
    add     \w16, \w16, \w7
    rotlwi  %r0, %r0, 32 - 7
    xor     %r0, %r0, %r4           # sigma0: by 7 and 18, shifted by 3
    add     \w16, \w16, %r0
    rotlwi  %r0, \w2, 32 - 2
    srwi    %r4, \w2, 10
    xor     %r0, %r0, \w2
    rotlwi  %r0, %r0, 32 - 17
    xor     %r0, %r0, %r4           # sigma1: by 17 and 19, shifted by 10
    add     \w16, \w16, %r0
.endm

# A big-endian word at r4 + \offset. Clobbers r0.
.macro scalar_load w, offset
.if {LITTLE_ENDIAN}
    li      %r0, \offset
    lwbrx   \w, %r4, %r0
.else
    lwz     \w, \offset(%r4)
.endif
.endm

# Adds a word of the old state at r3 and stores the sum. Clobbers r0.
.macro scalar_add variable, offset
    lwz     %r0, \offset(%r3)
    add     \variable, \variable, %r0
    stw     \variable, \offset(%r3)
.endm

.section .text.purgatory_sha256_scalar, "ax", @progbits
.balign 32
.globl purgatory_sha256_scalar
.hidden purgatory_sha256_scalar
.type purgatory_sha256_scalar, @function
# void purgatory_sha256_scalar(uint32_t state[8], const uint8_t *blocks, size_t count)
# in: r3 state, r4 blocks, r5 number of blocks, r2 the TOC. out: state updated.
# clobbers: r0, r3 to r12, ctr, cr0.
purgatory_sha256_scalar:
    cmpdi   %r5, 0
    beqlr
    stdu    %r1, -FRAME(%r1)
.irp number, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    std     %r\number, SAVED + 8 * (\number - 14)(%r1)
.endr
    std     %r3, STATE(%r1)
    std     %r5, COUNT(%r1)
    lwz     %r14, 0(%r3)
    lwz     %r15, 4(%r3)
    lwz     %r16, 8(%r3)
    lwz     %r17, 12(%r3)
    lwz     %r18, 16(%r3)
    lwz     %r19, 20(%r3)
    lwz     %r20, 24(%r3)
    lwz     %r21, 28(%r3)

.Lscalar_block:
    scalar_load %r22, 0
    scalar_load %r23, 4
    scalar_load %r24, 8
    scalar_load %r25, 12
    scalar_load %r26, 16
    scalar_load %r27, 20
    scalar_load %r28, 24
    scalar_load %r29, 28
    scalar_load %r30, 32
    scalar_load %r31, 36
    scalar_load %r7, 40
    scalar_load %r8, 44
    scalar_load %r9, 48
    scalar_load %r10, 52
    scalar_load %r11, 56
    scalar_load %r12, 60
    addi    %r4, %r4, 64
    std     %r4, BLOCKS(%r1)

    addis   %r3, %r2, {ROUND_CONSTANTS}@toc@ha
    addi    %r3, %r3, {ROUND_CONSTANTS}@toc@l
    li      %r0, 3
    mtctr   %r0
    xor     %r5, %r15, %r16
    scalar_sixteen_rounds
.Lscalar_sixteen_rounds:
    scalar_schedule %r22, %r23, %r31, %r11
    scalar_schedule %r23, %r24, %r7, %r12
    scalar_schedule %r24, %r25, %r8, %r22
    scalar_schedule %r25, %r26, %r9, %r23
    scalar_schedule %r26, %r27, %r10, %r24
    scalar_schedule %r27, %r28, %r11, %r25
    scalar_schedule %r28, %r29, %r12, %r26
    scalar_schedule %r29, %r30, %r22, %r27
    scalar_schedule %r30, %r31, %r23, %r28
    scalar_schedule %r31, %r7, %r24, %r29
    scalar_schedule %r7, %r8, %r25, %r30
    scalar_schedule %r8, %r9, %r26, %r31
    scalar_schedule %r9, %r10, %r27, %r7
    scalar_schedule %r10, %r11, %r28, %r8
    scalar_schedule %r11, %r12, %r29, %r9
    scalar_schedule %r12, %r22, %r30, %r10
    scalar_sixteen_rounds
    bdnz    .Lscalar_sixteen_rounds

    ld      %r3, STATE(%r1)
    scalar_add %r14, 0
    scalar_add %r15, 4
    scalar_add %r16, 8
    scalar_add %r17, 12
    scalar_add %r18, 16
    scalar_add %r19, 20
    scalar_add %r20, 24
    scalar_add %r21, 28
    ld      %r4, BLOCKS(%r1)
    ld      %r5, COUNT(%r1)
    addi    %r5, %r5, -1
    std     %r5, COUNT(%r1)
    cmpdi   %r5, 0
    bne     .Lscalar_block

.irp number, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld      %r\number, SAVED + 8 * (\number - 14)(%r1)
.endr
    addi    %r1, %r1, FRAME
    blr
.size purgatory_sha256_scalar, . - purgatory_sha256_scalar
