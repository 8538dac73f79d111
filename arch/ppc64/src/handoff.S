# The last instructions of purgatory.

.section .text.purgatory_handoff, "ax", @progbits
.globl purgatory_handoff
.hidden purgatory_handoff
.type purgatory_handoff, @function
# in: r3 a Handoff (purgatory/src/params.rs); real mode. out: the next kernel, big-endian, MSR
# otherwise as it was, r3 to r10 as in the Handoff (kernel 6.1 arch/powerpc/kernel/head_64.S,
# __start). clobbers: r12, SRR0, SRR1.
purgatory_handoff:
    ld      %r12, {HANDOFF_ENTRY}(%r3)
    mtsrr0  %r12
    mfmsr   %r12
    rldicr  %r12, %r12, 0, 62       # MSR[LE] = 0
    mtsrr1  %r12
    ld      %r4, {HANDOFF_REGISTERS} + 8(%r3)
    ld      %r5, {HANDOFF_REGISTERS} + 16(%r3)
    ld      %r6, {HANDOFF_REGISTERS} + 24(%r3)
    ld      %r7, {HANDOFF_REGISTERS} + 32(%r3)
    ld      %r8, {HANDOFF_REGISTERS} + 40(%r3)
    ld      %r9, {HANDOFF_REGISTERS} + 48(%r3)
    ld      %r10, {HANDOFF_REGISTERS} + 56(%r3)
    ld      %r3, {HANDOFF_REGISTERS}(%r3)
    rfid
.size purgatory_handoff, . - purgatory_handoff
