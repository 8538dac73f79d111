//! Comparisons with what a payload printed. All are made, so that a failure tells everything.

use super::state::State;

/// What was printed, and what of it is wrong.
pub struct Checks<'s> {
    state: &'s State,
    wrong: Vec<String>,
}

/// What a segment must be, beside flat.
#[derive(Clone, Copy)]
pub struct Segment {
    /// Code, not data.
    pub executable: bool,
    /// 64-bit code.
    pub long: bool,
}

impl<'s> Checks<'s> {
    /// Nothing is compared yet.
    pub fn of(state: &'s State) -> Self {
        Self { state, wrong: Vec::new() }
    }

    /// What was found wrong.
    pub fn wrong(self) -> Vec<String> {
        self.wrong
    }

    /// The number is this one.
    pub fn is(&mut self, name: &str, wanted: u64) {
        self.masked(name, u64::MAX, wanted);
    }

    /// The number's bits in `mask` are these.
    pub fn masked(&mut self, name: &str, mask: u64, wanted: u64) {
        let found = self.state.number(name);
        self.must(found.map(|number| number & mask) == Some(wanted), || {
            format!("{name} is {found:x?}; of its bits {mask:#x}, {wanted:#x} must be set")
        });
    }

    /// These are the values.
    pub fn text(&mut self, name: &str, wanted: &[&str]) {
        let found = self.state.all(name);
        self.must(found == wanted, || format!("{name} is {found:?}, not {wanted:?}"));
    }

    /// Every value is a multiple of 4 KiB, and there are some.
    pub fn on_pages(&mut self, name: &str) {
        let found = self.state.all(name);
        let is_page = |text: &&str| {
            u64::from_str_radix(text, 16).is_ok_and(|address| address.is_multiple_of(4096))
        };
        self.must(!found.is_empty() && found.iter().all(is_page), || {
            format!("{name} is {found:?}: not on pages")
        });
    }

    /// The descriptor (Intel SDM volume 3, 3.4.5) of the register's selector is a flat segment: base
    /// 0, 4 GiB, present, privilege level 0, readable code or writable data.
    pub fn segment(&mut self, name: &str, wanted: Segment) {
        const PRESENT: u64 = 1 << 47;
        const NOT_SYSTEM: u64 = 1 << 44;
        const EXECUTABLE: u64 = 1 << 43;
        const READ_WRITE: u64 = 1 << 41;
        const GRANULARITY: u64 = 1 << 55;
        const BIG: u64 = 1 << 54;
        const LONG: u64 = 1 << 53;
        const LIMIT: u64 = 0x000f_0000_0000_ffff;
        // The accessed bit and the one for software may be anything.
        const ANY: u64 = 1 << 40 | 1 << 52;
        let mut descriptor = PRESENT | NOT_SYSTEM | READ_WRITE | GRANULARITY | LIMIT;
        descriptor |= if wanted.executable { EXECUTABLE } else { 0 };
        descriptor |= if wanted.long { LONG } else { BIG };
        self.masked(&format!("{name}_descriptor"), !ANY, descriptor);
    }

    /// The memory map is the firmware's.
    pub fn firmware_map(&mut self) {
        let State { firmware_map, .. } = self.state;
        let found = self.state.memory_map();
        self.must(!firmware_map.is_empty() && found == *firmware_map, || {
            format!("the memory map is {found:x?}, not {firmware_map:x?}")
        });
    }

    /// The amounts of memory are those in the firmware's map, up to the first hole.
    pub fn amounts_of_memory(&mut self) {
        for (name, from) in [("mem_lower", 0), ("mem_upper", 1 << 20)] {
            let here = |[start, length, kind]: &&[u64; 3]| {
                *kind == 1 && *start <= from && from < start + length
            };
            let entry = self.state.firmware_map.iter().find(here);
            self.is(name, entry.map_or(0, |[start, length, _]| (start + length - from) / 1024));
        }
    }

    fn must(&mut self, holds: bool, reason: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(reason());
        }
    }
}
