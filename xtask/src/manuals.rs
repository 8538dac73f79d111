//! The man pages and the shell completions of `kexec` and `kdump`, made from the programs' own
//! definitions of their options.

mod kdump;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use clap::Arg;
use clap_complete::{Shell, generate_to};

use purgatorio::options;

/// What the definition of the options does not say, in man(7)'s language.
const SYNOPSIS: &str = include_str!("manuals/synopsis.man");
const OTHER_SECTIONS: &str = include_str!("manuals/other_sections.man");

/// Writes the pages of both programs, and their completions for bash, zsh and fish, into `directory`.
pub fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    write_page(&mut File::create(directory.join("kexec.8"))?)?;
    kdump::write_page(&mut File::create(directory.join("kdump.8"))?)?;
    kdump::write_settings(&mut File::create(directory.join("kdump.toml.5"))?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut options::definition(), "kexec", directory)?;
        generate_to(shell, &mut kdump::definition(), "kdump", directory)?;
    }
    Ok(())
}

fn write_page(file: &mut File) -> io::Result<()> {
    let definition = options::definition().mut_args(with_aliases_in_help);
    let page = clap_mangen::Man::new(definition).section("8");
    page.render_title(file)?;
    page.render_name_section(file)?;
    file.write_all(SYNOPSIS.as_bytes())?;
    page.render_options_section(file)?;
    file.write_all(OTHER_SECTIONS.as_bytes())
}

/// clap_mangen leaves an option's other names out.
fn with_aliases_in_help(argument: Arg) -> Arg {
    match (argument.get_visible_aliases(), argument.get_help()) {
        (Some(aliases), Some(help)) if !aliases.is_empty() => {
            let help = format!("{help}. The same: --{}", aliases.join(", --"));
            argument.help(help)
        }
        (_, _) => argument,
    }
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
                let aliases = argument.get_visible_aliases().unwrap_or_default();
                for name in aliases.into_iter().chain([name]) {
                    assert!(text.contains(name), "--{name} is missing in {}", file.display());
                }
            }
            assert!(!text.contains("real-mode"), "{} offers what is not there", file.display());
        }
    }

    #[test]
    fn every_command_of_kdump_is_in_every_file() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        for name in ["kdump.8", "kdump.bash", "_kdump", "kdump.fish"] {
            let file = directory.path().join(name);
            let text = fs::read_to_string(&file).unwrap().replace('\\', "");
            for command in kdump::shown(&kdump::definition()) {
                assert!(text.contains(command.get_name()), "{} in {name}", command.get_name());
                for option in command.get_arguments().filter_map(Arg::get_long) {
                    assert!(text.contains(option), "--{option} is missing in {name}");
                }
            }
        }
    }

    #[test]
    fn every_setting_is_in_the_page() {
        let mut page = Vec::new();
        kdump::write_settings(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap().replace("\\&", "").replace("\\-", "-");
        for line in ::kdump::settings::DEFAULTS.lines() {
            assert!(page.contains(line), "{line}");
        }
    }
}
