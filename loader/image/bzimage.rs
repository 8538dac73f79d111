//! x86 bzImage: the setup header and the file's parts.
//!
//! Layout: kernel 6.1 Documentation/x86/boot.rst, "The Real-Mode Kernel Header". All offsets
//! are file offsets, all fields little-endian.

use bitflags::bitflags;

use super::slice;

/// A bzImage: boot protocol 2.02 or later, every part inside the file.
#[derive(Clone, Debug)]
pub struct BzImage<'a> {
    /// The fields of the setup header.
    pub header: SetupHeader,
    /// The real-mode part, with the setup header in it: the file's first
    /// `(setup_sects + 1) * 512` bytes.
    pub setup: &'a [u8],
    /// The protected-mode part, `syssize * 16` bytes. A signature behind it is left out.
    pub kernel: &'a [u8],
    /// The compressed kernel inside `kernel`, or `None` if the header names none. With formats
    /// other than gzip its last four bytes are the unpacked size, not part of the stream.
    pub payload: Option<&'a [u8]>,
    header_bytes: &'a [u8],
}

/// File offset of the setup header in a bzImage, and of its copy in `boot_params`.
pub const SETUP_HEADER_OFFSET: usize = 0x1f1;

/// The oldest boot protocol that is accepted: 2.02, Linux 2.4, the first whose kernels find
/// boot_params and the command line anywhere, not only where real-mode code left them.
pub const OLDEST_PROTOCOL: u16 = 0x0202;

/// Fields of the setup header, by the names of boot.rst. Those that the header's protocol does not
/// have yet are what boot.rst says of kernels without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupHeader {
    /// Size of the setup code in 512-byte sectors; never 0 (a 0 in the file means 4).
    pub setup_sects: u8,
    /// Size of the protected-mode code in 16-byte units.
    pub syssize: u32,
    /// Boot protocol version, major in the high byte.
    pub version: u16,
    /// Bit 0 LOADED_HIGH, 1 KASLR_FLAG, 5 QUIET_FLAG, 6 KEEP_SEGMENTS, 7 CAN_USE_HEAP.
    pub loadflags: u8,
    /// Highest address that the initrd's last byte may have.
    pub initrd_addr_max: u32,
    /// Alignment, in bytes, that a relocatable kernel needs.
    pub kernel_alignment: u32,
    /// Whether the protected-mode code may be loaded at any suitably aligned address.
    pub relocatable_kernel: bool,
    /// 64-bit entry, loading above 4 GiB and the like.
    pub xloadflags: XloadFlags,
    /// Longest command line, in bytes without the final NUL.
    pub cmdline_size: u32,
    /// Offset of the payload in the protected-mode part.
    pub payload_offset: u32,
    /// Length of the payload; 0: none.
    pub payload_length: u32,
    /// Physical address where the kernel would rather be; where it must be if not relocatable.
    pub pref_address: u64,
    /// Bytes from its start that the kernel needs before it can look at a memory map. Before
    /// protocol 2.10 a guess: four times its compressed size.
    pub init_size: u32,
}

bitflags! {
    /// `xloadflags` of the setup header.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct XloadFlags: u16 {
        /// There is a 64-bit entry at 0x200 of the protected-mode part.
        const KERNEL_64 = 1 << 0;
        /// Kernel, boot_params, command line and initrd may be above 4 GiB.
        const CAN_BE_LOADED_ABOVE_4G = 1 << 1;
        /// There is a 32-bit EFI handover entry.
        const EFI_HANDOVER_32 = 1 << 2;
        /// There is a 64-bit EFI handover entry.
        const EFI_HANDOVER_64 = 1 << 3;
        /// kexec with EFI runtime services is supported.
        const EFI_KEXEC = 1 << 4;
        /// The 64-bit entry works with 5-level paging on; the kernel may go back to four levels.
        const LEVEL5 = 1 << 5;
        /// 5-level paging is enabled in the kernel.
        const LEVEL5_ENABLED = 1 << 6;
        // A newer kernel's flags are kept.
        const _ = !0;
    }
}

/// Whether `file` has the setup header's signature where a bzImage has it.
pub fn has_setup_header(file: &[u8]) -> bool {
    file.get(HEADER..).is_some_and(|rest| rest.starts_with(SIGNATURE))
}

const BOOT_FLAG: usize = 0x1fe;
const JUMP: usize = 0x200;
const HEADER: usize = 0x202;
const SIGNATURE: &[u8] = b"HdrS";
const SECTOR: usize = 512;
const LOADED_HIGH: u8 = 1 << 0;

