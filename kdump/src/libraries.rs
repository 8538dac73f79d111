//! The shared libraries of a program, found as its dynamic loader finds them (ld.so(8)), below any
//! root: this machine's, or that of an unpacked package.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader32, FileHeader64, Machine};
use object::read::FileKind;
use object::read::elf::{FileHeader, ProgramHeader};

/// Folders that loaders search without being told, besides those of Debian's architectures.
const FOLDERS: [&str; 4] = ["lib64", "usr/lib64", "lib", "usr/lib"];

/// Why the libraries are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not a program or library.
    #[error("{} is not a program or library", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        source: object::Error,
    },
    /// A shared library is nowhere.
    #[error("{} needs {library}, which is not below {}", program.display(), root.display())]
    Missing {
        /// What needs it.
        program: PathBuf,
        /// The library.
        library: String,
        /// Where it was looked for.
        root: PathBuf,
    },
}

/// What a dynamic program needs besides itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libraries {
    /// Path of the dynamic loader, as the program names it, and its file.
    pub loader: (String, PathBuf),
    /// Name and file of each library.
    pub files: BTreeMap<String, PathBuf>,
}

/// The libraries that `program` needs, from below `root`; `None` if it is static.
pub fn of_program(program: &Path, root: &Path) -> Result<Option<Libraries>, Error> {
    let elf = Elf::read(program)?;
    let Some(interpreter) = elf.interpreter else { return Ok(None) };
    let folders = folders(root);
    let loader = loader(&interpreter, &folders, root);
    let mut files = BTreeMap::new();
    let mut open = vec![(program.to_owned(), elf.links)];
    while let Some((of, links)) = open.pop() {
        for library in &links.needed {
            if files.contains_key(library) {
                continue;
            }
            let own = links.search.iter().map(|folder| origin(folder, &of, root));
            let (file, found) = own
                .chain(folders.iter().cloned())
                .map(|folder| folder.join(library))
                // One of another architecture may have the same name.
                .filter_map(|file| Some((file.clone(), Elf::read(&file).ok()?)))
                .find(|(_, found)| found.machine == elf.machine)
                .ok_or_else(|| Error::Missing {
                    program: of.clone(),
                    library: library.clone(),
                    root: root.to_owned(),
                })?;
            files.insert(library.clone(), file.clone());
            open.push((file, found.links));
        }
    }
    // Libraries name it as well.
    if let Some(name) = loader.file_name() {
        files.remove(&*name.to_string_lossy());
    }
    Ok(Some(Libraries { loader: (interpreter, loader), files }))
}

/// The loader's file. Its usual path may be a link that leaves an unpacked package's root: the
/// folders of libraries come first.
fn loader(interpreter: &str, folders: &[PathBuf], root: &Path) -> PathBuf {
    let path = Path::new(interpreter);
    let named = path.file_name().unwrap_or_default();
    let mut found = folders.iter().map(|folder| folder.join(named)).filter(|file| file.exists());
    found.next().unwrap_or_else(|| below(root, path))
}

/// `$ORIGIN` is the folder of the file that has the path.
fn origin(folder: &str, file: &Path, root: &Path) -> PathBuf {
    let of = file.parent().unwrap_or(file).to_string_lossy();
    match folder.strip_prefix("$ORIGIN").or_else(|| folder.strip_prefix("${ORIGIN}")) {
        Some(rest) => PathBuf::from(format!("{of}{rest}")),
        None => below(root, Path::new(folder)),
    }
}

