//! Where programs are looked for.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The search path with the folders of system programs, which a user's may lack.
pub fn with_sbin() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// The file of `program`, which is a path or a name in the search path.
pub fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    env::split_paths(&with_sbin()).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_and_paths_are_not() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(find(Path::new("/none/kexec")), Some("/none/kexec".into()));
        assert_eq!(find(Path::new("no-such-program-anywhere")), None);
    }
}
