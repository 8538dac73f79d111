//! What only a capture kernel has: core headers of the dead kernel's memory, and room for the low
//! memory that purgatory copies away.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use purgatory::params;

use crate::elfcore::{self, Backup, Core, Format};
use crate::facts::Facts;
use crate::plan::layout::{ANYWHERE, Layout};
use crate::plan::place::End;
use crate::plan::{PlanError, What};
use crate::range::{self, PhysRange};

/// Both, in their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The core headers' segment.
    pub elfcorehdr: PhysRange,
    /// The low memory that is copied away.
    pub backup: Option<Backup>,
}

impl Capture {
    /// Places the room for `backup_source` and the core headers in `format`, which describe all
    /// RAM that the crash kernel was not given. With `hotplug` the headers have room for what the
    /// running kernel will write there.
    pub fn place(
        layout: &mut Layout<'_>,
        facts: &Facts,
        backup_source: Option<PhysRange>,
        format: Format,
        hotplug: bool,
    ) -> Result<Self, PlanError> {
        let page = layout.page();
        let backup = match backup_source {
            Some(source) => {
                let at = layout.take(What::Backup, source.len(), page, End::Top, &[ANYWHERE])?;
                layout.put(What::Backup, Cow::Borrowed(&[]), at);
                Some(Backup { source, destination: at.start })
            }
            None => None,
        };
        let not_dumped = [&facts.crash_ranges[..], &facts.crash_cma_ranges].concat();
        let core = Core {
            cpu_notes: &facts.cpu_notes,
            vmcoreinfo: facts.vmcoreinfo,
            kernel_text: facts.kernel_text,
            ram: &range::subtract(&facts.system_ram, &not_dumped),
            backup,
            page_offset: facts.page_offset,
            linear_map_end: facts.linear_map_end,
        };
        let headers = elfcore::headers(&core, format)?;
        let room = facts.crash_elfcorehdr_size.filter(|_| hotplug).unwrap_or(0);
        let size = room.max(headers.len() as u64);
        let elfcorehdr = layout.take(What::Elfcorehdr, size, page, End::Top, &[ANYWHERE])?;
        layout.put(What::Elfcorehdr, Cow::Owned(headers), elfcorehdr);
        Ok(Self { elfcorehdr, backup })
    }

    /// What the capture kernel must find as it is, so that it must not use it as memory.
    pub fn kept(&self) -> Vec<PhysRange> {
        let copy = self.backup.map(|Backup { source, destination }| {
            PhysRange::new(destination, destination.saturating_add(source.len()))
        });
        copy.into_iter().chain([self.elfcorehdr]).collect()
    }

    /// The kernel parameter that leads to the core headers.
    pub fn parameter(&self) -> String {
        format!("elfcorehdr={}K", self.elfcorehdr.start / 1024)
    }

    /// What purgatory copies.
    pub fn copy(&self) -> Option<params::Backup> {
        self.backup.map(|Backup { source, destination }| params::Backup {
            source: source.start,
            destination,
            length: source.len(),
        })
    }
}
