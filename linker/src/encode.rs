//! The parameter block as bytes in a given byte order.

use alloc::vec::Vec;
use core::mem::size_of;

use object::Endianness;
use purgatory::params::{
    Backup, Console, DIGESTED_FROM, Firmware, Handoff, Params, REGIONS_MAX, Region, Span, ZERO_MAX,
};
use sha2::{Digest, Sha256};

/// Offset of [`Params::digest`] in the block.
const DIGEST: usize = DIGESTED_FROM - 32;

/// The block as it is in memory of a machine of this byte order, with its digest filled in.
///
/// The magic, version and size are this crate's own, whatever `params` says.
pub fn encode(params: &Params, endian: Endianness) -> Vec<u8> {
    let mut bytes = fields(params, endian);
    let digest = Sha256::digest(&bytes[DIGESTED_FROM..]);
    bytes[DIGEST..DIGESTED_FROM].copy_from_slice(&digest);
    bytes
}

/// All fields in order. The destructuring makes a new field an error here.
fn fields(params: &Params, endian: Endianness) -> Vec<u8> {
    let Params {
        magic: _,
        version: _,
        size: _,
        digest: _,
        flags,
        on_mismatch,
        console: Console { flags: console_flags, serial_baud, serial_base, terminal },
        backup: Backup { source, destination, length },
        handoff: Handoff { mode, reserved, entry, registers },
        firmware:
            Firmware {
                rtas_base,
                rtas_entry,
                opal_base,
                opal_entry,
                system_reboot,
                reserved: firmware_reserved,
            },
        zero_count,
        region_count,
        zero,
        regions,
    } = params;
    let mut out = Writer { bytes: Vec::with_capacity(size_of::<Params>()), endian };
    out.u64(Params::EMPTY.magic);
    out.u32(Params::EMPTY.version);
    out.u32(Params::EMPTY.size);
    out.bytes.extend([0; 32]);
    for field in [*flags, *on_mismatch, *console_flags, *serial_baud] {
        out.u32(field);
    }
    for field in [*serial_base, *terminal, *source, *destination, *length] {
        out.u64(field);
    }
    out.u32(*mode);
    out.u32(*reserved);
    out.u64(*entry);
    for register in registers {
        out.u64(*register);
    }
    for field in [*rtas_base, *rtas_entry, *opal_base, *opal_entry] {
        out.u64(field);
    }
    out.u32(*system_reboot);
    out.u32(*firmware_reserved);
    out.u32(*zero_count);
    out.u32(*region_count);
    out.spans(zero);
    out.regions(regions);
    out.bytes
}

struct Writer {
    bytes: Vec<u8>,
    endian: Endianness,
}

impl Writer {
    fn u32(&mut self, value: u32) {
        self.bytes.extend(match self.endian {
            Endianness::Little => value.to_le_bytes(),
            Endianness::Big => value.to_be_bytes(),
        });
    }

    fn u64(&mut self, value: u64) {
        self.bytes.extend(match self.endian {
            Endianness::Little => value.to_le_bytes(),
            Endianness::Big => value.to_be_bytes(),
        });
    }

    fn spans(&mut self, spans: &[Span; ZERO_MAX]) {
        for Span { address, length } in spans {
            self.u64(*address);
            self.u64(*length);
        }
    }

