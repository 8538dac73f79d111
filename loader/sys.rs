//! The system calls that hand a plan to the kernel and start it.
#![allow(unsafe_code)] // The loader's only system calls that no safe library offers.

pub mod network;
pub mod refusal;

use core::{ffi::CStr, fmt, ptr};
use std::os::fd::{AsRawFd, BorrowedFd};

use bitflags::bitflags;
use libc::{c_long, c_ulong};
use rustix::{io::Errno, system::RebootCommand};

use crate::facts::Arch;
use crate::plan::{Segment, Target};

pub use rustix::fs::sync;

/// The most segments that kexec_load takes (`KEXEC_SEGMENT_MAX`, kernel 6.1
/// include/uapi/linux/kexec.h).
pub const SEGMENT_MAX: usize = 16;

bitflags! {
    /// Flags of kexec_load (kernel 6.10 include/uapi/linux/kexec.h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LoadFlags: u32 {
        /// `KEXEC_ON_CRASH`: the kernel that starts on a panic.
        const ON_CRASH = 1;
        /// `KEXEC_UPDATE_ELFCOREHDR`: elfcorehdr is not verified, the kernel may update it.
        const UPDATE_ELFCOREHDR = 4;
        /// `KEXEC_CRASH_HOTPLUG_SUPPORT`: as above, and on ppc64 the device tree (kernel 6.10).
        const CRASH_HOTPLUG_SUPPORT = 8;
        /// `KEXEC_ARCH_MASK`: an ELF machine number, 0 for the kernel's own.
        const ARCH = 0xffff_0000;
    }
}

impl LoadFlags {
    /// Flags for `target` and nothing else.
    pub const fn of(target: Target) -> Self {
        match target {
            Target::Reboot => Self::empty(),
            Target::Crash => Self::ON_CRASH,
        }
    }

    /// With the running kernel's architecture: a kernel that serves 32-bit programs beside its own
    /// takes calls from them only if they name it (kernel 6.1 kernel/kexec.c,
    /// `COMPAT_SYSCALL_DEFINE4(kexec_load)`).
    pub const fn on(self, running: Arch) -> Self {
        self.union(Self::from_bits_retain((running.e_machine() as u32) << 16))
    }
}

bitflags! {
    /// Flags of kexec_file_load (kernel 6.19 include/uapi/linux/kexec.h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FileFlags: u32 {
        /// `KEXEC_FILE_UNLOAD`
        const UNLOAD = 1;
        /// `KEXEC_FILE_ON_CRASH`: the kernel that starts on a panic.
        const ON_CRASH = 2;
        /// `KEXEC_FILE_NO_INITRAMFS`: there is no initrd file.
        const NO_INITRAMFS = 4;
        /// `KEXEC_FILE_DEBUG`: the kernel logs what it does.
        const DEBUG = 8;
        /// `KEXEC_FILE_NO_CMA`: segments do not go straight to their place in CMA memory.
        const NO_CMA = 0x10;
    }
}

impl FileFlags {
    /// Flags for `target` and nothing else.
    pub const fn of(target: Target) -> Self {
        match target {
            Target::Reboot => Self::empty(),
            Target::Crash => Self::ON_CRASH,
        }
    }
}

/// A system call of kexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// kexec_load(2)
    KexecLoad,
    /// kexec_file_load(2)
    KexecFileLoad,
    /// reboot(2) with `LINUX_REBOOT_CMD_KEXEC`
    Reboot,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KexecLoad => "kexec_load",
            Self::KexecFileLoad => "kexec_file_load",
            Self::Reboot => "reboot",
        })
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SysError {
    /// The kernel said no; [`refusal`] explains it.
    #[error("{call} failed: {}", refusal::errno_name(*errno))]
    Refused {
        /// Which call.
        call: Call,
        /// What it returned.
        #[source]
        errno: Errno,
    },
    /// The plan has more segments than the kernel takes.
    #[error("the plan has {count} segments; kexec_load takes at most {SEGMENT_MAX}")]
    TooManySegments {
        /// How many.
        count: usize,
    },
    /// A 64-bit address or size on a 32-bit kernel.
    #[error("{value:#x} is beyond what this kernel can address")]
    TooWide {
        /// The address or size.
        value: u64,
    },
}

