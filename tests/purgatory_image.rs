//! The linker and the images that this build embeds.

use linker::Image;
use purgatorio::facts::Arch;
use purgatorio::purgatory_image;
use purgatory::params::Params;

/// Below 4 GiB, where every machine's fits.
const BASE: u64 = 0x7fef_f000;

fn images() -> impl Iterator<Item = (Arch, Image<'static>)> {
    Arch::ALL.into_iter().filter_map(|arch| {
        let image = purgatory_image(arch)?;
        Some((arch, Image::parse(image).unwrap_or_else(|error| panic!("{arch}: {error}"))))
    })
}

#[test]
fn the_loaders_own_machine_has_an_image() {
    let own = match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "x86" => Arch::I386,
        "powerpc64" if cfg!(target_endian = "little") => Arch::Ppc64le,
        "powerpc64" => Arch::Ppc64,
        other => panic!("{other}: not known"),
    };
    assert!(images().any(|(arch, _)| arch == own));
}

#[test]
#[cfg(feature = "every-arch")]
fn every_machine_has_an_image() {
    let found: Vec<Arch> = images().map(|(arch, _)| arch).collect();
    assert_eq!(found, Arch::ALL);
}

#[test]
fn the_linker_places_and_fills_the_embedded_images() {
    for (arch, image) in images() {
        let placed = image.place(BASE).unwrap();
        let (address, code) = placed.code();
        let code = code.to_vec();
        assert_eq!(address, BASE, "{arch}");
        assert!((BASE..BASE + code.len() as u64).contains(&placed.entry()), "{arch}");

        let filled = placed.fill(&Params { region_count: 3, ..Params::EMPTY });
        assert_eq!(filled.len() as u64, image.size(), "{arch}");
        assert_eq!(filled[..code.len()], code, "{arch}: the parameters are not among the code");
        let other = image.place(BASE).unwrap().fill(&Params { region_count: 4, ..Params::EMPTY });
        let changed = filled.iter().zip(&other).filter(|(one, other)| one != other).count();
        assert!((2..=36).contains(&changed), "{arch}: region_count and digest: {changed} bytes");
    }
}

#[test]
fn two_addresses_differ_only_in_the_relocated_words() {
    const LOW: u64 = 0x10_0000;
    for (arch, image) in images() {
        let fill = |base| image.place(base).unwrap().fill(&Params::EMPTY);
        let (low, high) = (fill(LOW), fill(BASE));
        let mut relocated = 0;
        for (low, high) in words(&low, arch).zip(words(&high, arch)) {
            if low != high {
                assert_eq!(high - low, BASE - LOW, "{arch}");
                relocated += 1;
            }
        }
        assert!(relocated > 0, "{arch}");
    }
}

#[test]
#[cfg(feature = "every-arch")]
fn the_ppc64_images_start_as_kernels_know() {
    for (arch, word) in [
        (Arch::Ppc64le, u32::from_le_bytes as fn([u8; 4]) -> u32),
        (Arch::Ppc64, u32::from_be_bytes),
    ] {
        let image = Image::parse(purgatory_image(arch).unwrap()).unwrap();
        let placed = image.place(BASE & !0xffff).unwrap();
        assert_eq!(placed.entry(), placed.base(), "{arch}: the first byte is the entry");
        let (address, code) = placed.code();
        assert_eq!(address, placed.base());
        let words: Vec<u32> = code.as_chunks().0.iter().map(|&bytes| word(bytes)).collect();
        assert_eq!(words[0], 0x4800_0100, "{arch}: a branch over what is copied to address 0");
        assert_eq!(words[0x5c / 4], u32::from_be_bytes(*b"run0"), "{arch}: __run_at_load");
        // A trap that is never taken, a branch to itself; the same in the other byte order.
        let slave = [0x0800_0048, 0x4800_0000, 0x4800_0000_u32.swap_bytes()];
        assert_eq!(words[0x60 / 4..0x6c / 4], slave, "{arch}: slaves wait at 0x60");
    }
}

/// The words of which pointers are made.
fn words(bytes: &[u8], arch: Arch) -> Box<dyn Iterator<Item = u64> + '_> {
    let quads = bytes.as_chunks().0.iter();
    match arch {
        Arch::X86_64 | Arch::Ppc64le => Box::new(quads.map(|&word| u64::from_le_bytes(word))),
        Arch::Ppc64 => Box::new(quads.map(|&word| u64::from_be_bytes(word))),
        Arch::I386 => {
            Box::new(bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word).into()))
        }
    }
}
