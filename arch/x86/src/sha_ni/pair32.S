# The compression function over two independent streams at once, in 32-bit mode.
#
# Eight registers do not hold the words of two streams. So the words + constants of a block of
# either are worked out first and put on the stack; then the rounds of both, which wait for each
# other's results most of the time, run interleaved with nothing but the chaining values in
# registers. The CPU works out the next block's words meanwhile: they depend on no round.

.set WORDS, 16 * 16             # bytes of a block's words + constants
.set STATES, 2 * WORDS          # where both chaining values are
.set FRAME, STATES + 64         # stack, aligned to 16

# Words of group \group + constants to the stack; clobbers xmm5.
.macro put_words w, group, offset
    movdqa  xmm5, [eax + 16 * \group]
    paddd   xmm5, \w
    movdqa  [esp + \offset + 16 * \group], xmm5
.endm

.macro load_words w, block, group, offset
    movdqu  \w, [\block + 16 * \group]
    pshufb  \w, xmm7                            # .Lswap_words
    put_words \w, \group, \offset
.endm

.macro next_words w0, w1, w2, w3, group, offset
    schedule \w0, \w1, \w2, \w3, xmm4
    put_words \w0, \group, \offset
.endm

.macro next_words16 group, offset
    next_words xmm0, xmm1, xmm2, xmm3, (\group), \offset
    next_words xmm1, xmm2, xmm3, xmm0, (\group + 1), \offset
    next_words xmm2, xmm3, xmm0, xmm1, (\group + 2), \offset
    next_words xmm3, xmm0, xmm1, xmm2, (\group + 3), \offset
.endm

# All 64 words of the block at \block. Clobbers xmm0 to xmm5.
.macro put_block block, offset
    load_words xmm0, \block, 0, \offset
    load_words xmm1, \block, 1, \offset
    load_words xmm2, \block, 2, \offset
    load_words xmm3, \block, 3, \offset
    next_words16 4, \offset
    next_words16 8, \offset
    next_words16 12, \offset
.endm

# Four rounds of one stream.
.macro rounds_of_group abef, cdgh, group, offset
    movdqa      xmm0, [esp + \offset + 16 * \group]
    sha256rnds2 \cdgh, \abef
    punpckhqdq  xmm0, xmm0
    sha256rnds2 \abef, \cdgh
.endm

# A section of its own: the only one in which the build's audit allows SSE.
.section .text.digest, "ax", @progbits
.balign 64
.globl purgatory_sha256_pair
.hidden purgatory_sha256_pair
.type purgatory_sha256_pair, @function
# void purgatory_sha256_pair(uint32_t states[2][8], const uint8_t *first, const uint8_t *second,
#                            size_t count)
# in: on the stack, as C has it: states, the streams' blocks, number of blocks of each; SSE is on.
# out: states updated. clobbers: eax, ecx, edx, xmm0 to xmm7, flags.
purgatory_sha256_pair:
    push    ebp
    mov     ebp, esp
    push    esi
    push    edi
    mov     ecx, [ebp + 20]
    test    ecx, ecx
    jz      .Lnothing
    mov     edx, [ebp + 8]
    mov     esi, [ebp + 12]
    mov     edi, [ebp + 16]
    sub     esp, FRAME
    and     esp, -16
    # Addresses are relative to the GOT's; its relocation counts from the second instruction.
    call    .Ldigest_here
.Ldigest_here:
    pop     eax
    add     eax, offset _GLOBAL_OFFSET_TABLE_ + 1
    movdqa  xmm7, [eax + .Lswap_words@GOTOFF]
    lea     eax, [eax + {ROUND_CONSTANTS}@GOTOFF]
    load_state xmm1, xmm2, xmm0, edx, 0
    load_state xmm3, xmm4, xmm0, edx, 32
    movdqa  [esp + STATES], xmm1
    movdqa  [esp + STATES + 16], xmm2
    movdqa  [esp + STATES + 32], xmm3
    movdqa  [esp + STATES + 48], xmm4

    .balign 32
.Lblock:
    put_block esi, 0
    put_block edi, WORDS
    movdqa  xmm1, [esp + STATES]
    movdqa  xmm2, [esp + STATES + 16]
    movdqa  xmm3, [esp + STATES + 32]
    movdqa  xmm4, [esp + STATES + 48]
    .set group, 0
    .rept 16
    rounds_of_group xmm1, xmm2, group, 0
    rounds_of_group xmm3, xmm4, group, WORDS
    .set group, group + 1
    .endr
    paddd   xmm1, [esp + STATES]
    paddd   xmm2, [esp + STATES + 16]
    paddd   xmm3, [esp + STATES + 32]
    paddd   xmm4, [esp + STATES + 48]
    movdqa  [esp + STATES], xmm1
    movdqa  [esp + STATES + 16], xmm2
    movdqa  [esp + STATES + 32], xmm3
    movdqa  [esp + STATES + 48], xmm4
    add     esi, 64
    add     edi, 64
    dec     ecx
    jnz     .Lblock

    store_state xmm1, xmm2, xmm7, edx, 0
    store_state xmm3, xmm4, xmm7, edx, 32
    lea     esp, [ebp - 8]
.Lnothing:
    pop     edi
    pop     esi
    pop     ebp
    ret
.size purgatory_sha256_pair, . - purgatory_sha256_pair
