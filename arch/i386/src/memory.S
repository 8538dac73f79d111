# The functions that the compiler calls to copy, fill and compare memory: on the image's target
# they are the C library's, which is not linked. For small blocks that nobody waits for: the
# backup is copied by string.rs, regions by nobody.
#
# All: in and out as C has them (cdecl). clobbers: eax, ecx, edx, flags; DF is 0.

.section .text.memory, "ax", @progbits
.globl memcpy
.hidden memcpy
.type memcpy, @function
# void *memcpy(void *to, const void *from, size_t length)
memcpy:
    push    esi
    push    edi
    mov     edi, [esp + 12]
    mov     esi, [esp + 16]
    mov     ecx, [esp + 20]
    mov     eax, edi
    rep movsb
    pop     edi
    pop     esi
    ret
.size memcpy, . - memcpy

.globl memset
.hidden memset
.type memset, @function
# void *memset(void *to, int byte, size_t length)
memset:
    push    edi
    mov     edi, [esp + 8]
    mov     eax, [esp + 12]
    mov     ecx, [esp + 16]
    mov     edx, edi
    rep stosb
    mov     eax, edx
    pop     edi
    ret
.size memset, . - memset

.globl memcmp
.globl bcmp
.hidden memcmp
.hidden bcmp
.type memcmp, @function
.type bcmp, @function
# int memcmp(const void *one, const void *other, size_t length)
bcmp:
memcmp:
    push    esi
    push    edi
    mov     esi, [esp + 12]
    mov     edi, [esp + 16]
    mov     ecx, [esp + 20]
    xor     eax, eax            # also ZF: nothing is equal to nothing
    repe cmpsb
    je      .Lequal
    movzx   eax, byte ptr [esi - 1]
    movzx   ecx, byte ptr [edi - 1]
    sub     eax, ecx
.Lequal:
    pop     edi
    pop     esi
    ret
.size bcmp, . - bcmp
.size memcmp, . - memcmp
