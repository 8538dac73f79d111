# The compression function over two independent streams at once, in 64-bit mode.
#
# Per stream: two registers hold the chaining value, four the last 16 message words, one is
# scratch. SHA256RNDS2 takes its two words + constants from xmm0, which both streams share:
# register renaming keeps them apart.

.set FRAME, 64                  # stack, aligned to 16: both chaining values before the block

# Four rounds with the words in \w; \group counts from 0 to 15.
.macro rounds abef, cdgh, w, group
    movdqa      xmm0, [rax + 16 * \group]
    paddd       xmm0, \w
    sha256rnds2 \cdgh, \abef
    punpckhqdq  xmm0, xmm0
    sha256rnds2 \abef, \cdgh
.endm

# The first sixteen words: straight from the blocks.
.macro load_rounds w_first, w_second, group
    movdqu  \w_first, [rsi + 16 * \group]
    pshufb  \w_first, xmm15
    movdqu  \w_second, [rdx + 16 * \group]
    pshufb  \w_second, xmm15
    rounds  xmm1, xmm2, \w_first, \group
    rounds  xmm8, xmm9, \w_second, \group
.endm

# Four rounds of both streams with scheduled words; a0 to a3 and b0 to b3 are the last sixteen
# words of either, oldest first.
.macro schedule_rounds a0, a1, a2, a3, b0, b1, b2, b3, group
    schedule \a0, \a1, \a2, \a3, xmm7
    schedule \b0, \b1, \b2, \b3, xmm14
    rounds  xmm1, xmm2, \a0, \group
    rounds  xmm8, xmm9, \b0, \group
.endm

.macro schedule_rounds16 group
    schedule_rounds xmm3, xmm4, xmm5, xmm6, xmm10, xmm11, xmm12, xmm13, (\group)
    schedule_rounds xmm4, xmm5, xmm6, xmm3, xmm11, xmm12, xmm13, xmm10, (\group + 1)
    schedule_rounds xmm5, xmm6, xmm3, xmm4, xmm12, xmm13, xmm10, xmm11, (\group + 2)
    schedule_rounds xmm6, xmm3, xmm4, xmm5, xmm13, xmm10, xmm11, xmm12, (\group + 3)
.endm

# A section of its own: the only one in which the build's audit allows SSE.
.section .text.digest, "ax", @progbits
.balign 64
.globl purgatory_sha256_pair
.hidden purgatory_sha256_pair
.type purgatory_sha256_pair, @function
# void purgatory_sha256_pair(uint32_t states[2][8], const uint8_t *first, const uint8_t *second,
#                            size_t count)
# in: rdi states, rsi and rdx the streams' blocks, rcx number of blocks of each; SSE is on.
# out: states updated. clobbers: rax, rcx, rsi, rdx, xmm0 to xmm15, flags.
purgatory_sha256_pair:
    test    rcx, rcx
    jz      .Lnothing
    push    rbp
    mov     rbp, rsp
    sub     rsp, FRAME
    and     rsp, -16
    lea     rax, [rip + {ROUND_CONSTANTS}]
    movdqa  xmm15, [rip + .Lswap_words]
    load_state xmm1, xmm2, xmm7, rdi, 0
    load_state xmm8, xmm9, xmm14, rdi, 32

    .balign 32
.Lblock:
    movdqa  [rsp], xmm1
    movdqa  [rsp + 16], xmm2
    movdqa  [rsp + 32], xmm8
    movdqa  [rsp + 48], xmm9
    load_rounds xmm3, xmm10, 0
    load_rounds xmm4, xmm11, 1
    load_rounds xmm5, xmm12, 2
    load_rounds xmm6, xmm13, 3
    schedule_rounds16 4
    schedule_rounds16 8
    schedule_rounds16 12
    paddd   xmm1, [rsp]
    paddd   xmm2, [rsp + 16]
    paddd   xmm8, [rsp + 32]
    paddd   xmm9, [rsp + 48]
    add     rsi, 64
    add     rdx, 64
    dec     rcx
    jnz     .Lblock

    store_state xmm1, xmm2, xmm7, rdi, 0
    store_state xmm8, xmm9, xmm14, rdi, 32
    leave
.Lnothing:
    ret
.size purgatory_sha256_pair, . - purgatory_sha256_pair
