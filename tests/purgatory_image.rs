//! The linker and the image that this build embeds.

use linker::Image;
use purgatorio::facts::Arch;
use purgatorio::purgatory_image;
use purgatory::params::Params;

const BASE: u64 = 0x7f_ffff_f000;

#[test]
fn the_linker_places_and_fills_the_embedded_image() {
    let image = Image::parse(purgatory_image(Arch::X86_64).unwrap()).unwrap();
    assert!(image.size() <= 24 * 1024, "{} bytes", image.size());
    assert_eq!(image.align(), 4096);

    let placed = image.place(BASE).unwrap();
    let (address, code) = placed.code();
    let code = code.to_vec();
    assert_eq!(address, BASE);
    assert!((BASE..BASE + code.len() as u64).contains(&placed.entry()));

    let filled = placed.fill(&Params { region_count: 3, ..Params::EMPTY });
    assert_eq!(filled.len() as u64, image.size());
    assert_eq!(filled[..code.len()], code, "the parameters are not among the code");
    let other = image.place(BASE).unwrap().fill(&Params { region_count: 4, ..Params::EMPTY });
    let changed = filled.iter().zip(&other).filter(|(one, other)| one != other).count();
    assert!((2..=36).contains(&changed), "region_count and the digest: {changed} bytes");
}

#[test]
fn two_addresses_differ_only_in_the_relocated_words() {
    let image = Image::parse(purgatory_image(Arch::X86_64).unwrap()).unwrap();
    let fill = |base| image.place(base).unwrap().fill(&Params::EMPTY);
    let (low, high) = (fill(0x10_0000), fill(BASE));
    let words = |bytes: &[u8]| -> Vec<u64> {
        bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect()
    };
    let mut relocated = 0;
    for (low, high) in words(&low).into_iter().zip(words(&high)) {
        if low != high {
            assert_eq!(high - low, BASE - 0x10_0000);
            relocated += 1;
        }
    }
    assert!(relocated > 0);
}
