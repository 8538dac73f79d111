//! QEMU TCG plugin: counts the instructions that a guest executes and writes one line for each
//! line the guest sends to its console:
//!
//! ```text
//! <instructions when its first byte was sent> <host CLOCK_MONOTONIC ns> <text>
//! ```
//!
//! Use: `-plugin libe2e_plugin.so,out=FILE`. With `-icount` and one CPU two runs of the same
//! guest give the same counts. The consoles it knows are in `console`.
//!
//! The interface is QEMU's include/qemu/qemu-plugin.h, API version 4 (QEMU 9.1 and later). The
//! few functions used are declared in `api.rs`, because Debian ships no header.

mod api;
mod console;
mod trace;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use api::{Count, Info, PluginId, Registers};
use console::Machine;
use trace::Trace;

/// Which API this plugin was written for; QEMU looks it up by name.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 4;

static MACHINE: OnceLock<Machine> = OnceLock::new();
static TRACE: OnceLock<Trace> = OnceLock::new();
static COUNT: OnceLock<Count> = OnceLock::new();
static REGISTERS: OnceLock<Registers> = OnceLock::new();

/// QEMU calls it once, before the guest runs.
///
/// # Safety
/// As QEMU promises: `info` is valid during the call, and `argv` holds `argc` NUL-terminated
/// strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the caller promises a valid `info`.
    let target = unsafe { api::target(info) };
    let Some(machine) = Machine::of(&target) else {
        eprintln!("e2e-plugin: the console of {target} is not known; see console/mod.rs");
        return -1;
    };
    MACHINE.get_or_init(|| machine);
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
    REGISTERS.get_or_init(Registers::find);
}

extern "C" fn block_translated(_id: PluginId, block: *mut api::Block) {
    let (Some(&machine), Some(&count)) = (MACHINE.get(), COUNT.get()) else { return };
    let instructions = api::instructions(block);
    api::add_when_run(block, count, instructions.len() as u64);
    for instruction in instructions {
        if let Some(hook) = machine.hook(&api::code(instruction)) {
            api::before_instruction(instruction, hook.callback, hook.operands);
        }
    }
}

/// The guest sends `bytes` of what `registers` hold to its console.
fn sent<B: IntoIterator<Item = u8>>(bytes: impl FnOnce(&Registers) -> B) {
    let (Some(registers), Some(trace), Some(count)) = (REGISTERS.get(), TRACE.get(), COUNT.get())
    else {
        return;
    };
    for byte in bytes(registers) {
        trace.byte(byte, || count.sum());
    }
}

extern "C" fn guest_ended(_id: PluginId, _data: *mut c_void) {
    if let (Some(trace), Some(count)) = (TRACE.get(), COUNT.get()) {
        trace.end(count.sum());
    }
}