/// Loads `segments`; the kernel copies them.
pub fn kexec_load(entry: u64, segments: &[Segment<'_>], flags: LoadFlags) -> Result<(), SysError> {
    if segments.len() > SEGMENT_MAX {
        return Err(SysError::TooManySegments { count: segments.len() });
    }
    let entry = word(entry)?;
    let segments = segments.iter().map(KexecSegment::new).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: kexec_load reads `segments.len()` segments, and `bufsz` bytes at each one's `buf`.
    // Both are borrowed for the whole call: `KexecSegment::new` takes `buf` and `bufsz` from one
    // slice. The kernel writes nothing to this process's memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_load,
            entry,
            segments.len(),
            segments.as_ptr(),
            flags.bits() as c_ulong,
        )
    };
    checked(Call::KexecLoad, result)
}

/// Forgets the loaded kernel.
pub fn kexec_unload(target: Target) -> Result<(), SysError> {
    let flags = LoadFlags::of(target);
    // On a machine that the loader does not know it is the kernel's own program.
    kexec_load(0, &[], running_arch().map_or(flags, |arch| flags.on(arch)))
}

/// Has the kernel read, verify and place the files itself.
pub fn kexec_file_load(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    command_line: &CStr,
    flags: FileFlags,
) -> Result<(), SysError> {
    let (initrd, flags) = match initrd {
        Some(initrd) => (initrd.as_raw_fd(), flags),
        None => (-1, flags | FileFlags::NO_INITRAMFS),
    };
    let command_line = command_line.to_bytes_with_nul();
    let number = file_load_number()?;
    // SAFETY: kexec_file_load reads `command_line.len()` bytes of `command_line`, which is
    // borrowed for the whole call and ends in the NUL the kernel asks for. The descriptors are
    // open (borrowed), or -1 with NO_INITRAMFS set, which has the kernel not look at it.
    let result = unsafe {
        libc::syscall(
            number,
            kernel.as_raw_fd(),
            initrd,
            command_line.len(),
            command_line.as_ptr(),
            flags.bits() as c_ulong,
        )
    };
    checked(Call::KexecFileLoad, result)
}

/// The number of kexec_file_load, or what its absence looks like: 32-bit x86 programs have none, on
/// 64-bit kernels either (kernel 6.1 arch/x86/entry/syscalls/syscall_32.tbl).
fn file_load_number() -> Result<c_long, SysError> {
    #[cfg(target_arch = "x86")]
    let number = Err(SysError::Refused { call: Call::KexecFileLoad, errno: Errno::NOSYS });
    #[cfg(not(target_arch = "x86"))]
    let number = Ok(libc::SYS_kexec_file_load);
    number
}

/// Forgets the loaded kernel, where lockdown forbids [`kexec_unload`].
pub fn kexec_file_unload(target: Target) -> Result<(), SysError> {
    let flags = FileFlags::UNLOAD | FileFlags::of(target);
    let number = file_load_number()?;
    // SAFETY: with UNLOAD the kernel looks at neither descriptor nor at the command line; a null
    // pointer with length 0 is no memory at all.
    let result = unsafe {
        libc::syscall(number, -1, -1, 0_usize, ptr::null::<u8>(), flags.bits() as c_ulong)
    };
    checked(Call::KexecFileLoad, result)
}

/// The architecture of the running kernel, which may have more bits than this program; otherwise the
/// name that the kernel gives to its machine.
pub fn running_arch() -> Result<Arch, String> {
    let uname = as_native(rustix::system::uname);
    let machine = uname.machine().to_string_lossy();
    Arch::of_uname(&machine).ok_or_else(|| machine.into_owned())
}

/// Calls `ask` in the kernel's native personality(2). In the 32-bit one, which setarch(8) and 32-bit
/// containers set, uname(2) of a 64-bit kernel says that the machine is a 32-bit one (kernel 6.1
/// kernel/sys.c, `override_architecture`).
fn as_native<T>(ask: impl FnOnce() -> T) -> T {
    let before = personality(PERSONALITY_QUERY);
    if before & PER_MASK != PER_LINUX32 {
        return ask();
    }
    personality(before & !PER_MASK);
    let answer = ask();
    personality(before);
    answer
}

