//! Finds the kernel modules that given modules need, in the order they must be loaded.
//!
//! What a module needs is read from the module itself (its `.modinfo` section: `depends`,
//! `softdep`). Which file has a module, and which module has an alias, come from the files that
//! `depmod` writes, where they exist; a kernel package that was only unpacked has none, and then
//! its tree is searched. Modules are returned unpacked: the capture kernel needs no decompressor.

mod modinfo;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modinfo::ModInfo;
pub use modinfo::ModInfoError;
use purgatorio::image::unpack::{UnpackError, unpack};

/// More than any module unpacks to, in bytes: the largest, with debug information, stay below. A
/// damaged or hostile file must not fill the memory.
const LIMIT: usize = 1 << 30;

/// Why modules could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the tree cannot be read.
    #[error("cannot read the kernel's modules, {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No file and no built-in module has this name.
    #[error(
        "modules: {name} is neither a module nor built in under {}: \
         install the package with this kernel's modules, or correct the name", tree.display()
    )]
    NotFound {
        /// The name that was looked for.
        name: String,
        /// The tree that was searched.
        tree: PathBuf,
    },
    /// A compressed module is damaged.
    #[error("modules: cannot unpack {}", path.display())]
    Unpack {
        /// The module's file.
        path: PathBuf,
        /// What the decoder found.
        source: UnpackError,
    },
    /// A module is not an ELF file with module information.
    #[error("modules: {} is not a kernel module", path.display())]
    NotAModule {
        /// The module's file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModInfoError,
    },
}

/// A module to load.
#[derive(Clone, Debug)]
pub struct Module {
    /// The kernel's name for it, with `_` for every `-`.
    pub name: String,
    /// Its file's path below the tree, without a compression suffix: `kernel/fs/ext4/ext4.ko`.
    pub path: PathBuf,
    /// The unpacked ELF file, with its signature if it has one.
    pub data: Vec<u8>,
}

/// The module tree of one kernel: `/lib/modules/KVER`.
#[derive(Debug)]
pub struct ModuleTree {
    dir: PathBuf,
    /// Module name to the path of its file below `dir`.
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    /// Alias without wildcards to the modules that have it.
    aliases: BTreeMap<String, Vec<String>>,
}

impl ModuleTree {
    /// Reads the index of the tree at `dir` (`/lib/modules/KVER`).
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let mut tree = Self {
            dir: dir.to_owned(),
            files: BTreeMap::new(),
            builtin: BTreeSet::new(),
            aliases: BTreeMap::new(),
        };
        if let Some(dep) = tree.read_index("modules.dep")? {
            let paths = dep.lines().filter_map(|line| line.split_once(':'));
            tree.files = paths.filter_map(|(path, _)| named(Path::new(path))).collect();
        } else {
            tree.search_files()?;
        }
        let builtin = tree.read_index("modules.builtin")?.unwrap_or_default();
        tree.builtin =
            builtin.lines().filter_map(|line| named(Path::new(line))).map(|m| m.0).collect();
        if let Some(alias) = tree.read_index("modules.alias")? {
            tree.take_aliases(&alias);
        } else {
            tree.search_aliases()?;
        }
        Ok(tree)
    }

    /// Whether the kernel has this module built in.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&canonical(name))
    }

    /// Whether the kernel has this module, as a file or built in.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(&canonical(name)) || self.is_builtin(name)
    }

    /// An index file of `depmod` or of the kernel's build; `None` if the tree has none.
    fn read_index(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Fills `files` from the directories. `updates` comes last, so that its modules replace the
    /// kernel's own, as `depmod` has it by default.
    fn search_files(&mut self) -> Result<(), Error> {
        let mut top = directory(&self.dir)?;
        top.sort_by_key(|path| path.ends_with("updates"));
        for path in top {
            // `build` and `source` are links into a source tree.
            if path.is_dir() && !path.is_symlink() {
                self.search_below(&path)?;
            }
        }
        Ok(())
    }

    fn search_below(&mut self, dir: &Path) -> Result<(), Error> {
        for path in directory(dir)? {
            if path.is_dir() && !path.is_symlink() {
                self.search_below(&path)?;
            } else if let Some((name, path)) = path.strip_prefix(&self.dir).ok().and_then(named) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// Fills `aliases` from `alias PATTERN MODULE` lines. Patterns with wildcards match devices,
    /// which are found by their drivers' names here, so only plain aliases are kept.
    fn take_aliases(&mut self, lines: &str) {
        for line in lines.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(alias), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                self.add_alias(alias, module);
            }
        }
    }

    /// Fills `aliases` from the modules themselves. Modules ask for others by alias only for
    /// checksums and ciphers (`crypto-crc32c`), so only those directories are read.
    fn search_aliases(&mut self) -> Result<(), Error> {
        let is_crypto = |path: &Path| path.components().any(|part| part.as_os_str() == "crypto");
        let names: Vec<String> =
            self.files.iter().filter(|(_, path)| is_crypto(path)).map(|(n, _)| n.clone()).collect();
        for name in names {
            let Some((_, info)) = self.read_module(&name)? else { continue };
            for alias in info.aliases {
                self.add_alias(&alias, &name);
            }
        }
        Ok(())
    }

    fn add_alias(&mut self, alias: &str, module: &str) {
        if !alias.contains(['*', '?', '[']) {
            self.aliases.entry(canonical(alias)).or_default().push(canonical(module));
        }
    }

    /// The module with this name and what it says about itself; `None` if the tree has no such
    /// file.
    fn read_module(&self, name: &str) -> Result<Option<(Module, ModInfo)>, Error> {
        let Some(relative) = self.files.get(name) else { return Ok(None) };
        let path = self.dir.join(relative);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(Error::Read { path, source }),
        };
        let packed = relative.extension().is_some_and(|suffix| suffix != "ko");
        let (data, relative) = if packed {
            match unpack(&bytes, LIMIT, &mut |_| ()) {
                Ok(data) => (data, relative.with_extension("")),
                Err(source) => return Err(Error::Unpack { path, source }),
            }
        } else {
            (bytes, relative.clone())
        };
        match ModInfo::parse(&data) {
            Ok(info) => Ok(Some((Module { name: name.to_owned(), path: relative, data }, info))),
            Err(source) => Err(Error::NotAModule { path, source }),
        }
    }
}

