# What exceptions.S leaves to 32-bit mode.

.macro interrupt_return
    iretd
.endm

.section .text.purgatory_exception_frame, "ax", @progbits
.type purgatory_exception_frame, @function
# in: [esp] vector, [esp+4] error code, [esp+8] eip, which is how a C function finds its
# arguments. out: does not return.
purgatory_exception_frame:
    cld
    call    purgatory_exception
    ud2
.size purgatory_exception_frame, . - purgatory_exception_frame
