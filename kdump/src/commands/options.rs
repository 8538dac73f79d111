//! Options that several commands share.

use std::path::PathBuf;

use clap::Args;

use crate::machine::Machine;
use crate::prepare::Programs;
use crate::settings::{self, Settings};

/// Which machine, and with which settings.
#[derive(Debug, Args)]
pub struct MachineOptions {
    /// The settings [default: /etc/kdump.toml]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Look at a copy of a machine's files below this directory
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    sysroot: PathBuf,
    /// The static kdump-capture [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
}

impl MachineOptions {
    /// The machine.
    pub fn machine(&self) -> Machine {
        Machine::at(&self.sysroot)
    }

    /// What its operator wants.
    pub fn settings(&self) -> Result<Settings, settings::Error> {
        match &self.settings {
            Some(path) => Settings::read(path),
            None => Settings::read(&self.machine().path(settings::PATH)),
        }
    }

    /// The programs that go into its capture image.
    pub fn programs(&self) -> Programs {
        Programs { init: self.init.clone() }
    }
}