    fn regions(&mut self, regions: &[Region; REGIONS_MAX]) {
        for Region { address, length, digest, name } in regions {
            self.u64(*address);
            self.u64(*length);
            self.bytes.extend(digest.as_flattened());
            self.bytes.extend(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    /// A block in which every byte of every field differs from its neighbours.
    fn distinct() -> Params {
        let mut params = Params::EMPTY;
        params.flags = 0x0102_0304;
        params.on_mismatch = 0x0506_0708;
        params.console = Console {
            flags: 0x1112_1314,
            serial_baud: 0x1516_1718,
            serial_base: 0x2122_2324_2526_2728,
            terminal: 0x2132_2334_2536_2738,
        };
        params.backup = Backup {
            source: 0x3132_3334_3536_3738,
            destination: 0x4142_4344_4546_4748,
            length: 0x5152_5354_5556_5758,
        };
        params.handoff = Handoff {
            mode: 0x6162_6364,
            reserved: 0x6566_6768,
            entry: 0x7172_7374_7576_7778,
            registers: core::array::from_fn(|n| 0x8100_0000_0000_0001 + ((n as u64) << 32)),
        };
        params.firmware = Firmware {
            rtas_base: 0xc101_0203_0405_0607,
            rtas_entry: 0xc201_0203_0405_0607,
            opal_base: 0xc301_0203_0405_0607,
            opal_entry: 0xc401_0203_0405_0607,
            system_reboot: 0xc501_0203,
            reserved: 0xc601_0203,
        };
        params.zero_count = 0x9192_9394;
        params.region_count = 0x9596_9798;
        params.zero = core::array::from_fn(|n| Span {
            address: 0xa100_0000_0000_0001 + ((n as u64) << 32),
            length: 0xa200_0000_0000_0002 + ((n as u64) << 32),
        });
        params.regions = core::array::from_fn(|n| {
            let n = u8::try_from(n).unwrap();
            Region {
                address: 0xb100_0000_0000_0001 + (u64::from(n) << 32),
                length: 0xb200_0000_0000_0002 + (u64::from(n) << 32),
                digest: [0x20, 0x40, 0x60, 0x80].map(|quarter| [n | quarter; 32]),
                name: [n | 0x20; 16],
            }
        });
        params
    }

    /// Asserts that `bytes` hold each field where `repr(C)` puts it on this host.
    fn assert_layout(
        params: &Params,
        bytes: &[u8],
        u32_of: fn([u8; 4]) -> u32,
        u64_of: fn([u8; 8]) -> u64,
    ) {
        let u32_at = |offset: usize| u32_of(bytes[offset..offset + 4].try_into().unwrap());
        let u64_at = |offset: usize| u64_of(bytes[offset..offset + 8].try_into().unwrap());
        macro_rules! same {
            ($read:ident: $($field:ident).+) => {
                let found = $read(offset_of!(Params, $($field).+));
                assert_eq!(found, params.$($field).+, stringify!($($field).+));
            };
        }
        same!(u64_at: magic);
        same!(u32_at: version);
        same!(u32_at: size);
        same!(u32_at: flags);
        same!(u32_at: on_mismatch);
        same!(u32_at: console.flags);
        same!(u32_at: console.serial_baud);
        same!(u64_at: console.serial_base);
        same!(u64_at: console.terminal);
        same!(u64_at: backup.source);
        same!(u64_at: backup.destination);
        same!(u64_at: backup.length);
        same!(u32_at: handoff.mode);
        same!(u32_at: handoff.reserved);
        same!(u64_at: handoff.entry);
        for (n, register) in params.handoff.registers.iter().enumerate() {
            assert_eq!(u64_at(offset_of!(Params, handoff.registers) + 8 * n), *register);
        }
        same!(u64_at: firmware.rtas_base);
        same!(u64_at: firmware.rtas_entry);
        same!(u64_at: firmware.opal_base);
        same!(u64_at: firmware.opal_entry);
        same!(u32_at: firmware.system_reboot);
        same!(u32_at: firmware.reserved);
        same!(u32_at: zero_count);
        same!(u32_at: region_count);
        for (n, span) in params.zero.iter().enumerate() {
            let at = offset_of!(Params, zero) + n * size_of::<Span>();
            assert_eq!(u64_at(at + offset_of!(Span, address)), span.address);
            assert_eq!(u64_at(at + offset_of!(Span, length)), span.length);
        }
        for (n, region) in params.regions.iter().enumerate() {
            let at = offset_of!(Params, regions) + n * size_of::<Region>();
            assert_eq!(u64_at(at + offset_of!(Region, address)), region.address);
            assert_eq!(u64_at(at + offset_of!(Region, length)), region.length);
            let digest = at + offset_of!(Region, digest);
            assert_eq!(bytes[digest..digest + 128], *region.digest.as_flattened());
            let name = at + offset_of!(Region, name);
            assert_eq!(bytes[name..name + 16], region.name);
        }
        assert_eq!(bytes.len(), size_of::<Params>());
    }

    #[test]
    fn every_field_is_where_repr_c_puts_it_in_both_byte_orders() {
        let params = distinct();
        let little = encode(&params, Endianness::Little);
        assert_layout(&params, &little, u32::from_le_bytes, u64::from_le_bytes);
        let big = encode(&params, Endianness::Big);
        assert_layout(&params, &big, u32::from_be_bytes, u64::from_be_bytes);
    }

    #[test]
    fn the_digest_covers_everything_behind_it_as_encoded() {
        for endian in [Endianness::Little, Endianness::Big] {
            let bytes = encode(&distinct(), endian);
            let expected = Sha256::digest(&bytes[offset_of!(Params, flags)..]);
            let at = offset_of!(Params, digest);
            assert_eq!(bytes[at..at + 32], expected[..]);
        }
    }
}