impl<'a> BzImage<'a> {
    /// Parses `file`, of which [`has_setup_header`] holds.
    pub fn parse(file: &'a [u8]) -> Result<Self, BzImageError> {
        let fields = Fields { file };
        let signature = fields.bytes("header", HEADER)?;
        if signature != *SIGNATURE {
            return Err(BzImageError::NoSignature { found: signature });
        }
        let boot_flag = fields.u16("boot_flag", BOOT_FLAG)?;
        if boot_flag != 0xaa55 {
            return Err(BzImageError::BootFlag { found: boot_flag });
        }
        let mut header = SetupHeader::parse(&fields)?;
        let header_bytes = header_bytes(&fields, header.version)?;

        let setup_size = (usize::from(header.setup_sects) + 1) * SECTOR;
        let setup = part(file, "the real-mode setup code", 0, setup_size as u64)?;
        // The field is too short for large kernels before protocol 2.04.
        let kernel_size = if header.version < 0x0204 {
            (file.len() as u64).saturating_sub(setup_size as u64)
        } else {
            u64::from(header.syssize) * 16
        };
        if kernel_size == 0 {
            return Err(BzImageError::NoKernel);
        }
        let kernel = part(file, "the protected-mode kernel", setup_size as u64, kernel_size)?;
        if header.version < 0x020a {
            header.init_size = u32::try_from(kernel_size.saturating_mul(4)).unwrap_or(u32::MAX);
        }
        let payload = payload(&header, kernel)?;
        Ok(Self { header, setup, kernel, payload, header_bytes })
    }

    /// The setup header as it is in the file, from [`SETUP_HEADER_OFFSET`] to the end that the
    /// file itself states: what a boot loader copies into `boot_params`.
    pub fn header_bytes(&self) -> &'a [u8] {
        self.header_bytes
    }
}

impl SetupHeader {
    fn parse(fields: &Fields<'_>) -> Result<Self, BzImageError> {
        let version = fields.u16("version", 0x206)?;
        if version < OLDEST_PROTOCOL {
            return Err(BzImageError::Protocol { found: Protocol(version) });
        }
        let loadflags = fields.u8("loadflags", 0x211)?;
        if loadflags & LOADED_HIGH == 0 {
            return Err(BzImageError::NotLoadedHigh { loadflags });
        }
        let setup_sects = match fields.u8("setup_sects", SETUP_HEADER_OFFSET)? {
            0 => 4,
            sectors => sectors,
        };
        let old = Self {
            setup_sects,
            syssize: fields.u32("syssize", 0x1f4)?,
            version,
            loadflags,
            initrd_addr_max: 0x37ff_ffff,
            kernel_alignment: 1 << 20,
            relocatable_kernel: false,
            xloadflags: XloadFlags::empty(),
            cmdline_size: 255,
            payload_offset: 0,
            payload_length: 0,
            pref_address: 1 << 20,
            init_size: 0,
        };
        old.with_newer_fields(fields)
    }

    /// Reads what the header's protocol has.
    fn with_newer_fields(mut self, fields: &Fields<'_>) -> Result<Self, BzImageError> {
        if self.version >= 0x0203 {
            self.initrd_addr_max = fields.u32("initrd_addr_max", 0x22c)?;
        }
        if self.version >= 0x0205 {
            self.kernel_alignment = fields.u32("kernel_alignment", 0x230)?;
            self.relocatable_kernel = fields.u8("relocatable_kernel", 0x234)? != 0;
        }
        if self.version >= 0x0206 {
            self.cmdline_size = fields.u32("cmdline_size", 0x238)?;
        }
        if self.version >= 0x0208 {
            self.payload_offset = fields.u32("payload_offset", 0x248)?;
            self.payload_length = fields.u32("payload_length", 0x24c)?;
        }
        if self.version >= 0x020a {
            self.pref_address = fields.u64("pref_address", 0x258)?;
            self.init_size = fields.u32("init_size", 0x260)?;
        }
        if self.version >= 0x020c {
            self.xloadflags = XloadFlags::from_bits_retain(fields.u16("xloadflags", 0x236)?);
        }
        Ok(self)
    }
}

/// Where the fields of this protocol end.
const fn end_of_fields(version: u16) -> usize {
    match version {
        0..=0x0202 => 0x22c,
        0x0203..=0x0204 => 0x230,
        0x0205 => 0x235,
        0x0206 => 0x23c,
        0x0207 => 0x248,
        0x0208 => 0x250,
        0x0209 => 0x258,
        0x020a => 0x264,
        // From 2.11 on the loader does without the newer ones.
        _ => 0x268,
    }
}

/// The header ends where the short jump at 0x200 lands (boot.rst, "Details of Harder Fields").
fn header_bytes<'a>(fields: &Fields<'a>, version: u16) -> Result<&'a [u8], BzImageError> {
    let [_opcode, displacement] = fields.bytes("jump", JUMP)?;
    let end = JUMP + 2 + usize::from(displacement);
    let needed = end_of_fields(version);
    if end < needed {
        return Err(BzImageError::HeaderTooShort { end, needed, version: Protocol(version) });
    }
    let length = (end - SETUP_HEADER_OFFSET) as u64;
    part(fields.file, "the setup header", SETUP_HEADER_OFFSET as u64, length)
}

