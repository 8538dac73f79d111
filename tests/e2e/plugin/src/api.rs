//! The part of QEMU's plugin interface (include/qemu/qemu-plugin.h, API version 4) and of GLib's
//! arrays that this plugin uses. The symbols are QEMU's own and resolve when it loads the plugin.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::{ptr, slice};

/// qemu_plugin_id_t.
pub type PluginId = u64;
/// The beginning of qemu_info_t.
#[repr(C)]
pub struct Info {
    target_name: *const c_char,
}
/// struct qemu_plugin_tb: a translation block.
#[repr(C)]
pub struct Block {
    _opaque: [u8; 0],
}
/// struct qemu_plugin_insn: an instruction of a block.
#[repr(C)]
pub struct Instruction {
    _opaque: [u8; 0],
}
#[repr(C)]
struct Scoreboard {
    _opaque: [u8; 0],
}
#[repr(C)]
struct Register {
    _opaque: [u8; 0],
}

/// qemu_plugin_u64: one 64-bit slot of a scoreboard, one value for each vCPU.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Count {
    scoreboard: *mut Scoreboard,
    offset: usize,
}
// SAFETY: the pointer is a handle that QEMU never frees while the plugin is loaded, and QEMU's
// own functions, the only users of it, may be called from any thread.
unsafe impl Send for Count {}
// SAFETY: as above.
unsafe impl Sync for Count {}

/// GLib's GByteArray and GArray, which begin alike.
#[repr(C)]
struct Array<T> {
    data: *mut T,
    len: c_uint,
}

/// qemu_plugin_reg_descriptor.
#[repr(C)]
struct Descriptor {
    handle: *mut Register,
    name: *const c_char,
    feature: *const c_char,
}

/// QEMU_PLUGIN_CB_R_REGS.
const READ_REGISTERS: c_int = 1;
/// QEMU_PLUGIN_INLINE_ADD_U64.
const INLINE_ADD: c_int = 0;

type VcpuCallback = extern "C" fn(PluginId, c_uint);
type BlockCallback = extern "C" fn(PluginId, *mut Block);
type ExitCallback = extern "C" fn(PluginId, *mut c_void);
/// Gets the vCPU's number and the data it was registered with.
pub type InstructionCallback = extern "C" fn(c_uint, *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_init_cb(id: PluginId, callback: VcpuCallback);
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, callback: BlockCallback);
    fn qemu_plugin_register_atexit_cb(id: PluginId, callback: ExitCallback, data: *mut c_void);
    fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block: *mut Block,
        operation: c_int,
        slot: Count,
        operand: u64,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: InstructionCallback,
        registers: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    fn qemu_plugin_insn_data(
        instruction: *const Instruction,
        buffer: *mut c_void,
        length: usize,
    ) -> usize;
    fn qemu_plugin_get_registers() -> *mut Array<Descriptor>;
    fn qemu_plugin_read_register(register: *mut Register, buffer: *mut Array<u8>) -> c_int;
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut Scoreboard;
    fn qemu_plugin_u64_sum(slot: Count) -> u64;
    fn g_byte_array_new() -> *mut Array<u8>;
    fn g_byte_array_free(array: *mut Array<u8>, free_data: c_int) -> *mut u8;
    fn g_array_free(array: *mut Array<Descriptor>, free_data: c_int) -> *mut c_char;
}

/// The guest's architecture in QEMU's words: `x86_64`, `ppc64`.
///
/// # Safety
/// `info` is what QEMU passed to the install function, which has not returned yet.
pub unsafe fn target(info: *const Info) -> String {
    // SAFETY: the caller promises that `info` is valid; QEMU's name is NUL-terminated.
    unsafe { CStr::from_ptr((*info).target_name) }.to_string_lossy().into_owned()
}

/// Calls `callback` for each vCPU when it starts, on its own thread.
pub fn on_vcpu_init(id: PluginId, callback: VcpuCallback) {
    // SAFETY: `id` is the one QEMU gave us; the callback lives as long as the plugin.
    unsafe { qemu_plugin_register_vcpu_init_cb(id, callback) }
}

/// Calls `callback` for each block that is translated.
pub fn on_translate(id: PluginId, callback: BlockCallback) {
    // SAFETY: as in on_vcpu_init.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, callback) }
}

/// Calls `callback` when QEMU ends.
pub fn on_exit(id: PluginId, callback: ExitCallback) {
    // SAFETY: as in on_vcpu_init; no data is passed.
    unsafe { qemu_plugin_register_atexit_cb(id, callback, ptr::null_mut()) }
}

