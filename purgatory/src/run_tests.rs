//! The whole story on a machine that is a vector.

use sha2::block_api::compress256;

use super::*;
use crate::console::Console;
use crate::params::{self, ConsoleFlags};
use crate::params::{Backup, DIGESTED_FROM, Handoff, Span};
use crate::sha256::{self, Block, State};

/// Memory from `BASE` on, and what was seen on its console.
struct Vector {
    memory: Vec<u8>,
    console: Option<params::Console>,
    policy: Option<OnMismatch>,
    text: String,
}

const BASE: u64 = 0x10_0000;
const PARAMS_ADDRESS: u64 = 0x7000;
const SERIAL: params::Console = params::Console {
    flags: ConsoleFlags::SERIAL_PORT.bits(),
    serial_baud: 115_200,
    serial_base: 0x2f8,
    terminal: 0,
};

impl Vector {
    fn new() -> Self {
        let memory = (1..=251).cycle().take(0x2000).collect();
        Self { memory, console: None, policy: None, text: String::new() }
    }

    fn at(&self, address: u64, length: u64) -> std::ops::Range<usize> {
        let start = usize::try_from(address - BASE).unwrap();
        start..start + usize::try_from(length).unwrap()
    }

    /// A region as the loader describes it.
    fn region(&self, name: &str, address: u64, length: u64) -> Region {
        let bytes = &self.memory[self.at(address, length)];
        let mut region = Region { address, length, ..Region::default() };
        region.digest = Region::quarters(bytes).map(sha256::digest);
        region.name[..name.len()].copy_from_slice(name.as_bytes());
        region
    }

    fn run(&mut self, params: &Params) -> Next<HandoffMode> {
        run(self, params, PARAMS_ADDRESS, &bytes(params))
    }
}

impl Console for Vector {
    fn put_byte(&mut self, byte: u8) {
        self.text.push(char::from(byte));
    }
}

impl Machine for Vector {
    const FALLBACK_CONSOLE: params::Console = params::Console { serial_base: 0x3f8, ..SERIAL };

    type Entry = HandoffMode;

    fn entry(&self, mode: HandoffMode) -> Option<Self::Entry> {
        (mode != HandoffMode::Ppc64).then_some(mode)
    }

    fn open_console(&mut self, console: &params::Console) {
        self.console = Some(*console);
    }

    fn set_policy(&mut self, policy: OnMismatch) {
        self.policy = Some(policy);
    }

    fn memory(&self, span: Span) -> Option<&[u8]> {
        (span.address >= BASE).then(|| &self.memory[self.at(span.address, span.length)])
    }

    fn compress_four(&self, states: &mut [State; 4], blocks: [&[Block]; 4]) {
        for (state, blocks) in states.iter_mut().zip(blocks) {
            compress256(state, blocks);
        }
    }

    fn copy(&mut self, backup: &Backup) {
        let destination = self.at(backup.destination, 0).start;
        let source = self.at(backup.source, backup.length);
        self.memory.copy_within(source, destination);
    }

    fn zero(&mut self, span: &Span) {
        let range = self.at(span.address, span.length);
        self.memory[range].fill(0);
    }
}

/// The block as it lies in memory: the fields one after the other, there is no padding.
fn bytes(params: &Params) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(params.magic.to_ne_bytes());
    bytes.extend(params.version.to_ne_bytes());
    bytes.extend(params.size.to_ne_bytes());
    bytes.extend(params.digest);
    bytes.extend(params.flags.to_ne_bytes());
    bytes.extend(params.on_mismatch.to_ne_bytes());
    bytes.extend(params.console.flags.to_ne_bytes());
    bytes.extend(params.console.serial_baud.to_ne_bytes());
    bytes.extend(params.console.serial_base.to_ne_bytes());
    bytes.extend(params.console.terminal.to_ne_bytes());
    for word in [params.backup.source, params.backup.destination, params.backup.length] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(params.handoff.mode.to_ne_bytes());
    bytes.extend(params.handoff.reserved.to_ne_bytes());
    bytes.extend(params.handoff.entry.to_ne_bytes());
    bytes.extend(params.handoff.registers.iter().flat_map(|word| word.to_ne_bytes()));
    let firmware = &params.firmware;
    for word in [firmware.rtas_base, firmware.rtas_entry, firmware.opal_base, firmware.opal_entry] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(firmware.system_reboot.to_ne_bytes());
    bytes.extend(firmware.reserved.to_ne_bytes());
    bytes.extend(params.zero_count.to_ne_bytes());
    bytes.extend(params.region_count.to_ne_bytes());
    for span in &params.zero {
        bytes.extend(span.address.to_ne_bytes());
        bytes.extend(span.length.to_ne_bytes());
    }
    for region in &params.regions {
        bytes.extend(region.address.to_ne_bytes());
        bytes.extend(region.length.to_ne_bytes());
        bytes.extend(region.digest.as_flattened());
        bytes.extend(region.name);
    }
    assert_eq!(bytes.len(), size_of::<Params>());
    bytes
}

fn seal(params: &mut Params) {
    params.digest = sha256::digest(&bytes(params)[DIGESTED_FROM..]);
}

/// Two regions to verify, a backup, a range to clear, and a kernel to enter.
fn params(machine: &Vector, policy: OnMismatch) -> Params {
    let mut params = Params {
        flags: (Flags::VERIFY | Flags::BACKUP).bits(),
        on_mismatch: policy as u32,
        console: SERIAL,
        backup: Backup { source: BASE, destination: BASE + 0x1000, length: 0x300 },
        handoff: Handoff {
            mode: HandoffMode::X86Long as u32,
            entry: 0x12_3400,
            ..Handoff::default()
        },
        zero_count: 1,
        region_count: 2,
        ..Params::EMPTY
    };
    params.zero[0] = Span { address: BASE + 0x1800, length: 0x10 };
    params.regions[0] = machine.region("kernel", BASE + 0x400, 0x401);
    params.regions[1] = machine.region("initrd", BASE + 0x900, 0x100);
    seal(&mut params);
    params
}

