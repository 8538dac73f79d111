//! Reads files out of an XFS image with `xfs_db`, which tells where their blocks are.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Error, failed, tool};
use crate::process;

/// Blocks that lie together in a file and on the disk.
struct Extent {
    /// First block of the file.
    offset: u64,
    /// Allocation group of the first block on the disk, and its number there.
    start: (u64, u64),
    /// How many.
    count: u64,
}

/// What turns block numbers into offsets on the disk.
struct Geometry {
    block: u64,
    blocks_of_group: u64,
}

/// Copies the directory `path` of the file system to the host's folder `to`.
pub(super) fn extract(image: &Path, path: &str, to: &Path) -> Result<(), Error> {
    let text = ask(image, &["sb 0", "print blocksize agblocks"])?;
    let geometry = Geometry {
        block: number(&text, "blocksize = ")?,
        blocks_of_group: number(&text, "agblocks = ")?,
    };
    directory(image, &geometry, path, to)
}

fn directory(image: &Path, geometry: &Geometry, path: &str, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(failed(to))?;
    let listing = ask(image, &[&format!("path {path}"), "ls"])?;
    for line in listing.lines() {
        // cookie inode type hash length name (good)
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, kind, _, _, name, ..] = words[..] else { continue };
        let (below, to) = (format!("{path}/{name}"), to.join(name));
        match kind {
            "directory" if !matches!(name, "." | "..") => directory(image, geometry, &below, &to)?,
            "regular" => file(image, geometry, &below, &to)?,
            _neither => {}
        }
    }
    Ok(())
}

fn file(image: &Path, geometry: &Geometry, path: &str, to: &Path) -> Result<(), Error> {
    let text = ask(image, &[&format!("path {path}"), "print core.size", "bmap"])?;
    let size = number(&text, "core.size = ")?;
    let disk = File::open(image).map_err(failed(image))?;
    let out = File::create(to).map_err(failed(to))?;
    out.set_len(size).map_err(failed(to))?;
    let mut block = vec![0; usize::try_from(geometry.block).unwrap_or_default()];
    for Extent { offset, start: (group, first), count } in text.lines().filter_map(extent) {
        for number in 0..count {
            let from = (group * geometry.blocks_of_group + first + number) * geometry.block;
            disk.read_exact_at(&mut block, from).map_err(failed(image))?;
            out.write_all_at(&block, (offset + number) * geometry.block).map_err(failed(to))?;
        }
    }
    // The last block is full.
    out.set_len(size).map_err(failed(to))
}

/// `data offset 0 startblock 13 (0/13) count 1 flag 0`
fn extent(line: &str) -> Option<Extent> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |word: &str| words.iter().position(|found| *found == word).map(|at| at + 1);
    let start = words.get(after("startblock")? + 1)?;
    let (group, first) = start.trim_matches(['(', ')']).split_once('/')?;
    Some(Extent {
        offset: words.get(after("offset")?)?.parse().ok()?,
        start: (group.parse().ok()?, first.parse().ok()?),
        count: words.get(after("count")?)?.parse().ok()?,
    })
}

fn number(text: &str, prefix: &str) -> Result<u64, Error> {
    let value = text.lines().find_map(|line| line.strip_prefix(prefix)?.trim().parse().ok());
    value.ok_or_else(|| Error::Answer { tool: "xfs_db", answer: text.to_owned() })
}

fn ask(image: &Path, requests: &[&str]) -> Result<String, Error> {
    let mut command = tool("xfs_db");
    command.arg("-r");
    for request in requests {
        command.args(["-c", request]);
    }
    Ok(process::output(command.arg(image))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_say_where_blocks_are() {
        let line = "data offset 512 startblock 131085 (1/13) count 1024 flag 0";
        let found = extent(line).unwrap();
        assert_eq!((found.offset, found.start, found.count), (512, (1, 13), 1024));
        assert!(extent("core.size = 12").is_none());
    }
}
