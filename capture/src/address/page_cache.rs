//! Pages of the core that were read last, by physical address.

use super::Physical;
use crate::vmcore::{self, Vmcore};

/// How many are kept: a page of each level of tables and a page of data for each of three arrays
/// that are read in turn, as the log is, with some slack.
const KEPT_PAGES: usize = 16;
/// What is read at once: no kernel has smaller pages.
const PAGE_SIZE: usize = 4096;

/// A few pages' content.
#[derive(Debug)]
pub(super) struct PageCache<'a> {
    core: &'a Vmcore,
    /// Page addresses and contents, oldest first.
    pages: Vec<(u64, Vec<u8>)>,
}

impl<'a> PageCache<'a> {
    pub(super) fn new(core: &'a Vmcore) -> Self {
        Self { core, pages: Vec::new() }
    }

    pub(super) fn core(&self) -> &'a Vmcore {
        self.core
    }

    /// Bytes from `at` on, as many as there are in its page but at most `length`.
    pub(super) fn read(&mut self, at: Physical, length: usize) -> Result<&[u8], vmcore::Error> {
        let in_page = at.0 % PAGE_SIZE as u64;
        let page = self.page(at.0 - in_page)?;
        let rest = page.get(usize::try_from(in_page).unwrap_or_default()..).unwrap_or_default();
        Ok(&rest[..rest.len().min(length)])
    }

    fn page(&mut self, address: u64) -> Result<&[u8], vmcore::Error> {
        let at = match self.pages.iter().position(|(kept, _)| *kept == address) {
            Some(at) => at,
            None => {
                let mut page = vec![0; PAGE_SIZE];
                self.core.read_physical(Physical(address), &mut page)?;
                if self.pages.len() == KEPT_PAGES {
                    self.pages.remove(0);
                }
                self.pages.push((address, page));
                self.pages.len() - 1
            }
        };
        Ok(&self.pages[at].1)
    }
}
