# The 32 exception vectors: STUB_SIZE (exceptions.rs) bytes each.
#
# On entry we know: the CPU pushed its frame, with the instruction pointer last, and above it, for
# some vectors, an error code (Intel SDM volume 3, 6.12.1, 6.13, 6.14.2); interrupts are off;
# purgatory's stack is in use.
# We must: call purgatory_exception(vector, error code or 0, instruction pointer), which
# purgatory_exception_frame of exceptions32.S or exceptions64.S does. It does not return, so no
# register is saved. The exception is vector 2: an NMI (a watchdog, a button, a bus error) is no
# fault of purgatory's, and not worth losing the dump for; we go on.

.section .text.purgatory_vectors, "ax", @progbits
.balign 16
.globl purgatory_vectors
.hidden purgatory_vectors
.type purgatory_vectors, @function
# in: the CPU's exception frame. out: does not return.
purgatory_vectors:
.set vector, 0
.rept 32
    .balign 16
    .if vector == 2
    interrupt_return
    .endif
    # With an error code of the CPU's: 8, 10 to 14, 17, 21, 29, 30.
    .if (0x60227d00 >> vector) & 1 == 0
    push    0
    .endif
    push    vector
    jmp     purgatory_exception_frame
    .set vector, vector + 1
.endr
.balign 16
.size purgatory_vectors, . - purgatory_vectors
