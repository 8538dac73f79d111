# Purgatory's first instructions, its stack and its parameter block.
#
# On entry we know (kernel 6.1 arch/powerpc/kernel/misc_64.S, kexec_sequence;
# arch/powerpc/kexec/core_64.c):
#   - real mode: MSR[IR] and MSR[DR] are 0, MSR[SF] is 1; MSR[EE] is 0; MSR[HV] is 1 on bare metal
#     (powernv) and 0 in a partition (pseries); MSR[LE] is the dead kernel's, and so this image's,
#     because a loader starts only the purgatory of the kernel that it runs on;
#   - r3: physical number of this CPU; r4: address of the image; r5: 0;
#   - no stack and no TOC that we could use; whatever translated addresses is none of our business;
#   - the caches agree with memory where segments were loaded;
#   - the image's first 0x100 bytes were copied to address 0, and the other CPUs (slaves) were
#     sent to 0x60 there: in real mode, big-endian since Linux 3.16, r3 their physical number. The
#     loader has put the next kernel's own first bytes in place of ours from 4 to 0x100, so that
#     they wait in that kernel's code.
# The loader has put the image at a page-aligned address below 4 GiB, relocated it, and filled the
# parameter block.
#
# We must, before any Rust code: clear .bss, have the TOC pointer and a stack. .bss was zero when
# the image was loaded, but no digest covers it, and a lock that a stray write has taken would be
# waited for for ever.

.set RUN0, 0x72756e30               # "run0": the kernel moves itself to address 0
# The most seen in use is 1612 bytes: digests by either code, a damaged region.
.set STACK_SIZE, 4096
.set FRAME_MIN, 32                  # ELFv2 ABI: back chain, CR, LR and TOC save words
.set ONE_WORD_AHEAD, 0x48           # "tdi 0, 0, 0x48" never traps; read in the other byte order
                                    # it is "b . + 8"

.section .text.entry, "ax", @progbits
.balign 0x100
.globl purgatory_entry
.type purgatory_entry, @function
# in: r3, as above. out: does not return. clobbers: everything.
purgatory_entry:
    b       .Lmaster

    # ABI: 1 tells the kernel to run where it is; handoff.rs copies this word to the kernel's.
    .org    purgatory_entry + 0x5c
.globl purgatory_run_at_load
.hidden purgatory_run_at_load
purgatory_run_at_load:
    .long   RUN0

    # ABI: slaves, if the loader left us in place. They wait for ever, in either byte order.
    .org    purgatory_entry + 0x60
    tdi     0, 0, ONE_WORD_AHEAD
    b       .
    .long   0x00000048              # "b ." in the other byte order

    # ABI: end of what is copied to address 0.
    .org    purgatory_entry + 0x100
.Lmaster:
    bcl     20, 31, .Lhere
.Lhere:
    mflr    %r12
    addis   %r2, %r12, .TOC.-.Lhere@ha
    addi    %r2, %r2, .TOC.-.Lhere@l

    # .bss is aligned to 8 at both ends (image.ld, the stack in it).
    addis   %r4, %r2, purgatory_bss@toc@ha
    addi    %r4, %r4, purgatory_bss@toc@l
    addis   %r5, %r2, purgatory_bss_end@toc@ha
    addi    %r5, %r5, purgatory_bss_end@toc@l
    subf    %r5, %r4, %r5
    srdi    %r5, %r5, 3
    mtctr   %r5
    li      %r0, 0
    addi    %r4, %r4, -8
.Lclear:
    stdu    %r0, 8(%r4)
    bdnz    .Lclear

    addis   %r1, %r2, purgatory_stack_end@toc@ha
    addi    %r1, %r1, purgatory_stack_end@toc@l
    stdu    %r0, -FRAME_MIN(%r1)

    mr      %r4, %r3
    addis   %r3, %r2, purgatory_params@toc@ha
    addi    %r3, %r3, purgatory_params@toc@l
    bl      purgatory_start
    nop
    trap
.size purgatory_entry, . - purgatory_entry

.section .bss.purgatory_stack, "aw", @nobits
.balign 16
    .zero   STACK_SIZE
.globl purgatory_stack_end
.hidden purgatory_stack_end
purgatory_stack_end:
