//! What of a new device tree decides whether the next kernel lives: its memory.

use purgatorio::{
    facts::ppc64::memory_blocks,
    fdt::DeviceTree,
    plan::{Plan, What},
    range::{self, PhysRange},
};
use serde::Serialize;

/// Memory by the new device tree.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TreeSummary {
    /// What the next kernel takes for its memory.
    pub memory: Vec<String>,
    /// What of it the next kernel leaves alone.
    pub reserved: Vec<String>,
}

impl TreeSummary {
    /// Of a plan with a device tree.
    pub fn of(plan: &Plan<'_>) -> Option<Self> {
        let segment = plan.segments.iter().find(|segment| segment.what == What::Dtb)?;
        let tree = DeviceTree::parse(&segment.data).ok()?;
        let mut memory = memory_blocks(&tree).ok()?;
        range::normalize(&mut memory);
        let text = |range: PhysRange| range.to_string();
        Some(Self {
            memory: memory.into_iter().map(text).collect(),
            reserved: tree.reservations.iter().copied().map(text).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use purgatorio::plan::{EntryMode, Segment, Target};

    use super::*;

    #[test]
    fn memory_and_reservations_are_told() {
        let mut tree = DeviceTree {
            reservations: vec![PhysRange::new(0x1000, 0x2000)],
            ..DeviceTree::default()
        };
        let memory = tree.root.child_or_new("memory@0");
        memory.set_string("device_type", "memory");
        memory.set("reg", [0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]);
        let mut plan = Plan {
            target: Target::Crash,
            entry_mode: EntryMode::Vmlinux,
            bases: None,
            entry_reason: None,
            entry: 0,
            segments: vec![Segment {
                what: What::Dtb,
                data: tree.write(0).unwrap().into(),
                address: 0,
                memsz: 0x1_0000,
                digest: None,
            }],
            command_line: String::new(),
        };
        let summary = TreeSummary::of(&plan).unwrap();
        assert_eq!(summary.memory, ["0x0-0xfffffff"]);
        assert_eq!(summary.reserved, ["0x1000-0x1fff"]);
        plan.segments.clear();
        assert_eq!(TreeSummary::of(&plan), None);
    }
}
