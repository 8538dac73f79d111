//! The pages of `kdump`: kdump.8, one section for each command, and kdump.toml.5, which is the
//! documented settings file.

use std::io::{self, Write};

use clap::Command;
use kdump::{commands, settings};

/// What the definition of the commands does not say, in man(7)'s language.
const DESCRIPTION: &str = include_str!("kdump_description.man");
const OTHER_SECTIONS: &str = include_str!("kdump_other_sections.man");
const SETTINGS: &str = include_str!("kdump_toml.man");

/// The commands as clap has them.
pub fn definition() -> Command {
    let mut definition = commands::definition();
    definition.build();
    definition
}

/// Writes kdump.8.
pub fn write_page(file: &mut impl Write) -> io::Result<()> {
    let page = clap_mangen::Man::new(definition()).section("8");
    page.render_title(file)?;
    page.render_name_section(file)?;
    file.write_all(DESCRIPTION.as_bytes())?;
    writeln!(file, ".SH COMMANDS")?;
    for command in shown(&definition()) {
        write_command(file, command)?;
    }
    file.write_all(OTHER_SECTIONS.as_bytes())
}

/// Writes kdump.toml.5.
pub fn write_settings(file: &mut impl Write) -> io::Result<()> {
    let (before, after) = SETTINGS.split_once("@DEFAULTS@\n").unwrap_or((SETTINGS, ""));
    file.write_all(before.as_bytes())?;
    for line in settings::DEFAULTS.lines() {
        // A dot or quote at the start of a line would be a request.
        writeln!(file, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    file.write_all(after.as_bytes())
}

/// The commands that have something to document.
pub fn shown(definition: &Command) -> impl Iterator<Item = &Command> {
    definition.get_subcommands().filter(|command| command.get_name() != "help")
}

/// A command as a section below COMMANDS; clap_mangen makes a page of its own of it.
fn write_command(file: &mut impl Write, command: &Command) -> io::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    writeln!(file, ".SS kdump {}", command.get_name())?;
    for line in text.lines() {
        match line {
            // One heading is enough.
            ".SH SYNOPSIS" | ".SH OPTIONS" | ".SH DESCRIPTION" => writeln!(file, ".PP")?,
            line => writeln!(file, "{line}")?,
        }
    }
    Ok(())
}