#[test]
fn an_intact_machine_is_verified_backed_up_cleared_and_handed_over() {
    let mut machine = Vector::new();
    let params = params(&machine, OnMismatch::Reset);
    assert_eq!(machine.run(&params), Next::Handoff(HandoffMode::X86Long));
    assert_eq!(
        machine.text,
        "purgatory: entered\r\npurgatory: verified 2 regions\r\npurgatory: handoff to 0x123400\r\n"
    );
    assert_eq!(machine.console, Some(SERIAL));
    assert_eq!(machine.memory[..0x300], machine.memory[0x1000..0x1300]);
    assert_eq!(machine.memory[0x1800..0x1810], [0; 16]);
    assert!(machine.memory[0x17ff] != 0 && machine.memory[0x1810] != 0);
}

#[test]
fn every_damaged_byte_of_a_region_is_found_in_its_quarter() {
    for (offset, quarter) in [
        (0, "first"),
        (0xff, "first"),
        (0x100, "second"),
        (0x1ff, "second"),
        (0x200, "third"),
        (0x2ff, "third"),
        (0x300, "fourth"),
        (0x3ff, "fourth"),
        (0x400, "fourth"),
    ] {
        let mut machine = Vector::new();
        let params = params(&machine, OnMismatch::Reset);
        machine.memory[0x400 + offset] ^= 1;
        assert_eq!(machine.run(&params), Next::Reset);
        assert_eq!(
            machine.text,
            format!(
                "purgatory: entered\r\npurgatory: DAMAGED: kernel at 0x100400-0x100800: \
                 SHA-256 mismatch in its {quarter} quarter; resetting\r\n"
            )
        );
        assert_eq!(machine.memory[0x1000], Vector::new().memory[0x1000], "nothing was copied");
    }
}

#[test]
fn the_policy_decides_what_damage_leads_to() {
    for (policy, next, end) in [
        (OnMismatch::Reset, Next::Reset, "; resetting\r\n"),
        (OnMismatch::Halt, Next::Halt, "; halting\r\n"),
        (
            OnMismatch::Ignore,
            Next::Handoff(HandoffMode::X86Long),
            "; going on\r\npurgatory: handoff to 0x123400\r\n",
        ),
    ] {
        let mut machine = Vector::new();
        let params = params(&machine, policy);
        machine.memory[0x900] ^= 0x80;
        assert_eq!(machine.run(&params), next);
        assert!(machine.text.contains("DAMAGED: initrd at 0x100900-0x1009ff: "));
        assert!(machine.text.ends_with(end), "{}", machine.text);
        assert_eq!(machine.policy, Some(policy));
    }
}

#[test]
fn without_checks_nothing_is_looked_at() {
    let mut machine = Vector::new();
    let mut params = params(&machine, OnMismatch::Reset);
    params.flags = 0;
    seal(&mut params);
    machine.memory[0x900] ^= 1;
    let before = machine.memory[0x1000..0x1300].to_vec();
    assert_eq!(machine.run(&params), Next::Handoff(HandoffMode::X86Long));
    assert!(machine.text.contains("purgatory: not verified\r\n"));
    assert_eq!(machine.memory[0x1000..0x1300], before, "no backup was asked for");
}

#[test]
fn a_damaged_block_is_not_believed() {
    let damages: [fn(&mut Params); 7] = [
        |params| params.magic ^= 1,
        |params| params.version += 1,
        |params| params.size -= 1,
        |params| params.digest[31] ^= 1,
        |params| params.on_mismatch = OnMismatch::Ignore as u32,
        |params| params.region_count = 1,
        |params| params.regions[16].name[15] = 1,
    ];
    for damage in damages {
        let mut machine = Vector::new();
        let mut params = params(&machine, OnMismatch::Halt);
        damage(&mut params);
        assert_eq!(machine.run(&params), Next::Reset);
        assert_eq!(machine.console, Some(Vector::FALLBACK_CONSOLE));
        assert_eq!(machine.policy, None);
        assert_eq!(
            machine.text,
            "purgatory: entered\r\n\
             purgatory: DAMAGED: params at 0x7000-0x7c07: SHA-256 mismatch; resetting\r\n"
        );
    }
}

#[test]
fn counts_beyond_the_tables_are_refused_with_a_right_digest_too() {
    for (regions, zeroes) in [(18, 0), (u32::MAX, 0), (0, 9)] {
        let mut machine = Vector::new();
        let mut params = Params { region_count: regions, zero_count: zeroes, ..Params::EMPTY };
        seal(&mut params);
        assert_eq!(machine.run(&params), Next::Reset);
    }
}

#[test]
fn memory_that_cannot_be_is_damage() {
    let mut machine = Vector::new();
    let mut params = params(&machine, OnMismatch::Halt);
    params.regions[1].address = 0;
    seal(&mut params);
    assert_eq!(machine.run(&params), Next::Halt);
    assert!(machine.text.contains("DAMAGED: initrd at 0x0-0xff: "));
}

#[test]
fn an_unknown_mode_is_said() {
    let mut machine = Vector::new();
    let mut params = params(&machine, OnMismatch::Reset);
    params.handoff.mode = 77;
    seal(&mut params);
    assert_eq!(machine.run(&params), Next::Reset);
    assert!(machine.text.ends_with("purgatory: unknown handoff mode 0x4d; resetting\r\n"));
}
