# The SHA-256 compression function (FIPS 180-4, 6.2.2) by the SHA extensions, over two
# independent streams at once.
#
# Per stream: two registers hold the chaining value as the instructions want it (ABEF, CDGH),
# four the last 16 message words, one is scratch. SHA256RNDS2 takes its two words + constants
# from xmm0, which both streams share: register renaming keeps them apart.

.section .rodata.purgatory_sha256, "a", @progbits
.balign 16
# The round constants (FIPS 180-4, 4.2.2).
.Lround_constants:
    .long   0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5
    .long   0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174
    .long   0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da
    .long   0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967
    .long   0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85
    .long   0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070
    .long   0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3
    .long   0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
# PSHUFB: message words are big-endian.
.Lswap_words:
    .quad   0x0405060700010203, 0x0c0d0e0f08090a0b

.set FRAME, 64                  # stack, aligned to 16: both chaining values before the block

# Chaining value a..h at [rdi + offset] to ABEF, CDGH. Clobbers scratch.
.macro load_state abef, cdgh, scratch, offset
    movdqu  \scratch, [rdi + \offset]           # d c b a
    movdqu  \cdgh, [rdi + \offset + 16]         # h g f e
    pshufd  \scratch, \scratch, 0xb1            # c d a b
    pshufd  \cdgh, \cdgh, 0x1b                  # e f g h
    movdqa  \abef, \scratch
    palignr \abef, \cdgh, 8                     # a b e f
    pblendw \cdgh, \scratch, 0xf0               # c d g h
.endm

# The inverse.
.macro store_state abef, cdgh, scratch, offset
    pshufd  \abef, \abef, 0x1b                  # f e b a
    pshufd  \cdgh, \cdgh, 0xb1                  # d c h g
    movdqa  \scratch, \abef
    pblendw \scratch, \cdgh, 0xf0               # d c b a
    palignr \cdgh, \abef, 8                     # h g f e
    movdqu  [rdi + \offset], \scratch
    movdqu  [rdi + \offset + 16], \cdgh
.endm

# Four rounds with the words in \w; \group counts from 0 to 15.
.macro rounds abef, cdgh, w, group
    movdqa      xmm0, [rax + 16 * \group]
    paddd       xmm0, \w
    sha256rnds2 \cdgh, \abef
    punpckhqdq  xmm0, xmm0
    sha256rnds2 \abef, \cdgh
.endm

# The next four message words, from the last sixteen (\w0 oldest), into \w0.
.macro schedule w0, w1, w2, w3, scratch
    sha256msg1  \w0, \w1
    movdqa      \scratch, \w3
    palignr     \scratch, \w2, 4
    paddd       \w0, \scratch
    sha256msg2  \w0, \w3
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
    lea     rax, [rip + .Lround_constants]
    movdqa  xmm15, [rip + .Lswap_words]
    load_state xmm1, xmm2, xmm7, 0
    load_state xmm8, xmm9, xmm14, 32

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

    store_state xmm1, xmm2, xmm7, 0
    store_state xmm8, xmm9, xmm14, 32
    leave
.Lnothing:
    ret
.size purgatory_sha256_pair, . - purgatory_sha256_pair
