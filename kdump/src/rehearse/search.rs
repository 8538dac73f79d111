//! Finds the smallest `crashkernel=` that works by halving the range in which it must be.

/// What a search found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The smallest size that was seen to work; `None` if none did.
    pub smallest: Option<u64>,
    /// The largest size that was seen not to.
    pub too_small: u64,
}

/// Tries sizes between `low`, which does not work, and `high`, in multiples of `step`, until the
/// answer is known to a `step` or `boots` were made. `high` is tried unless it is `known` to work.
///
/// It is taken for granted that what works with some memory works with more.
pub fn smallest<E>(
    low: u64,
    high: u64,
    known: bool,
    step: u64,
    boots: u32,
    mut works: impl FnMut(u64) -> Result<bool, E>,
) -> Result<Found, E> {
    let mut left = boots;
    let mut found = Found { smallest: known.then_some(high), too_small: low };
    let mut good = high;
    if !known && left > 0 {
        left -= 1;
        if !works(high)? {
            return Ok(Found { smallest: None, too_small: high });
        }
        found.smallest = Some(high);
    }
    while left > 0 && good - found.too_small > step {
        left -= 1;
        let middle = (found.too_small + (good - found.too_small) / 2) / step * step;
        let middle = middle.max(found.too_small + 1);
        if works(middle)? {
            good = middle;
            found.smallest = Some(middle);
        } else {
            found.too_small = middle;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// What is found when `need` is enough, and the sizes that were tried.
    fn search(low: u64, high: u64, known: bool, boots: u32, need: u64) -> (Found, Vec<u64>) {
        let mut tried = Vec::new();
        let works = |size| {
            tried.push(size);
            Ok::<_, Infallible>(size >= need)
        };
        let Ok(found) = smallest(low, high, known, 4, boots, works);
        (found, tried)
    }

    #[test]
    fn the_answer_is_exact_to_a_step() {
        for need in 17..=256 {
            let (found, tried) = search(16, 256, true, 20, need);
            let smallest = found.smallest.unwrap();
            assert!(smallest >= need && found.too_small < need, "{need}: {found:?}");
            assert!(smallest - found.too_small <= 4, "{need}: {found:?}");
            assert!(tried.len() <= 7 && !tried.contains(&256), "{need}: {tried:?}");
        }
    }

    #[test]
    fn boots_are_counted() {
        let (found, tried) = search(0, 1024, true, 3, 100);
        assert_eq!(tried, [512, 256, 128]);
        assert_eq!(found, Found { smallest: Some(128), too_small: 0 });
    }

    #[test]
    fn what_nothing_is_enough_for_is_told() {
        let (found, tried) = search(64, 512, false, 10, 600);
        assert_eq!((found.smallest, found.too_small), (None, 512));
        assert_eq!(tried, [512]);
    }
}
