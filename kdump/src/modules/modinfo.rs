//! What a module says about itself: the `.modinfo` section, `tag=value` strings that end in NUL
//! (include/linux/module.h, Linux 6.1).

use object::read::{Object, ObjectSection};

/// Why module information could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModInfoError {
    /// Not a well-formed ELF file.
    #[error("not a well-formed ELF file")]
    Elf(#[from] object::Error),
    /// The file has no `.modinfo` section.
    #[error("it has no .modinfo section")]
    NoModInfo,
}

/// The entries that loading needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// Modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Modules or aliases to load before it, if they exist.
    pub softdeps_before: Vec<String>,
    /// Modules or aliases to load after it, if they exist.
    pub softdeps_after: Vec<String>,
    /// Other names it is asked for by; may have wildcards.
    pub aliases: Vec<String>,
}

impl ModInfo {
    /// Reads the information from an unpacked module.
    pub fn parse(module: &[u8]) -> Result<Self, ModInfoError> {
        let file = object::File::parse(module)?;
        let section = file.section_by_name(".modinfo").ok_or(ModInfoError::NoModInfo)?;
        Ok(Self::from_section(section.data()?))
    }

    fn from_section(section: &[u8]) -> Self {
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            match entry.split_once('=') {
                Some(("depends", list)) => {
                    let names = list.split(',').filter(|name| !name.is_empty());
                    info.depends.extend(names.map(str::to_owned));
                }
                Some(("softdep", list)) => info.add_softdeps(list),
                Some(("alias", alias)) => info.aliases.push(alias.to_owned()),
                // Licence, author, parameters and so on: of no interest here.
                Some(_) | None => {}
            }
        }
        info
    }

    /// `pre: a b post: c` in any order and number.
    fn add_softdeps(&mut self, list: &str) {
        let mut after = false;
        for word in list.split_whitespace() {
            match word {
                "pre:" => after = false,
                "post:" => after = true,
                name if after => self.softdeps_after.push(name.to_owned()),
                name => self.softdeps_before.push(name.to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_split_into_names() {
        let section = b"alias=fs-x\0\0softdep=pre: a b post: c pre: d\0depends=e,f\0license=GPL\0";
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let expected = ModInfo {
            depends: names(&["e", "f"]),
            softdeps_before: names(&["a", "b", "d"]),
            softdeps_after: names(&["c"]),
            aliases: names(&["fs-x"]),
        };
        assert_eq!(ModInfo::from_section(section), expected);
        assert_eq!(ModInfo::from_section(b"depends=\0"), ModInfo::default());
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        assert!(matches!(ModInfo::parse(b"\x7fELF"), Err(ModInfoError::Elf(_))));
        assert!(matches!(ModInfo::parse(b""), Err(ModInfoError::Elf(_))));
    }
}
