//! What a purgatory image must be, checked on the image itself: the loader can relocate it, the
//! machine can run it with nothing set up, and it is small.

use iced_x86::{CpuidFeature, Decoder, DecoderOptions, Instruction};
use object::elf::{self, ProgramHeader64};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, SectionFlags, SectionKind,
};

/// Most bytes, over all PT_LOADs with their padding, that an image may take in memory.
const SIZE_CEILING: u64 = 24 * 1024;
/// Page size: PT_LOADs start on a page.
const PAGE: u64 = 4096;
/// Section of the parameter block (`purgatory::params::SECTION`).
const PARAMS_SECTION: &str = ".purgatory.params";

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It is not an ELF file that can be read.
    #[error("audit: cannot read the image: {0}")]
    Parse(#[from] object::Error),
    /// The linker crate does nothing but add the load address.
    #[error(
        "audit: relocation {0:?}: only R_*_RELATIVE may remain; look for an address that the \
         compiler could not make relative"
    )]
    Relocation(RelocationFlags),
    /// There is nothing at run time to resolve it.
    #[error("audit: undefined symbol {0:?}")]
    Undefined(String),
    /// A panic message or `{}` got in, and with it the machinery behind `format!`.
    #[error("audit: {0} is linked in: purgatory has its own console functions, see console.rs")]
    Formatting(String),
    /// An instruction faults, or destroys registers, unless somebody prepared for it.
    #[error(
        "audit: {section}+{offset:#x} in {symbol}: {mnemonic} needs {feature}, which purgatory does \
         not switch on here"
    )]
    Instruction {
        /// Where.
        section: String,
        /// Offset in the section.
        offset: u64,
        /// The function.
        symbol: String,
        /// What.
        mnemonic: String,
        /// The CPU feature it belongs to.
        feature: String,
    },
    /// Code in a section whose rules are not known.
    #[error("audit: code in section {0:?}: image.ld should put it in one that is audited")]
    UnknownCode(String),
    /// The loader finds the parameters by section.
    #[error("audit: there is no section {PARAMS_SECTION}, or it is not writable data")]
    NoParams,
    /// Code and data must be separable by pages.
    #[error("audit: PT_LOAD at {0:#x} does not start on a page")]
    Unaligned(u64),
    /// Every capture kernel's memory holds it.
    #[error("audit: {0} bytes in memory, {SIZE_CEILING} are allowed")]
    TooLarge(u64),
}

/// Checks an x86_64 image that still has its symbols.
pub fn audit(image: &[u8]) -> Result<(), AuditError> {
    let file = ElfFile64::<Endianness>::parse(image)?;
    check_relocations(&file)?;
    check_symbols(&file)?;
    check_params(&file)?;
    check_segments(&file)?;
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        check_code(&file, section.name()?, section.address(), section.data()?)?;
    }
    Ok(())
}

fn check_relocations(file: &ElfFile64<'_>) -> Result<(), AuditError> {
    for (_, relocation) in file.dynamic_relocations().into_iter().flatten() {
        if relocation.flags() != (RelocationFlags::Elf { r_type: elf::R_X86_64_RELATIVE }) {
            return Err(AuditError::Relocation(relocation.flags()));
        }
    }
    Ok(())
}

fn check_symbols(file: &ElfFile64<'_>) -> Result<(), AuditError> {
    // Symbol 0 is undefined by definition, and has no name.
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        let name = symbol.name()?;
        if symbol.is_undefined() && !name.is_empty() {
            return Err(AuditError::Undefined(name.into()));
        }
        // The module's path as both of the compiler's mangling schemes write it.
        if name.contains("4core3fmt") {
            return Err(AuditError::Formatting(name.into()));
        }
    }
    Ok(())
}

fn check_params(file: &ElfFile64<'_>) -> Result<(), AuditError> {
    let section = file.section_by_name(PARAMS_SECTION).ok_or(AuditError::NoParams)?;
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(elf::SHF_WRITE) => Ok(()),
        _ => Err(AuditError::NoParams),
    }
}

fn check_segments(file: &ElfFile64<'_>) -> Result<(), AuditError> {
    let endian = file.endian();
    let is_load = |header: &&ProgramHeader64<Endianness>| header.p_type(endian) == elf::PT_LOAD;
    let mut end = 0;
    for header in file.elf_program_headers().iter().filter(is_load) {
        let start = header.p_vaddr(endian);
        if start % PAGE != 0 {
            return Err(AuditError::Unaligned(start));
        }
        end = end.max(start.saturating_add(header.p_memsz(endian)));
    }
    if end > SIZE_CEILING { Err(AuditError::TooLarge(end)) } else { Ok(()) }
}

/// Decodes one section's code from its first byte to its last.
fn check_code(
    file: &ElfFile64<'_>,
    section: &str,
    address: u64,
    code: &[u8],
) -> Result<(), AuditError> {
    let (bitness, digest) = match section {
        ".text" => (64, false),
        ".code32" => (32, false),
        ".digest" => (64, true),
        _ => return Err(AuditError::UnknownCode(section.into())),
    };
    for instruction in &mut Decoder::with_ip(bitness, code, address, DecoderOptions::NONE) {
        let allowed = |feature| is_general(feature) || digest && is_sha_ni(feature);
        if let Some(feature) = instruction.cpuid_features().iter().find(|&&it| !allowed(it)) {
            return Err(AuditError::Instruction {
                section: section.into(),
                offset: instruction.ip() - address,
                symbol: symbol_at(file, &instruction),
                mnemonic: format!("{:?}", instruction.mnemonic()),
                feature: format!("{feature:?}"),
            });
        }
    }
    Ok(())
}

/// What every 64-bit CPU does without FPU, MMX or vector registers.
fn is_general(feature: CpuidFeature) -> bool {
    matches!(
        feature,
        CpuidFeature::INTEL8086
            | CpuidFeature::INTEL186
            | CpuidFeature::INTEL286
            | CpuidFeature::INTEL386
            | CpuidFeature::INTEL486
            | CpuidFeature::X64
            | CpuidFeature::CMOV
            | CpuidFeature::CPUID
            | CpuidFeature::MSR
            | CpuidFeature::MULTIBYTENOP
            | CpuidFeature::PAUSE
    )
}

/// What the digest switches on and asks CPUID for (arch/x86_64/src/cpu.rs).
fn is_sha_ni(feature: CpuidFeature) -> bool {
    matches!(
        feature,
        CpuidFeature::SSE
            | CpuidFeature::SSE2
            | CpuidFeature::SSSE3
            | CpuidFeature::SSE4_1
            | CpuidFeature::SHA
    )
}

fn symbol_at(file: &ElfFile64<'_>, instruction: &Instruction) -> String {
    file.symbols()
        .find(|symbol| {
            (symbol.address()..symbol.address() + symbol.size()).contains(&instruction.ip())
        })
        .and_then(|symbol| symbol.name().ok())
        .unwrap_or("an unnamed function")
        .into()
}
