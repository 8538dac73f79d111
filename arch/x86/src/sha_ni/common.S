# What both forms of the SHA-256 compression function (FIPS 180-4, 6.2.2) by the SHA extensions
# share. The instructions want the chaining value in two registers, ABEF and CDGH.

.section .rodata.purgatory_sha256, "a", @progbits
.balign 16
# PSHUFB: message words are big-endian.
.Lswap_words:
    .quad   0x0405060700010203, 0x0c0d0e0f08090a0b

# Chaining value a..h at [base + offset] to ABEF, CDGH. Clobbers scratch.
.macro load_state abef, cdgh, scratch, base, offset
    movdqu  \scratch, [\base + \offset]           # d c b a
    movdqu  \cdgh, [\base + \offset + 16]         # h g f e
    pshufd  \scratch, \scratch, 0xb1            # c d a b
    pshufd  \cdgh, \cdgh, 0x1b                  # e f g h
    movdqa  \abef, \scratch
    palignr \abef, \cdgh, 8                     # a b e f
    pblendw \cdgh, \scratch, 0xf0               # c d g h
.endm

# The inverse.
.macro store_state abef, cdgh, scratch, base, offset
    pshufd  \abef, \abef, 0x1b                  # f e b a
    pshufd  \cdgh, \cdgh, 0xb1                  # d c h g
    movdqa  \scratch, \abef
    pblendw \scratch, \cdgh, 0xf0               # d c b a
    palignr \cdgh, \abef, 8                     # h g f e
    movdqu  [\base + \offset], \scratch
    movdqu  [\base + \offset + 16], \cdgh
.endm

# The next four message words, from the last sixteen (\w0 oldest), into \w0.
.macro schedule w0, w1, w2, w3, scratch
    sha256msg1  \w0, \w1
    movdqa      \scratch, \w3
    palignr     \scratch, \w2, 4
    paddd       \w0, \scratch
    sha256msg2  \w0, \w3
.endm
