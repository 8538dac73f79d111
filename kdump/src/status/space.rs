//! How much room a target has.

use std::fs;
use std::path::Path;

use capture::config::Target;
use rustix::fs::statvfs;

use crate::machine::{Machine, ReadError};
use crate::mounts;

/// Free bytes of the target on device `node`: of its file system if that is mounted, of the whole
/// device if there is none to be kept; `None` if it cannot be told without mounting it.
pub(super) fn free(
    machine: &Machine,
    target: &Target,
    node: &Path,
) -> Result<Option<u64>, ReadError> {
    if let Target::Raw { .. } = target {
        return sectors(machine, node);
    }
    let mounts = mounts::read(machine)?;
    let Some(mount) = mounts::of_device(&mounts, machine, node) else { return Ok(None) };
    let status = statvfs(machine.of_absolute(&mount.point)).ok();
    // The capture kernel writes as root.
    Ok(status.map(|status| status.f_bfree.saturating_mul(status.f_frsize)))
}

/// Size of a block device, from sysfs, in bytes.
fn sectors(machine: &Machine, node: &Path) -> Result<Option<u64>, ReadError> {
    let node = fs::canonicalize(node).unwrap_or_else(|_| node.to_owned());
    let name = node.strip_prefix(machine.path("dev")).unwrap_or(&node);
    let name = name.to_string_lossy().replace('/', "!");
    let size = machine.text(&format!("sys/class/block/{name}/size"))?;
    // sysfs counts in 512 bytes whatever the device's blocks are.
    Ok(size.and_then(|size| size.trim().parse::<u64>().ok()?.checked_mul(512)))
}
