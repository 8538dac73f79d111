# One Params (purgatory/src/params.rs). What the linker checks before it fills the block stands
# in it already; the rest is zero.
.section .purgatory.params, "aw", @progbits
.balign 16
.globl purgatory_params
.hidden purgatory_params
.type purgatory_params, @object
purgatory_params:
    .quad   {PARAMS_MAGIC}
    .long   {PARAMS_VERSION}
    .long   {PARAMS_SIZE}
    .zero   {PARAMS_SIZE} - 16
.size purgatory_params, . - purgatory_params
