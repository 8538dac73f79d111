# memcpy, memset and memcmp (C11 7.24; bcmp: POSIX.1-2001) for the compiler's own calls. Nothing
# large goes through them, so bytes will do.

.section .text.purgatory_mem, "ax", @progbits

.globl memcpy
.hidden memcpy
.type memcpy, @function
# in: r3 destination, r4 source, r5 count; they do not overlap. out: r3 kept.
# clobbers: r0, r4, r6, ctr, cr0.
memcpy:
    cmpdi   %r5, 0
    beqlr
    mtctr   %r5
    addi    %r6, %r3, -1
    addi    %r4, %r4, -1
.Lcopy:
    lbzu    %r0, 1(%r4)
    stbu    %r0, 1(%r6)
    bdnz    .Lcopy
    blr
.size memcpy, . - memcpy

.globl memset
.hidden memset
.type memset, @function
# in: r3 destination, r4 byte, r5 count. out: r3 kept. clobbers: r6, ctr, cr0.
memset:
    cmpdi   %r5, 0
    beqlr
    mtctr   %r5
    addi    %r6, %r3, -1
.Lset:
    stbu    %r4, 1(%r6)
    bdnz    .Lset
    blr
.size memset, . - memset

.globl memcmp
.hidden memcmp
.type memcmp, @function
.globl bcmp
.hidden bcmp
.type bcmp, @function
# in: r3 and r4 what to compare, r5 count. out: r3 less than, equal to or greater than 0.
# clobbers: r0, r4 to r7, ctr, cr0.
memcmp:
bcmp:
    mr      %r6, %r3
    li      %r3, 0
    cmpdi   %r5, 0
    beqlr
    mtctr   %r5
    addi    %r6, %r6, -1
    addi    %r4, %r4, -1
.Lcompare:
    lbzu    %r0, 1(%r6)
    lbzu    %r7, 1(%r4)
    subf.   %r3, %r7, %r0
    bdnzt   eq, .Lcompare
    blr
.size memcmp, . - memcmp
.size bcmp, . - bcmp
