//! Reads an ELF dump by physical address, and asks independent readers about it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, PT_LOAD, PT_NOTE, ProgramType};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache};

use crate::process;

/// A dump that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("{path}: cannot read")]
    Read {
        /// The dump.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not an ELF file.
    #[error("{path}: not an ELF core")]
    Elf {
        /// The dump.
        path: PathBuf,
        /// What the parser says.
        source: object::Error,
    },
    /// It lacks memory that the machine had.
    #[error("{path}: no PT_LOAD has the {length} bytes at physical address {address:#x}")]
    NoMemory {
        /// The dump.
        path: PathBuf,
        /// First byte that was wanted.
        address: u64,
        /// How many.
        length: usize,
    },
    /// Another program cannot read it.
    #[error(transparent)]
    Tool(#[from] process::Error),
}

/// One PT_LOAD.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// First physical address.
    pub physical: u64,
    /// First virtual address.
    pub virtual_address: u64,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// How many bytes.
    pub size: u64,
}

/// An ELF dump.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    file: File,
    /// Its PT_LOADs in the file's order.
    pub loads: Vec<Load>,
    /// Offset and size of its PT_NOTEs.
    notes: Vec<(u64, u64)>,
}

impl Dump {
    /// Reads the dump's headers.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let headers = program_headers(&ReadCache::new(file.try_clone().map_err(failed)?))
            .map_err(|source| Error::Elf { path: path.to_owned(), source })?;
        let of = |kind| headers.iter().filter(move |(found, _)| *found == kind).map(|(_, l)| *l);
        let notes = of(PT_NOTE).map(|note| (note.offset, note.size)).collect();
        Ok(Self { path: path.to_owned(), file, loads: of(PT_LOAD).collect(), notes })
    }

    /// The `length` bytes of memory at physical `address`.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let load = self.load_of(address, length)?;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, load.offset + (address - load.physical))
            .map_err(|source| Error::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// The virtual address at which the dumped kernel had physical `address`, if it had one: a
    /// 32-bit kernel does not map all memory.
    pub fn virtual_address(&self, address: u64) -> Result<Option<u64>, Error> {
        let load = self.load_of(address, 1)?;
        let is_mapped = !matches!(load.virtual_address, 0 | u64::MAX);
        Ok(is_mapped.then(|| load.virtual_address.wrapping_add(address - load.physical)))
    }

    fn load_of(&self, address: u64, length: usize) -> Result<Load, Error> {
        let inside = |load: &&Load| {
            address
                .checked_sub(load.physical)
                .and_then(|offset| offset.checked_add(length as u64))
                .is_some_and(|end| end <= load.size)
        };
        self.loads.iter().find(inside).copied().ok_or_else(|| Error::NoMemory {
            path: self.path.clone(),
            address,
            length,
        })
    }

    /// The value that the dumped kernel's vmcoreinfo has for `key`.
    pub fn vmcoreinfo(&self, key: &str) -> Result<Option<String>, Error> {
        let failed = |source| Error::Read { path: self.path.clone(), source };
        for &(offset, size) in &self.notes {
            let mut note = vec![0; usize::try_from(size).unwrap_or_default()];
            self.file.read_exact_at(&mut note, offset).map_err(failed)?;
            let prefix = format!("{key}=");
            let text = String::from_utf8_lossy(&note);
            if let Some(value) = text.lines().find_map(|line| line.strip_prefix(&prefix)) {
                return Ok(Some(value.to_owned()));
            }
        }
        Ok(None)
    }

    /// The kernel's log, as makedumpfile finds it in the dump of a machine like the host.
    pub fn kernel_log(&self) -> Result<String, Error> {
        kernel_log(&self.path)
    }

    /// Whether grep finds `text` anywhere in the dump.
    pub fn has_text(&self, text: &str) -> Result<bool, Error> {
        let mut grep = Command::new("grep");
        grep.args(["-q", "-a", "-F", "-e", text]).arg(&self.path).env("LC_ALL", "C");
        match process::output(&mut grep) {
            Ok(_) => Ok(true),
            // 2 and more are errors.
            Err(process::Error::Failed { status, .. }) if status.code() == Some(1) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What readelf says of the file header, the program headers and the notes.
    pub fn readelf(&self) -> Result<String, Error> {
        Ok(process::output(Command::new("readelf").args(["-h", "-l", "-n", "-W"]).arg(&self.path))?)
    }

    /// The eight bytes at virtual address `address`, as `gdb` reads them from the dump.
    pub fn gdb_word(&self, gdb: &str, address: u64) -> Result<Option<u64>, Error> {
        let mut core = std::ffi::OsString::from("--core=");
        core.push(&self.path);
        let examine = format!("x/1gx {address:#x}");
        let output = process::output(
            Command::new(gdb).args(["-nx", "-batch"]).arg(core).args(["-ex", &examine]),
        )?;
        let line = output.lines().find(|line| line.starts_with(&format!("{address:#x}")));
        Ok(line
            .and_then(|line| line.rsplit("0x").next())
            .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()))
    }
}

/// The kernel's log, as makedumpfile finds it in the dump, in whatever format, at `path`, of a
/// machine like the host.
pub fn kernel_log(path: &Path) -> Result<String, Error> {
    kernel_log_by(Path::new("makedumpfile"), path)
}

/// The same, as that makedumpfile finds it.
pub fn kernel_log_by(makedumpfile: &Path, path: &Path) -> Result<String, Error> {
    let log = path.with_extension("dmesg");
    process::output(Command::new(makedumpfile).args(["--dump-dmesg", "-f"]).arg(path).arg(&log))?;
    std::fs::read_to_string(&log).map_err(|source| Error::Read { path: log, source })
}

/// Makes a dump of the stream in the file `flat`, beside it.
pub fn reassembled(flat: &Path) -> Result<PathBuf, Error> {
    let dump = flat.with_extension("");
    let stream =
        File::open(flat).map_err(|source| Error::Read { path: flat.to_owned(), source })?;
    process::output_from(Command::new("makedumpfile").args(["-R"]).arg(&dump), stream)?;
    Ok(dump)
}

/// Type and place of each program header.
fn program_headers(file: &ReadCache<File>) -> object::Result<Vec<(ProgramType, Load)>> {
    match FileKind::parse(file)? {
        FileKind::Elf32 => headers_of::<FileHeader32<Endianness>>(file),
        _other => headers_of::<FileHeader64<Endianness>>(file),
    }
}

fn headers_of<E: FileHeader<Endian = Endianness>>(
    file: &ReadCache<File>,
) -> object::Result<Vec<(ProgramType, Load)>> {
    let header = E::parse(file)?;
    let endian = header.endian()?;
    let place = |p: &E::ProgramHeader| Load {
        physical: p.p_paddr(endian).into(),
        virtual_address: p.p_vaddr(endian).into(),
        offset: p.p_offset(endian).into(),
        size: p.p_filesz(endian).into(),
    };
    let headers = header.program_headers(endian, file)?;
    Ok(headers.iter().map(|p| (p.p_type(endian), place(p))).collect())
}
