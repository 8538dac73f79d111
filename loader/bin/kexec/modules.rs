//! The files that are loaded beside a Multiboot kernel.

use std::path::Path;

use purgatorio::{
    file::{FileError, InputFile},
    plan::Module,
};

/// One of them.
pub struct ModuleFile<'t> {
    file: InputFile,
    text: &'t str,
}

/// Opens the files that `--module` names: each text is a file's path and, behind a space, arguments.
pub fn open(texts: &[String]) -> Result<Vec<ModuleFile<'_>>, FileError> {
    texts
        .iter()
        .map(|text| {
            let path = text.split(' ').next().unwrap_or_default();
            Ok(ModuleFile { file: InputFile::open(Path::new(path))?, text })
        })
        .collect()
}

impl ModuleFile<'_> {
    /// What is planned with. The kernel reads the path too.
    pub fn module(&self) -> Module<'_> {
        Module { data: &self.file, text: self.text }
    }
}
