//! The core headers, as readelf reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::segments::Loaded;
use super::{Difference, missing};
use crate::process;
use crate::scenario::Error;

/// What readelf says of a file's header and of each program header, with the backup named.
struct CoreHeaders {
    header: BTreeMap<String, String>,
    program: Vec<Vec<String>>,
}

/// readelf's columns of a program header.
const COLUMNS: [&str; 6] = ["Type", "Offset", "VirtAddr", "PhysAddr", "FileSiz", "MemSiz"];

/// Compares header and program headers, column by column.
pub fn compare(folder: &Path, peers: &Loaded, ours: &Loaded) -> Result<Vec<Difference>, Error> {
    let peers = read(folder, "peer", peers)?;
    let ours = read(folder, "ours", ours)?;
    let mut differences = Vec::new();
    for (name, value) in &peers.header {
        let our = ours.header.get(name).map_or("", String::as_str);
        if our != value {
            differences.push((format!("elfcorehdr {name}"), format!("{value} and {our}")));
        }
    }
    if peers.program.len() != ours.program.len() {
        let how = format!("{:#?} and {:#?}", peers.program, ours.program);
        differences.push(("elfcorehdr program headers".into(), how));
        return Ok(differences);
    }
    for (peers, ours) in peers.program.iter().zip(&ours.program) {
        for (column, (peer, our)) in COLUMNS.iter().zip(peers.iter().zip(ours)) {
            if peer != our {
                let how = format!("{peers:?} and {ours:?}");
                differences.push((format!("elfcorehdr {} {column}", peers[0]), how));
            }
        }
    }
    Ok(differences)
}

fn read(folder: &Path, whose: &str, loaded: &Loaded) -> Result<CoreHeaders, Error> {
    let part = loaded.part("elfcorehdr").ok_or_else(|| missing(whose, "core headers"))?;
    let path = folder.join(format!("{whose}-elfcorehdr"));
    fs::write(&path, &part.bytes).map_err(|source| Error::File { path: path.clone(), source })?;
    let text = process::output(Command::new("readelf").args(["-W", "-h", "-l"]).arg(&path))
        .map_err(|error| Error::Proof(error.to_string()))?;
    let backup = loaded.part("backup").map(|part| part.segment.address);
    let header = ["Class", "Data", "Type", "Machine", "Flags"];
    let header = header.iter().filter_map(|name| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")))?;
        Some(((*name).to_owned(), value.trim().to_owned()))
    });
    let program = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.first(), Some(&("LOAD" | "NOTE"))).then(|| {
            let mut row: Vec<String> =
                words.iter().take(COLUMNS.len()).copied().map(number).collect();
            if backup.is_some_and(|backup| row.get(1) == Some(&format!("{backup:#x}"))) {
                row[1] = "backup".into();
            }
            row
        })
    });
    Ok(CoreHeaders { header: header.collect(), program: program.collect() })
}

/// Without the zeroes in front, of which readelf prints as many as the class has room for.
fn number(word: &str) -> String {
    let digits = word.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.map_or_else(|| word.to_owned(), |number| format!("{number:#x}"))
}