/// The folders that are searched for every library: the configured ones first.
fn folders(root: &Path) -> Vec<PathBuf> {
    let etc = root.join("etc");
    let mut configurations = entries(&etc.join("ld.so.conf.d"));
    configurations.insert(0, etc.join("ld.so.conf"));
    let texts = configurations.iter().filter_map(|path| fs::read_to_string(path).ok());
    let configured: Vec<PathBuf> = texts
        .flat_map(|text| {
            let paths = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
            paths.map(|path| below(root, Path::new(path))).collect::<Vec<_>>()
        })
        .collect();
    let usual = FOLDERS.iter().map(|folder| root.join(folder));
    let of_architectures = ["lib", "usr/lib"].into_iter().flat_map(|lib| {
        let is_one = |path: &PathBuf| path.to_string_lossy().contains("-linux-gnu");
        entries(&root.join(lib)).into_iter().filter(is_one)
    });
    configured.into_iter().chain(of_architectures).chain(usual).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// What an ELF file says about other files.
struct Elf {
    machine: (Machine, bool, Endianness),
    interpreter: Option<String>,
    links: Links,
}

/// Libraries that a file needs, and where it wants them to be looked for.
struct Links {
    needed: Vec<String>,
    search: Vec<String>,
}

impl Elf {
    fn read(path: &Path) -> Result<Self, Error> {
        let data =
            fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let parsed = FileKind::parse(&*data).and_then(|kind| match kind {
            FileKind::Elf32 => Self::parse::<FileHeader32<Endianness>>(&data),
            _other => Self::parse::<FileHeader64<Endianness>>(&data),
        });
        parsed.map_err(|source| Error::Elf { path: path.to_owned(), source })
    }

    fn parse<E: FileHeader<Endian = Endianness>>(data: &[u8]) -> object::Result<Self> {
        let header = E::parse(data)?;
        let endian = header.endian()?;
        let mut interpreter = None;
        for segment in header.program_headers(endian, data)? {
            interpreter = interpreter.or(segment.interpreter(endian, data)?.map(text));
        }
        let mut links = Links { needed: Vec::new(), search: Vec::new() };
        let dynamic = header.sections(endian, data)?.dynamic_table(endian, data)?;
        for entry in &dynamic {
            match entry.tag {
                DT_NEEDED => links.needed.push(text(dynamic.string(entry)?)),
                DT_RPATH | DT_RUNPATH => {
                    let folders = text(dynamic.string(entry)?);
                    links.search.extend(folders.split(':').map(str::to_owned));
                }
                _of_no_file => {}
            }
        }
        let machine = (header.e_machine(endian), header.is_type_64(), endian);
        Ok(Self { machine, interpreter, links })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_this_machine_finds_the_same() {
        // The test itself is a dynamic program; ld.so lists what it loads for it.
        let program = std::env::current_exe().unwrap();
        let libraries = of_program(&program, Path::new("/")).unwrap().unwrap();
        let output = std::process::Command::new(&libraries.loader.1)
            .arg("--list")
            .arg(&program)
            .output()
            .unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let expected: BTreeMap<String, PathBuf> = listed
            .lines()
            .filter_map(|line| line.trim().split_once(" => "))
            // The loader itself is no library.
            .filter(|(name, _)| !name.contains('/'))
            .filter_map(|(name, found)| Some((name.to_owned(), found.split_once(" (")?.0.into())))
            .collect();
        assert!(!expected.is_empty(), "{listed}");
        let real = |files: &BTreeMap<String, PathBuf>| -> BTreeMap<String, PathBuf> {
            let real = |path: &PathBuf| path.canonicalize().unwrap();
            files.iter().map(|(name, path)| (name.clone(), real(path))).collect()
        };
        assert_eq!(real(&libraries.files), real(&expected));
    }

    #[test]
    fn a_library_that_is_nowhere_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let error = of_program(&program, empty.path()).unwrap_err();
        assert!(matches!(&error, Error::Missing { library, .. } if library.contains(".so")));
    }

    #[test]
    fn paths_relative_to_the_file_are_below_its_folder() {
        let file = Path::new("/root/opt/ssh/bin/ssh");
        let root = Path::new("/root");
        assert_eq!(origin("$ORIGIN/../lib", file, root), Path::new("/root/opt/ssh/bin/../lib"));
        assert_eq!(origin("${ORIGIN}", file, root), Path::new("/root/opt/ssh/bin"));
        assert_eq!(origin("/opt/lib", file, root), Path::new("/root/opt/lib"));
    }
}
