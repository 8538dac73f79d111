//! What a purgatory image must be, checked on the image itself: the loader can relocate it, the
//! machine can run it with nothing set up, and it is small.

mod ppc64;
mod x86;

use object::read::File;
use object::{
    Architecture, Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol, RelocationFlags,
    SectionFlags, SectionKind, elf,
};

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
    /// There are no rules for its code.
    #[error("audit: {0:?} images are not known: build/audit/ needs the rules of their code")]
    UnknownMachine(Architecture),
    /// It can be loaded at one address only.
    #[error("audit: not a static PIE: look at the flags that its linker was given")]
    NotPie,
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
    #[error("audit: {size} bytes in memory, {ceiling} are allowed")]
    TooLarge {
        /// Bytes over all PT_LOADs with their padding.
        size: u64,
        /// Most that are allowed.
        ceiling: u64,
    },
}

/// Checks an image that still has its symbols and may take `size_ceiling` bytes in memory, over
/// all PT_LOADs with their padding.
pub fn audit(image: &[u8], size_ceiling: u64) -> Result<(), AuditError> {
    let file = File::parse(image)?;
    let (relative, check_code): (_, CheckCode) = match file.architecture() {
        Architecture::X86_64 => (elf::R_X86_64_RELATIVE, x86::check_code),
        Architecture::I386 => (elf::R_386_RELATIVE, x86::check_code),
        Architecture::PowerPc64 => (elf::R_PPC64_RELATIVE, ppc64::check_code),
        other => return Err(AuditError::UnknownMachine(other)),
    };
    if file.kind() != ObjectKind::Dynamic {
        return Err(AuditError::NotPie);
    }
    check_relocations(&file, relative)?;
    check_symbols(&file)?;
    check_params(&file)?;
    check_segments(&file, size_ceiling)?;
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let (name, address) = (section.name()?, section.address());
        check_code(&file, Code { section: name, address, bytes: section.data()? })?;
    }
    Ok(())
}

/// A machine's rules for the instructions of one section.
type CheckCode = fn(&File<'_>, Code<'_>) -> Result<(), AuditError>;

/// A section with code.
struct Code<'a> {
    section: &'a str,
    address: u64,
    bytes: &'a [u8],
}

fn check_relocations(file: &File<'_>, relative: elf::RelocationType) -> Result<(), AuditError> {
    for (_, relocation) in file.dynamic_relocations().into_iter().flatten() {
        if relocation.flags() != (RelocationFlags::Elf { r_type: relative }) {
            return Err(AuditError::Relocation(relocation.flags()));
        }
    }
    Ok(())
}

fn check_symbols(file: &File<'_>) -> Result<(), AuditError> {
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

fn check_params(file: &File<'_>) -> Result<(), AuditError> {
    let section = file.section_by_name(PARAMS_SECTION).ok_or(AuditError::NoParams)?;
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(elf::SHF_WRITE) => Ok(()),
        _ => Err(AuditError::NoParams),
    }
}

fn check_segments(file: &File<'_>, ceiling: u64) -> Result<(), AuditError> {
    let mut size = 0;
    for load in file.segments() {
        if load.address() % PAGE != 0 {
            return Err(AuditError::Unaligned(load.address()));
        }
        size = size.max(load.address().saturating_add(load.size()));
    }
    if size > ceiling { Err(AuditError::TooLarge { size, ceiling }) } else { Ok(()) }
}

/// The function that an instruction belongs to.
fn symbol_at(file: &File<'_>, address: u64) -> String {
    file.symbols()
        .find(|symbol| (symbol.address()..symbol.address() + symbol.size()).contains(&address))
        .and_then(|symbol| symbol.name().ok())
        .unwrap_or("an unnamed function")
        .into()
}
