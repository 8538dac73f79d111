//! Calls of the hypervisor that the partition runs under (PAPR+ 14).

use core::arch::asm;

const H_PUT_TERM_CHAR: u64 = 0x58;

/// The call was carried out.
pub const H_SUCCESS: i64 = 0;

/// Shows the first `count` of `bytes` on a virtual terminal. The status is [`H_SUCCESS`], or why
/// nothing was shown: the terminal is busy (1), or is not there.
pub fn put_term_char(terminal: u64, bytes: [u8; 16], count: usize) -> i64 {
    // In registers, the first byte is the highest, whatever the byte order in memory.
    let [high, low] = [0, 8].map(|start| {
        (start..start + 8).fold(0, |word: u64, index| word << 8 | u64::from(bytes[index]))
    });
    let status;
    // SAFETY: the hypervisor changes the registers that are named, and no memory of ours.
    unsafe {
        asm!("sc 1",
            inout("r3") H_PUT_TERM_CHAR => status,
            inout("r4") terminal => _,
            inout("r5") count => _,
            inout("r6") high => _,
            inout("r7") low => _,
            out("r0") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
            out("ctr") _, out("xer") _,
            out("cr0") _, out("cr1") _, out("cr5") _, out("cr6") _, out("cr7") _,
            options(nostack));
    }
    status
}