fn payload<'a>(header: &SetupHeader, kernel: &'a [u8]) -> Result<Option<&'a [u8]>, BzImageError> {
    if header.payload_length == 0 {
        return Ok(None);
    }
    let (offset, length) = (header.payload_offset, header.payload_length);
    slice(kernel, u64::from(offset), u64::from(length)).map(Some).ok_or(BzImageError::Payload {
        offset,
        length,
        kernel: kernel.len(),
    })
}

/// Reads fields by file offset.
struct Fields<'a> {
    file: &'a [u8],
}

impl Fields<'_> {
    fn bytes<const N: usize>(
        &self,
        what: &'static str,
        offset: usize,
    ) -> Result<[u8; N], BzImageError> {
        let bytes = part(self.file, what, offset as u64, N as u64)?;
        let mut field = [0; N];
        field.copy_from_slice(bytes);
        Ok(field)
    }

    fn u8(&self, what: &'static str, offset: usize) -> Result<u8, BzImageError> {
        self.bytes(what, offset).map(u8::from_le_bytes)
    }

    fn u16(&self, what: &'static str, offset: usize) -> Result<u16, BzImageError> {
        self.bytes(what, offset).map(u16::from_le_bytes)
    }

    fn u32(&self, what: &'static str, offset: usize) -> Result<u32, BzImageError> {
        self.bytes(what, offset).map(u32::from_le_bytes)
    }

    fn u64(&self, what: &'static str, offset: usize) -> Result<u64, BzImageError> {
        self.bytes(what, offset).map(u64::from_le_bytes)
    }
}

/// `length` bytes of the file, or an error that says what is missing.
fn part<'a>(
    file: &'a [u8],
    what: &'static str,
    offset: u64,
    length: u64,
) -> Result<&'a [u8], BzImageError> {
    slice(file, offset, length).ok_or(BzImageError::Truncated {
        what,
        offset,
        end: offset.saturating_add(length),
        file: file.len(),
    })
}

/// A boot protocol version, shown as 2.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u16);

impl core::fmt::Display for Protocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:02}", self.0 >> 8, self.0 & 0xff)
    }
}

