# What exceptions.S leaves to 64-bit mode.

.macro interrupt_return
    iretq
.endm

.section .text.purgatory_exception_frame, "ax", @progbits
.type purgatory_exception_frame, @function
# in: [rsp] vector, [rsp+8] error code, [rsp+16] rip. out: does not return.
purgatory_exception_frame:
    pop     rdi
    pop     rsi
    mov     rdx, [rsp]
    cld
    and     rsp, -16
    call    purgatory_exception
    ud2
.size purgatory_exception_frame, . - purgatory_exception_frame