/// The modules that `names` (modules or aliases) stand for, with all they depend on, in the order
/// in which the kernel takes them. Built-in modules are left out.
///
/// A missing soft dependency is left out as well: the kernel works without it.
pub fn resolve(tree: &ModuleTree, names: &[&str]) -> Result<Vec<Module>, Error> {
    let mut resolution = Resolution { tree, visited: BTreeSet::new(), ordered: Vec::new() };
    for name in names {
        resolution.add(name, Need::Hard)?;
    }
    Ok(resolution.ordered)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Hard,
    Soft,
}

struct Resolution<'a> {
    tree: &'a ModuleTree,
    visited: BTreeSet<String>,
    ordered: Vec<Module>,
}

impl Resolution<'_> {
    fn add(&mut self, name: &str, need: Need) -> Result<(), Error> {
        let name = canonical(name);
        if !self.visited.insert(name.clone()) {
            return Ok(());
        }
        if let Some((module, info)) = self.tree.read_module(&name)? {
            return self.add_with_needs(module, &info);
        }
        if let Some(providers) = self.tree.aliases.get(&name) {
            return providers.iter().try_for_each(|provider| self.add(provider, need));
        }
        if need == Need::Soft || self.tree.is_builtin(&name) {
            return Ok(());
        }
        Err(Error::NotFound { name, tree: self.tree.dir.clone() })
    }

    fn add_with_needs(&mut self, module: Module, info: &ModInfo) -> Result<(), Error> {
        for name in &info.softdeps_before {
            self.add(name, Need::Soft)?;
        }
        for name in &info.depends {
            self.add(name, Need::Hard)?;
        }
        self.ordered.push(module);
        for name in &info.softdeps_after {
            self.add(name, Need::Soft)?;
        }
        Ok(())
    }
}

/// File names and aliases write `-` and `_` as they like; the kernel's names have `_`.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name and its path, if the path is that of a module.
fn named(path: &Path) -> Option<(String, PathBuf)> {
    let file = path.file_name()?.to_str()?;
    let (stem, suffix) = file.split_once(".ko")?;
    matches!(suffix, "" | ".xz" | ".zst" | ".gz").then(|| (canonical(stem), path.to_owned()))
}

fn directory(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(path).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    let mut entries = entries.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests;
