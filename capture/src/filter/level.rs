//! Dump levels: which kinds of pages are left out.

use std::fmt;
use std::str::FromStr;

/// Which kinds of pages are left out of a dump, with makedumpfile's numbers (makedumpfile(8),
/// `-d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Level(u8);

/// It is no dump level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no dump level: give a number from 0 to 31, or some of zero, cache, \
     non-private-cache, user, free with commas between them"
)]
pub struct LevelError(String);

impl Level {
    /// Nothing is left out but pages that must not be read.
    pub const NONE: Self = Self(0);
    /// Pages of zeros.
    pub const ZERO: Self = Self(1);
    /// Page cache without private data: what a file system can read again.
    pub const CACHE: Self = Self(2);
    /// All page cache.
    pub const CACHE_PRIVATE: Self = Self(4);
    /// Memory of user processes.
    pub const USER: Self = Self(8);
    /// Free memory.
    pub const FREE: Self = Self(16);
    /// All of them.
    pub const ALL: Self = Self(31);

    /// Names for `--drop`, with what they mean.
    const NAMES: [(&str, Self); 5] = [
        ("zero", Self::ZERO),
        ("cache", Self(Self::CACHE.0 | Self::CACHE_PRIVATE.0)),
        ("non-private-cache", Self::CACHE),
        ("user", Self::USER),
        ("free", Self::FREE),
    ];

    /// Whether a kind that is left out by `kind` is left out here.
    pub fn contains(self, kind: Self) -> bool {
        self.0 & kind.0 == kind.0
    }

    /// makedumpfile's number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Level {
    type Error = LevelError;

    /// makedumpfile's number.
    fn try_from(number: u8) -> Result<Self, LevelError> {
        if number <= Self::ALL.0 { Ok(Self(number)) } else { Err(LevelError(number.to_string())) }
    }
}

impl FromStr for Level {
    type Err = LevelError;

    /// A number, or names with commas between them.
    fn from_str(text: &str) -> Result<Self, LevelError> {
        let error = || LevelError(text.to_owned());
        if let Ok(number) = text.parse::<u8>() {
            return number.try_into();
        }
        let mut level = Self::NONE;
        for part in text.split(',') {
            let mut names = Self::NAMES.iter();
            let (_, named) = names.find(|(name, _)| *name == part.trim()).ok_or_else(error)?;
            level.0 |= named.0;
        }
        Ok(level)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_say_the_same() {
        for (text, number) in [
            ("0", 0),
            ("31", 31),
            ("zero,cache,user,free", 31),
            ("free", 16),
            ("cache", 6),
            ("non-private-cache, user", 10),
        ] {
            let level: Level = text.parse().unwrap();
            assert_eq!(level.number(), number, "{text}");
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for text in ["", "32", "-1", "256", "zero,", "all", "1,2"] {
            assert_eq!(text.parse::<Level>(), Err(LevelError(text.to_owned())));
        }
    }
}
