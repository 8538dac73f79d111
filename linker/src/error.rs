//! What can be wrong with a purgatory image.

/// Why an image cannot be used. Addresses are the image's own (as linked) unless said otherwise.
///
/// An image is made by the project's own build, so each of these means that the file is damaged
/// or was built by something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not ELF, or headers or tables that are outside the file.
    #[error("purgatory image: {what} cannot be read: {reason}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What the ELF reader says.
        reason: object::read::Error,
    },
    /// Not a position-independent executable.
    #[error("purgatory image: e_type is {e_type}, not ET_DYN (3): it must be a static PIE")]
    NotPie {
        /// What it is.
        e_type: u16,
    },
    /// No relocations are known for this machine.
    #[error("purgatory image: e_machine {e_machine} with a {bits}-bit class is not supported")]
    UnknownMachine {
        /// `e_machine`
        e_machine: u16,
        /// 32 or 64.
        bits: u8,
    },
    /// Nothing to load.
    #[error("purgatory image: it has no PT_LOAD")]
    NothingToLoad,
    /// A PT_LOAD that contradicts itself, the file, or the one before it.
    #[error("purgatory image: the PT_LOAD at {p_vaddr:#x} (p_memsz {p_memsz:#x}) {problem}")]
    Load {
        /// `p_vaddr`
        p_vaddr: u64,
        /// `p_memsz`
        p_memsz: u64,
        /// What is wrong.
        problem: LoadProblem,
    },
    /// The entry is not in code.
    #[error("purgatory image: e_entry {entry:#x} is in no executable PT_LOAD")]
    Entry {
        /// `e_entry`
        entry: u64,
    },
    /// Bytes that the loader would replace, but that are not code.
    #[error("purgatory image: {length} bytes at offset {offset:#x} are not all in its code")]
    Overwrite {
        /// Offset from the image's first byte.
        offset: usize,
        /// How many.
        length: usize,
    },
    /// A relocation of another type than RELATIVE.
    #[error(
        "purgatory image: relocation type {r_type} at {offset:#x}; only type {relative} \
         (RELATIVE) can be applied"
    )]
    RelocationType {
        /// Its `r_type`.
        r_type: u32,
        /// What it would change.
        offset: u64,
        /// The RELATIVE type of this machine.
        relative: u32,
    },
    /// A relocation with a packed or compact table.
    #[error(
        "purgatory image: section type {sh_type:#x} (packed relocations); link without \
         -z pack-relative-relocs"
    )]
    PackedRelocations {
        /// `sh_type`
        sh_type: u32,
    },
    /// A relocation of something that is not loaded.
    #[error(
        "purgatory image: the relocation at {offset:#x} changes {width} bytes that are not in \
         the file's part of one PT_LOAD"
    )]
    RelocationOutside {
        /// What it would change.
        offset: u64,
        /// How many bytes.
        width: u8,
    },
    /// A relocated pointer that does not fit.
    #[error(
        "purgatory at {base:#x}: the pointer at {offset:#x} does not fit {width} bytes; place \
         purgatory lower"
    )]
    RelocationOverflow {
        /// What would be changed.
        offset: u64,
        /// How many bytes.
        width: u8,
        /// Physical address of the placement.
        base: u64,
    },
    /// The chosen address does not suit the image.
    #[error(
        "purgatory cannot be placed at {base:#x}: it needs {size:#x} bytes aligned to {align:#x} \
         below {limit:#x}"
    )]
    Base {
        /// Physical address asked for.
        base: u64,
        /// Size of the image in memory.
        size: u64,
        /// Its alignment.
        align: u64,
        /// First address it cannot reach.
        limit: u128,
    },
    /// No section for the parameters.
    #[error("purgatory image: no section {section}", section = purgatory::params::SECTION)]
    NoParams,
    /// The section is not where it can be filled.
    #[error(
        "purgatory image: section {section} ({size:#x} bytes at {address:#x}) must have \
         {expected:#x} bytes in a writable PT_LOAD's part of the file",
        section = purgatory::params::SECTION
    )]
    ParamsPlace {
        /// `sh_addr`
        address: u64,
        /// `sh_size`
        size: u64,
        /// Size of the block.
        expected: u64,
    },
    /// The block in the image is another version's.
    #[error(
        "purgatory image: its parameter block says magic {magic:#x}, version {version}, size \
         {size}; \
         this loader writes magic {:#x}, version {}, size {}: build both from the same source",
        purgatory::params::MAGIC, purgatory::params::VERSION,
        core::mem::size_of::<purgatory::params::Params>()
    )]
    ParamsVersion {
        /// Magic number in the image.
        magic: u64,
        /// Version in the image.
        version: u32,
        /// Size in the image.
        size: u32,
    },
}

/// What is wrong with a PT_LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadProblem {
    /// `p_filesz` > `p_memsz`
    #[error("has more bytes in the file than in memory")]
    FileLargerThanMemory,
    /// Not in the file.
    #[error("is not inside the file: the image is truncated")]
    OutsideFile,
    /// Below the end of the one before it.
    #[error("overlaps the one before it or is out of order")]
    Overlap,
    /// Past the end of the address space, or absurdly far from the first one.
    #[error("reaches too far: an image may span at most 16 MiB")]
    TooFar,
    /// `p_align` is not a power of two.
    #[error("has an alignment that is not a power of two or is above 16 MiB")]
    Align,
}
