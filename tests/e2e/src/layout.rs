//! Where the loader put what: purgatory's entry and the segments, from the loader's own words.

use serde_json::Value;

/// One segment in physical memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What it holds, in our loader's names; empty where the loader does not say.
    pub what: String,
    /// First byte.
    pub address: u64,
    /// Bytes that were loaded.
    pub bufsz: u64,
    /// Bytes of memory that it takes.
    pub memsz: u64,
}

/// What a load left in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Purgatory's first instruction.
    pub entry: u64,
    /// How the kernel is entered, in our loader's words (`direct`, `bzimage64`, `bzimage32`).
    pub entry_mode: Option<String>,
    /// The segments.
    pub segments: Vec<Segment>,
}

impl Layout {
    /// The segment that holds `what`; the largest if there are several.
    pub fn segment(&self, what: &str) -> Option<&Segment> {
        let named = self.segments.iter().filter(|segment| segment.what == what);
        named.max_by_key(|segment| segment.bufsz)
    }
}

/// Our loader's `--dry-run --format json`.
pub fn from_plan(lines: &[String]) -> Option<Layout> {
    let plan: Value = serde_json::from_str(&lines.concat()).ok()?;
    let segment = |segment: &Value| {
        Some(Segment {
            what: segment["what"].as_str()?.to_owned(),
            address: hex(segment["address"].as_str()?)?,
            bufsz: segment["bufsz"].as_u64()?,
            memsz: segment["memsz"].as_u64()?,
        })
    };
    Some(Layout {
        entry: hex(plan["entry"].as_str()?)?,
        entry_mode: plan["entry_mode"].as_str().map(str::to_owned),
        segments: plan["segments"].as_array()?.iter().map(segment).collect::<Option<_>>()?,
    })
}

/// The peer's `-d`: `kexec_load: entry = 0x… flags = …`, then four lines for each segment.
pub fn from_debug_output(lines: &[String]) -> Option<Layout> {
    let entry = lines
        .iter()
        .find_map(|line| hex(line.strip_prefix("kexec_load: entry = ")?.split(' ').next()?))?;
    let field = |name: &'static str| {
        lines.iter().filter_map(move |line| {
            let (head, value) = line.split_once('=')?;
            (head.starts_with("segment[") && head.trim_end().ends_with(name)).then(|| hex(value))?
        })
    };
    let segments = field("].mem").zip(field("].bufsz")).zip(field("].memsz"));
    Some(Layout {
        entry,
        entry_mode: None,
        segments: segments
            .map(|((address, bufsz), memsz)| {
                let what = String::new();
                Segment { what, address, bufsz, memsz }
            })
            .collect(),
    })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_plan() {
        let text = r#"{"entry": "0x2a001000", "segments": [
            {"what": "kernel", "address": "0x2b000000", "memsz": 33554432, "bufsz": 3}]}"#;
        let layout = from_plan(&[text.to_owned()]).expect("it is a plan");
        assert_eq!(layout.entry, 0x2a00_1000);
        assert_eq!(layout.segment("kernel").map(|s| (s.address, s.bufsz)), Some((0x2b00_0000, 3)));
        assert_eq!(layout.segment("initrd"), None);
    }

    #[test]
    fn the_peers_debug_output() {
        let text = "kexec_load: entry = 0x2fff5700 flags = 0x3e0001\n\
                    nr_segments = 1\n\
                    segment[0].buf   = 0x7f\n\
                    segment[0].bufsz = 0x70e0\n\
                    segment[0].mem   = 0x2fff0000\n\
                    segment[0].memsz = 0x9000\n";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let layout = from_debug_output(&lines).expect("it has an entry");
        assert_eq!(layout.entry, 0x2fff_5700);
        let segment =
            Segment { what: String::new(), address: 0x2fff_0000, bufsz: 0x70e0, memsz: 0x9000 };
        assert_eq!(layout.segments, [segment]);
    }
}