/// Adds `number` to `count` each time `block` runs. Only inside the translation callback.
pub fn add_when_run(block: *mut Block, count: Count, number: u64) {
    // SAFETY: `block` is the one of the running translation callback; INLINE_ADD is one of
    // its operations.
    unsafe { qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, INLINE_ADD, count, number) }
}

/// The instructions of `block`. Only inside the translation callback.
pub fn instructions(block: *mut Block) -> impl ExactSizeIterator<Item = *mut Instruction> {
    // SAFETY: `block` is the one of the running translation callback, and the indices are below
    // the number that QEMU names.
    unsafe { (0..qemu_plugin_tb_n_insns(block)).map(move |i| qemu_plugin_tb_get_insn(block, i)) }
}

/// The machine code of an instruction, if it is at most four bytes long; else nothing.
pub fn code(instruction: *mut Instruction) -> Vec<u8> {
    let mut code = [0; 4];
    // SAFETY: `instruction` comes from `instructions` in the same callback; QEMU writes at most
    // the length it is told, which the buffer has.
    unsafe {
        let size = qemu_plugin_insn_size(instruction);
        if size > code.len() {
            return Vec::new();
        }
        let copied = qemu_plugin_insn_data(instruction, code.as_mut_ptr().cast(), size);
        code[..copied.min(size)].to_vec()
    }
}

/// Calls `callback` with `data` before each run of `instruction`. Only inside the translation
/// callback.
pub fn before_instruction(
    instruction: *mut Instruction,
    callback: InstructionCallback,
    data: usize,
) {
    // SAFETY: as in `code`; the callback lives as long as the plugin, and its data is a number
    // that nobody takes for the address of something.
    unsafe {
        qemu_plugin_register_vcpu_insn_exec_cb(
            instruction,
            callback,
            READ_REGISTERS,
            ptr::without_provenance_mut(data),
        );
    }
}

impl Count {
    /// A count that is zero for every vCPU.
    pub fn new() -> Self {
        // SAFETY: any size is allowed; the scoreboard is never freed.
        Self { scoreboard: unsafe { qemu_plugin_scoreboard_new(size_of::<u64>()) }, offset: 0 }
    }

    /// Its sum over all vCPUs.
    pub fn sum(&self) -> u64 {
        // SAFETY: the scoreboard is alive and the slot at offset 0 is inside it.
        unsafe { qemu_plugin_u64_sum(*self) }
    }
}

/// In which order the bytes of a register's value come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant byte first.
    Big,
    /// The least significant byte first.
    Little,
}

/// Handles of the guest's registers, by the names that QEMU tells gdb.
pub struct Registers {
    handles: BTreeMap<String, *mut Register>,
}
// SAFETY: the handles name registers, not memory; QEMU reads them for the vCPU that calls.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    /// Asks QEMU for the handles. Only inside the vCPU-init callback.
    pub fn find() -> Self {
        let mut handles = BTreeMap::new();
        // SAFETY: QEMU returns an array of `len` descriptors whose names are NUL-terminated and
        // stay alive; the array itself is ours to free.
        unsafe {
            let array = qemu_plugin_get_registers();
            for descriptor in slice::from_raw_parts((*array).data, (*array).len as usize) {
                let name = CStr::from_ptr(descriptor.name).to_string_lossy().into_owned();
                handles.insert(name, descriptor.handle);
            }
            g_array_free(array, 1);
        }
        Self { handles }
    }

    /// The current vCPU's value of the first of `names` that it has; zero if it has none of them.
    /// Only in a callback that was registered to read registers.
    pub fn read(&self, names: &[&str], order: ByteOrder) -> u64 {
        let Some(&register) = names.iter().find_map(|&name| self.handles.get(name)) else {
            return 0;
        };
        // SAFETY: the handle is QEMU's own; the array is made, filled and freed here, and only the
        // bytes that it says it holds are read.
        unsafe {
            let array = g_byte_array_new();
            let length = match qemu_plugin_read_register(register, array) {
                1.. => (*array).len as usize,
                _failed => 0,
            };
            let value = match length {
                0 => 0,
                length => number(slice::from_raw_parts((*array).data, length), order),
            };
            g_byte_array_free(array, 1);
            value
        }
    }
}

/// The low 64 bits of the number that `bytes` are in `order`.
fn number(bytes: &[u8], order: ByteOrder) -> u64 {
    let shift_in = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match order {
        ByteOrder::Big => bytes.iter().fold(0, shift_in),
        ByteOrder::Little => bytes.iter().rev().fold(0, shift_in),
    }
}
