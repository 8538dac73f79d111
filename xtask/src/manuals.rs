//! The man page and the shell completions of `kexec`, made from the program's own definition of
//! its options.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use clap_complete::{Shell, generate_to};

#[path = "../../loader/bin/kexec/options.rs"]
#[allow(dead_code)] // Only the program reads the values.
mod options;

/// Writes kexec.8 and the completions for bash, zsh and fish into `directory`.
pub fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let page = clap_mangen::Man::new(options::definition()).section("8");
    page.render(&mut File::create(directory.join("kexec.8"))?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut options::definition(), "kexec", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_every_file() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        for name in ["kexec.8", "kexec.bash", "_kexec", "kexec.fish"] {
            let file = directory.path().join(name);
            // troff writes a hyphen as \-.
            let text = fs::read_to_string(&file).unwrap().replace('\\', "");
            for argument in options::definition().get_arguments() {
                let Some(name) = argument.get_long() else { continue };
                assert!(text.contains(name), "--{name} is missing in {}", file.display());
            }
            assert!(!text.contains("real-mode"), "{} offers what is not there", file.display());
        }
    }
}
