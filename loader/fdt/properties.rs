//! Properties of reading and writing, on random trees and random damage.

use alloc::{string::String, vec::Vec};

use proptest::prelude::*;

use crate::fdt::{DeviceTree, Node, ParseError, Property};
use crate::range::PhysRange;

/// Names as real machines have them: long ones, and few of them, so that some repeat.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("reg".into()),
        Just("ibm,dynamic-reconfiguration-memory".into()),
        Just("ibm,associativity-reference-points".into()),
        "[a-zA-Z0-9,._+#?@~()-]{1,40}",
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let value = prop::collection::vec(any::<u8>(), 0..20);
    let properties = prop::collection::btree_map(name(), value, 0..6).prop_map(|properties| {
        properties.into_iter().map(|(name, value)| Property { name, value }).collect::<Vec<_>>()
    });
    let leaf = (name(), properties).prop_map(|(name, properties)| Node {
        name,
        properties,
        children: Vec::new(),
    });
    leaf.prop_recursive(5, 40, 5, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..5))
            .prop_map(|(node, children)| Node { children, ..node })
    })
}

fn tree() -> impl Strategy<Value = DeviceTree> {
    let reservation = (any::<u64>(), 1_u64..).prop_map(|(start, length)| {
        PhysRange::at(start, length).unwrap_or(PhysRange::new(start / 2, start / 2 + 1))
    });
    (node(), prop::collection::vec(reservation, 0..4), any::<u32>()).prop_map(
        |(root, reservations, boot_cpuid_phys)| DeviceTree {
            reservations,
            boot_cpuid_phys,
            root: Node { name: String::new(), ..root },
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(tree in tree(), room in 0_usize..5000, behind in 0_usize..9) {
        let mut bytes = tree.write(room).unwrap();
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        prop_assert_eq!(word(4), bytes.len());
        // From the end of the strings to the end of the tree.
        let free = bytes.len() - word(12) - word(32);
        prop_assert!(room <= free && free < room + 8);
        bytes.resize(bytes.len() + behind, 0xff);
        prop_assert_eq!(DeviceTree::parse(&bytes), Ok(tree));
    }

    #[test]
    fn damage_gives_an_answer(
        tree in tree(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = tree.write(0).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(read) = DeviceTree::parse(&bytes) {
            prop_assert!(read.write(0).is_ok());
        }
    }

    #[test]
    fn no_truncated_tree_is_read(tree in tree(), at in any::<prop::sample::Index>()) {
        let bytes = tree.write(0).unwrap();
        prop_assert!(DeviceTree::parse(&bytes[..at.index(bytes.len())]).is_err());
    }
}

/// What dtc 1.6.1 makes of
/// `/dts-v1/; /memreserve/ 0x1000 0x2000; / { a = "x"; b { #c = <1>; }; };`
#[test]
fn a_tree_of_another_writer_is_read() {
    let words: &[u32] = &[
        0xd00d_feed,
        0x89,
        0x48,
        0x84,
        0x28,
        17,
        16,
        0,
        5,
        0x3c, // the header
        0,
        0x1000,
        0,
        0x2000,
        0,
        0,
        0,
        0, // one memory reservation, and the end of them
        1,
        0, // the root
        3,
        2,
        0,
        0x7800_0000, // a
        1,
        0x6200_0000, // b
        3,
        4,
        2,
        1, // #c
        2,
        2,
        9, // the ends
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(b"a\0#c\0");
    let tree = DeviceTree::parse(&bytes).unwrap();
    assert_eq!(tree.reservations, [PhysRange::new(0x1000, 0x3000)]);
    assert_eq!(tree.root.string("a"), Ok(Some("x")));
    assert_eq!((&*tree.root.children[0].name, tree.root.children[0].u32("#c")), ("b", Ok(Some(1))));
    // Only the padding at the end differs.
    assert_eq!(tree.write(0).unwrap()[8..bytes.len()], bytes[8..]);
}

#[test]
fn nodes_in_nodes_without_end_are_refused() {
    let mut node = Node::default();
    for _ in 0..70 {
        node = Node { children: Vec::from([node]), ..Node::default() };
    }
    let tree = DeviceTree { root: node, ..DeviceTree::default() };
    let bytes = tree.write(0).unwrap();
    assert!(matches!(DeviceTree::parse(&bytes), Err(ParseError::TooDeep { .. })));
}

#[test]
fn other_files_are_told_from_trees() {
    assert_eq!(DeviceTree::parse(b"\x7fELF"), Err(ParseError::TooShort { length: 4 }));
    assert_eq!(DeviceTree::parse(&[0x7f; 64]), Err(ParseError::Magic { found: 0x7f7f_7f7f }));
    let mut old = DeviceTree::default().write(0).unwrap();
    old[23] = 3;
    assert_eq!(DeviceTree::parse(&old), Err(ParseError::Version { version: 3, compatible: 16 }));
}