/// The argument of personality(2) that changes nothing.
const PERSONALITY_QUERY: u32 = 0xffff_ffff;
/// Which part of a personality is the kind of system; the rest are flags (kernel 6.1
/// include/uapi/linux/personality.h).
const PER_MASK: u32 = 0xff;
/// The 32-bit one.
const PER_LINUX32: u32 = 8;

/// This thread's personality until now.
fn personality(new: u32) -> u32 {
    // SAFETY: personality takes a number and returns one, or -1 where a filter forbids it. It says
    // how the kernel answers this thread from now on; no memory is touched.
    unsafe { libc::personality(new.into()) as u32 }
}

/// Starts the loaded kernel at once, without a shutdown. Returns only if the kernel refuses.
pub fn reboot_kexec() -> SysError {
    let errno = match rustix::system::reboot(RebootCommand::Kexec) {
        Err(errno) => errno,
        // It does return after a program loaded with KEXEC_PRESERVE_CONTEXT; nothing here loads one.
        Ok(()) => Errno::INVAL,
    };
    SysError::Refused { call: Call::Reboot, errno }
}

/// `struct kexec_segment` of kernel 6.1 include/uapi/linux/kexec.h.
#[repr(C)]
struct KexecSegment {
    /// Content, in this process's memory.
    buf: *const u8,
    /// Its size in bytes.
    bufsz: usize,
    /// Physical address.
    mem: usize,
    /// Size there in bytes.
    memsz: usize,
}

impl KexecSegment {
    fn new(segment: &Segment<'_>) -> Result<Self, SysError> {
        Ok(Self {
            buf: segment.data.as_ptr(),
            bufsz: segment.data.len(),
            mem: word(segment.address)?,
            memsz: word(segment.memsz)?,
        })
    }
}

fn word(value: u64) -> Result<usize, SysError> {
    usize::try_from(value).map_err(|_| SysError::TooWide { value })
}

/// libc::syscall leaves the error in errno.
fn checked(call: Call, result: c_long) -> Result<(), SysError> {
    if result >= 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    Err(SysError::Refused { call, errno })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::What;
    use core::mem::{offset_of, size_of};

    #[test]
    fn a_segment_has_the_kernel_s_layout() {
        let word = size_of::<usize>();
        assert_eq!(offset_of!(KexecSegment, buf), 0);
        assert_eq!(offset_of!(KexecSegment, bufsz), word);
        assert_eq!(offset_of!(KexecSegment, mem), 2 * word);
        assert_eq!(offset_of!(KexecSegment, memsz), 3 * word);
        assert_eq!(size_of::<KexecSegment>(), 4 * word);
    }

    #[test]
    fn the_architecture_is_the_upper_half_of_the_flags() {
        assert_eq!(LoadFlags::of(Target::Crash).on(Arch::X86_64).bits(), 0x003e_0001);
        assert_eq!(LoadFlags::of(Target::Reboot).on(Arch::I386).bits(), 0x0003_0000);
        assert_eq!(LoadFlags::of(Target::Crash).on(Arch::Ppc64le).bits(), 0x0015_0001);
    }

    #[test]
    fn a_32_bit_personality_does_not_hide_the_kernel_s_architecture() {
        let native = running_arch();
        let before = personality(PER_LINUX32);
        let answer = running_arch();
        assert_eq!(personality(before), PER_LINUX32, "it is left as it was");
        assert_eq!(answer, native);
    }

    #[test]
    fn too_many_segments_are_refused_before_the_call() {
        let segment = Segment {
            what: What::Kernel,
            data: [].as_slice().into(),
            address: 0x10_0000,
            memsz: 0x1000,
            digest: None,
        };
        let segments = vec![segment; SEGMENT_MAX + 1];
        assert_eq!(
            kexec_load(0, &segments, LoadFlags::empty()),
            Err(SysError::TooManySegments { count: 17 })
        );
    }
}
