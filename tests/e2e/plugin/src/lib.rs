//! QEMU TCG plugin: counts the instructions that an x86_64 guest executes and writes one line for
//! each line the guest sends to its first serial port (`out %al, (%dx)` to 0x3f8):
//!
//! ```text
//! <instructions when its first byte was sent> <host CLOCK_MONOTONIC ns> <text>
//! ```
//!
//! Use: `-plugin libe2e_plugin.so,out=FILE`. With `-icount` and one CPU two runs of the same
//! guest give the same counts.
//!
//! The interface is QEMU's include/qemu/qemu-plugin.h, API version 4 (QEMU 9.1 and later). The
//! few functions used are declared in `api.rs`, because Debian ships no header.

mod api;
mod trace;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use api::{Count, PluginId};
use trace::Trace;

/// COM1's data register.
const SERIAL_PORT: u64 = 0x3f8;

/// Which API this plugin was written for; QEMU looks it up by name.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 4;

static TRACE: OnceLock<Trace> = OnceLock::new();
static COUNT: OnceLock<Count> = OnceLock::new();
static REGISTERS: OnceLock<api::Registers> = OnceLock::new();

/// QEMU calls it once, before the guest runs.
///
/// # Safety
/// As QEMU promises: `argv` holds `argc` NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    for i in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: the caller promises argc NUL-terminated strings at argv.
        let argument = unsafe { CStr::from_ptr(*argv.add(i)) };
        let Some(path) = argument.to_str().ok().and_then(|a| a.strip_prefix("out=")) else {
            eprintln!("e2e-plugin: unknown argument {argument:?}; use out=FILE");
            return -1;
        };
        match Trace::create(path) {
            Ok(trace) => drop(TRACE.set(trace)),
            Err(error) => {
                eprintln!("e2e-plugin: {path}: {error}");
                return -1;
            }
        }
    }
    if TRACE.get().is_none() {
        eprintln!("e2e-plugin: out=FILE is missing");
        return -1;
    }
    COUNT.get_or_init(Count::new);
    api::on_vcpu_init(id, vcpu_started);
    api::on_translate(id, block_translated);
    api::on_exit(id, guest_ended);
    0
}

extern "C" fn vcpu_started(_id: PluginId, _vcpu: c_uint) {
    REGISTERS.get_or_init(api::Registers::find);
}

extern "C" fn block_translated(_id: PluginId, block: *mut api::Block) {
    let Some(&count) = COUNT.get() else { return };
    let instructions = api::instructions(block);
    api::add_when_run(block, count, instructions.len() as u64);
    for instruction in instructions {
        if is_out_al_dx(&api::code(instruction)) {
            api::before_instruction(instruction, byte_sent);
        }
    }
}

/// `out %al, (%dx)` is 0xee, also behind an operand-size or REX.W prefix, which change nothing.
fn is_out_al_dx(code: &[u8]) -> bool {
    matches!(code, [0xee] | [0x66 | 0x48, 0xee])
}

extern "C" fn byte_sent(_vcpu: c_uint, _data: *mut c_void) {
    let (Some(registers), Some(trace), Some(count)) = (REGISTERS.get(), TRACE.get(), COUNT.get())
    else {
        return;
    };
    if registers.rdx() & 0xffff == SERIAL_PORT {
        trace.byte(registers.rax().to_le_bytes()[0], || count.sum());
    }
}

extern "C" fn guest_ended(_id: PluginId, _data: *mut c_void) {
    if let (Some(trace), Some(count)) = (TRACE.get(), COUNT.get()) {
        trace.end(count.sum());
    }
}
