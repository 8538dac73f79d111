# Code that does not know in which byte order it runs: it came back from firmware, or was reached
# through a vector.
#
# Each word of code is one instruction in this image's byte order and another, or none, in the
# other. "tdi 0, 0, 0x48" never traps; the same word in the other byte order is "b . + 8". So the
# word after it runs only in the image's order, and the one after that only in the other.

.set MSR_LE, 1                      # Power ISA 3.0B book III 3.2.1: little-endian
.set OTHER_ORDER_SKIPS, 0x48

# One instruction for the other byte order, given as its word.
.macro other_order word
    .long   (((\word) >> 24) & 0xff) | (((\word) >> 8) & 0xff00) | (((\word) & 0xff00) << 8) | (((\word) & 0xff) << 24)
.endm

# Makes MSR[LE] that of the image and goes on after the macro. Interrupts are off.
# clobbers: if it was the other order: r10, r11, lr, SRR0, SRR1.
.macro native_order
    tdi     0, 0, OTHER_ORDER_SKIPS
    b       .Lnative\@
    other_order 0x7d6000a6          # mfmsr r11
    other_order 0x696b0001          # xori r11, r11, MSR_LE
    other_order 0x429f0005          # bcl 20, 31, . + 4
    other_order 0x7d4802a6          # mflr r10
    other_order 0x394a0014          # addi r10, r10, 20: behind the rfid
    other_order 0x7d5a03a6          # mtsrr0 r10
    other_order 0x7d7b03a6          # mtsrr1 r11
    other_order 0x4c000024          # rfid
.Lnative\@:
.endm

# Waits for ever in either byte order, and in 32-bit mode too.
.macro wait_for_ever
    tdi     0, 0, OTHER_ORDER_SKIPS
    b       .
    other_order 0x48000000          # b .
.endm
