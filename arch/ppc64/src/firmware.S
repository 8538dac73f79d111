# Calls of firmware, which runs big-endian whatever we are.

.section .text.purgatory_opal_call, "ax", @progbits
.globl purgatory_opal_call
.hidden purgatory_opal_call
.type purgatory_opal_call, @function
.set OPAL_FRAME, 32                 # ELFv2 minimum, TOC at 24; OPAL has a stack of its own
# int64_t purgatory_opal_call(uint64_t a, uint64_t b, uint64_t c, uint64_t token, uint64_t base,
#                             uint64_t entry)
# in: r3 to r5 arguments, r6 token, r7 OPAL's base, r8 its entry (skiboot doc/opal-api; kernel 6.1
# arch/powerpc/platforms/powernv/opal-wrappers.S). out: r3 OPAL's status.
# clobbers: what the ABI allows, SRR0, SRR1.
purgatory_opal_call:
    mflr    %r0
    std     %r0, 16(%r1)
    stdu    %r1, -OPAL_FRAME(%r1)
    std     %r2, 24(%r1)
    bcl     20, 31, .Lopal_here
.Lopal_here:
    mflr    %r9
    addi    %r9, %r9, .Lopal_back - .Lopal_here
    mtlr    %r9
    mfmsr   %r9
    rldicr  %r9, %r9, 0, 62         # MSR[LE] = 0
    mtsrr0  %r8
    mtsrr1  %r9
    mr      %r0, %r6
    mr      %r2, %r7
    rfid
.Lopal_back:
    native_order
    ld      %r2, 24(%r1)
    addi    %r1, %r1, OPAL_FRAME
    ld      %r0, 16(%r1)
    mtlr    %r0
    blr
.size purgatory_opal_call, . - purgatory_opal_call

.section .text.purgatory_rtas_last_call, "ax", @progbits
.globl purgatory_rtas_last_call
.hidden purgatory_rtas_last_call
.type purgatory_rtas_last_call, @function
# void purgatory_rtas_last_call(uint32_t arguments[4], uint64_t base, uint64_t entry)
# in: r3 argument block, r4 RTAS's base, r5 its entry, all of them and this image below 4 GiB
# (PAPR+ 7.2: RTAS runs in 32-bit real mode, big-endian). out: does not return; if RTAS does,
# there is nothing left to try. clobbers: everything.
purgatory_rtas_last_call:
    bcl     20, 31, .Lrtas_here
.Lrtas_here:
    mflr    %r6
    addi    %r6, %r6, .Lrtas_back - .Lrtas_here
    mtlr    %r6
    mfmsr   %r6
    clrldi  %r6, %r6, 1             # MSR[SF] = 0
    rldicr  %r6, %r6, 0, 62         # MSR[LE] = 0
    mtsrr0  %r5
    mtsrr1  %r6
    li      %r0, 0
    mtcrf   0xff, %r0
    rfid
.Lrtas_back:
    wait_for_ever
.size purgatory_rtas_last_call, . - purgatory_rtas_last_call
