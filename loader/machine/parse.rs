//! What the parsers of /proc and /sys files share.

use crate::range::PhysRange;

/// Text from the kernel that is not what its documentation says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {found:?}")]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// What should be there.
    pub expected: &'static str,
    /// What is there, shortened.
    pub found: String,
}

impl ParseError {
    /// Characters of the offending text that a message shows.
    const SHOWN: usize = 60;

    pub(super) fn new(line: usize, expected: &'static str, found: &str) -> Self {
        Self { line, expected, found: found.chars().take(Self::SHOWN).collect() }
    }
}

/// A hexadecimal number with or without `0x`.
pub(super) fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// A file that holds one hexadecimal number.
pub(super) fn hexadecimal_file(text: &str) -> Result<u64, ParseError> {
    let text = text.trim();
    hexadecimal(text).ok_or_else(|| ParseError::new(1, "a hexadecimal number", text))
}

/// A file that holds one decimal number.
pub(super) fn decimal_file<N: std::str::FromStr>(text: &str) -> Result<N, ParseError> {
    let text = text.trim();
    text.parse().map_err(|_| ParseError::new(1, "a decimal number", text))
}

/// `start-last`, both hexadecimal, `last` inclusive.
pub(super) fn inclusive_range(text: &str) -> Option<PhysRange> {
    let (start, last) = text.split_once('-')?;
    let (start, last) = (hexadecimal(start)?, hexadecimal(last)?);
    (start <= last).then(|| PhysRange::inclusive(start, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_with_and_without_prefix() {
        assert_eq!(hexadecimal_file("0x9fbff\n"), Ok(0x9fbff));
        assert_eq!(hexadecimal_file("3ea3a400\n"), Ok(0x3ea3_a400));
        assert_eq!(decimal_file::<u64>("268435456\n"), Ok(256 << 20));
        assert_eq!(decimal_file::<i64>("-1\n"), Ok(-1));
    }

    #[test]
    fn what_is_no_number_is_quoted_shortened() {
        let error = hexadecimal_file(&"g".repeat(1000)).unwrap_err();
        assert_eq!(error.found, "g".repeat(60));
        assert!(decimal_file::<u64>("0x10").is_err());
        assert!(hexadecimal_file("10000000000000000").is_err());
    }

    #[test]
    fn a_range_is_inclusive_and_not_inverted() {
        assert_eq!(inclusive_range("00001000-0009fbff"), Some(PhysRange::new(0x1000, 0x9fc00)));
        assert_eq!(inclusive_range("2000-1000"), None);
        assert_eq!(inclusive_range("2000"), None);
    }
}