/// Why a bzImage cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BzImageError {
    /// The file ends too early.
    #[error(
        "the bzImage is truncated: {what} is at {offset:#x}-{end:#x} but the file has only {file:#x} bytes; \
         copy or download it again"
    )]
    Truncated {
        /// Which field or part.
        what: &'static str,
        /// Its file offset.
        offset: u64,
        /// File offset of the first byte behind it.
        end: u64,
        /// Length of the file.
        file: usize,
    },
    /// No setup header.
    #[error("no \"HdrS\" at 0x202 (found {found:02x?}): not a bzImage")]
    NoSignature {
        /// The bytes there.
        found: [u8; 4],
    },
    /// The boot sector's signature is missing.
    #[error("bzImage boot_flag at 0x1fe is {found:#06x} instead of 0xaa55: the file is damaged")]
    BootFlag {
        /// What is there.
        found: u16,
    },
    /// A kernel older than Linux 2.4.
    #[error(
        "the bzImage has boot protocol {found}, which is too old: 2.02 (Linux 2.4) or later is needed"
    )]
    Protocol {
        /// The version in the file.
        found: Protocol,
    },
    /// A zImage.
    #[error(
        "bzImage loadflags {loadflags:#04x} lack LOADED_HIGH: a zImage, which loads below 640 KiB, is \
         not supported"
    )]
    NotLoadedHigh {
        /// The flags in the file.
        loadflags: u8,
    },
    /// The jump at 0x200 puts the header's end before the fields that its version has.
    #[error(
        "the bzImage setup header ends at {end:#x}, before the fields of boot protocol {version} \
         ({needed:#x})"
    )]
    HeaderTooShort {
        /// Its end by the jump at 0x200.
        end: usize,
        /// Where the fields end.
        needed: usize,
        /// The protocol that it claims.
        version: Protocol,
    },
    /// The protected-mode part is empty.
    #[error("bzImage syssize at 0x1f4 is 0: there is no protected-mode kernel")]
    NoKernel,
    /// The payload is not inside the protected-mode part.
    #[error(
        "the bzImage payload ({length:#x} bytes at {offset:#x}) does not fit in the protected-mode \
         kernel of {kernel:#x} bytes"
    )]
    Payload {
        /// `payload_offset`
        offset: u32,
        /// `payload_length`
        length: u32,
        /// Size of the protected-mode part.
        kernel: usize,
    },
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::image::testing::{bzimage, put};

    fn error(file: &[u8]) -> BzImageError {
        BzImage::parse(file).unwrap_err()
    }

    #[test]
    fn the_parts_are_where_the_header_says() {
        let mut file = bzimage(b"the payload");
        let signed = file.len();
        file.extend(b"a signature that is not part of the kernel");
        let image = BzImage::parse(&file).unwrap();
        assert_eq!(image.setup, &file[..0x600]);
        assert_eq!(image.kernel, &file[0x600..signed]);
        assert_eq!(image.payload, Some(&b"the payload"[..]));
        assert_eq!(image.header_bytes(), &file[0x1f1..0x26c]);
        let header = image.header;
        assert_eq!((header.version, header.setup_sects), (0x20f, 2));
        assert_eq!(header.kernel_alignment, 0x20_0000);
        assert_eq!((header.pref_address, header.init_size), (0x100_0000, 0x40_0000));
        assert_eq!((header.initrd_addr_max, header.cmdline_size), (0x7fff_ffff, 2047));
        assert!(header.relocatable_kernel);
        assert_eq!(header.xloadflags, XloadFlags::KERNEL_64 | XloadFlags::CAN_BE_LOADED_ABOVE_4G);
    }

    #[test]
    fn old_headers_may_say_0_for_4_setup_sectors() {
        let mut file = bzimage(&[0; 2048]);
        put(&mut file, 0x1f1, &[0]);
        put(&mut file, 0x1f4, &1_u32.to_le_bytes());
        put(&mut file, 0x24c, &[0; 4]);
        let image = BzImage::parse(&file).unwrap();
        assert_eq!(image.setup.len(), 5 * 512);
        assert_eq!(image.payload, None);
    }

    #[test]
    fn protocols_before_2_02_are_refused_by_name() {
        let mut file = bzimage(b"");
        put(&mut file, 0x206, &[0x01, 0x02]);
        assert!(matches!(error(&file), BzImageError::Protocol { found: Protocol(0x201) }));
        assert!(error(&file).to_string().contains("boot protocol 2.01, which is too old"));
    }

    #[test]
    fn fields_that_an_old_protocol_lacks_are_not_read() {
        let mut file = bzimage(b"payload");
        put(&mut file, 0x201, &[0x2a]); // the header ends at 0x22c
        put(&mut file, 0x206, &[0x02, 0x02]);
        put(&mut file, 0x1f4, &[0; 4]); // what counts is the file's length
        file.extend(b"all of the rest");
        let image = BzImage::parse(&file).unwrap();
        assert_eq!(image.kernel, &file[0x600..]);
        assert_eq!((image.payload, image.header_bytes().len()), (None, 0x22c - 0x1f1));
        let header = image.header;
        assert_eq!((header.pref_address, header.cmdline_size), (0x10_0000, 255));
        assert_eq!((header.initrd_addr_max, header.xloadflags.bits()), (0x37ff_ffff, 0));
        assert!(!header.relocatable_kernel);
        put(&mut file, 0x206, &[0x03, 0x02]);
        assert!(matches!(error(&file), BzImageError::HeaderTooShort { needed: 0x230, .. }));
    }

    #[test]
    fn the_header_of_protocol_2_12_is_shorter() {
        let mut file = bzimage(b"");
        put(&mut file, 0x206, &[0x0c, 0x02]);
        put(&mut file, 0x201, &[0x66]);
        let image = BzImage::parse(&file).unwrap();
        assert_eq!(image.header_bytes().len(), 0x268 - 0x1f1);
    }

    #[test]
    fn truncation_names_the_part_and_the_length() {
        let file = bzimage(b"payload");
        assert_eq!(
            error(&file[..0x210]).to_string(),
            "the bzImage is truncated: loadflags is at 0x211-0x212 but the file has only 0x210 \
             bytes; copy or download it again"
        );
        assert!(error(&file[..file.len() - 1]).to_string().contains("protected-mode kernel"));
    }

    #[test]
    fn contradictions_are_refused() {
        let good = bzimage(b"payload");
        let with = |offset: usize, bytes: &[u8]| {
            let mut file = good.clone();
            put(&mut file, offset, bytes);
            error(&file)
        };
        assert!(matches!(with(0x202, b"XXXX"), BzImageError::NoSignature { .. }));
        assert!(matches!(with(0x1fe, &[0, 0]), BzImageError::BootFlag { found: 0 }));
        assert!(matches!(with(0x211, &[0]), BzImageError::NotLoadedHigh { .. }));
        assert!(matches!(with(0x201, &[0x30]), BzImageError::HeaderTooShort { end: 0x232, .. }));
        assert!(matches!(with(0x1f4, &[0; 4]), BzImageError::NoKernel));
        assert!(matches!(with(0x248, &[0xff; 4]), BzImageError::Payload { .. }));
        assert!(matches!(with(0x24c, &[0xff; 4]), BzImageError::Payload { .. }));
    }
}
