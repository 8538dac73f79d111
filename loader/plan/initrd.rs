//! The initial RAM disk's place.

use alloc::borrow::Cow;

use crate::plan::layout::Layout;
use crate::plan::place::End;
use crate::plan::{PlanError, What};
use crate::range::PhysRange;

/// Places it in `windows`, as high as it may be. The answer is where its bytes are.
pub fn place<'a>(
    layout: &mut Layout<'a>,
    initrd: Option<&'a [u8]>,
    windows: &[PhysRange],
) -> Result<Option<PhysRange>, PlanError> {
    let Some(initrd) = initrd else { return Ok(None) };
    if initrd.is_empty() {
        return Err(PlanError::EmptyInitrd);
    }
    let length = initrd.len() as u64;
    let at = layout.take(What::Initrd, length, layout.page(), End::Top, windows)?;
    layout.put(What::Initrd, Cow::Borrowed(initrd), at);
    Ok(Some(PhysRange::new(at.start, at.start + length)))
}
