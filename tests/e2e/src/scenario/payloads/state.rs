//! What a payload printed, and what the first kernel had printed before of the same machine.

/// Names and values of one boot, in order.
pub struct State {
    values: Vec<(String, String)>,
    /// The firmware's memory map as Linux printed it: start, length, type of E820.
    pub firmware_map: Vec<[u64; 3]>,
}

impl State {
    /// From the lines on the serial port.
    pub fn of(lines: &[&str]) -> Self {
        let values = lines.iter().filter_map(|line| {
            let (_, rest) = line.split_once("payload: ")?;
            let (name, value) = rest.trim_end().split_once(' ').unwrap_or((rest.trim_end(), ""));
            Some((name.to_owned(), value.to_owned()))
        });
        Self {
            values: values.collect(),
            firmware_map: lines.iter().filter_map(|line| e820(line)).collect(),
        }
    }

    /// What it printed, for the report.
    pub fn lines(&self) -> Vec<String> {
        self.values.iter().map(|(name, value)| format!("{name} {value}")).collect()
    }

    /// Every value with this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.values.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value with this name, as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.all(name)[..] {
            [value] => u64::from_str_radix(value, 16).ok(),
            _ => None,
        }
    }

    /// The payload's memory map.
    pub fn memory_map(&self) -> Vec<[u64; 3]> {
        let numbers = |text: &str| {
            let mut numbers = text.split(' ').map(|word| u64::from_str_radix(word, 16).ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        };
        self.all("mmap").into_iter().filter_map(numbers).collect()
    }
}

/// A line such as `BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable`.
fn e820(line: &str) -> Option<[u64; 3]> {
    let (_, rest) = line.split_once("BIOS-e820: [mem 0x")?;
    let (range, kind) = rest.split_once("] ")?;
    let (start, last) = range.split_once("-0x")?;
    let [start, last] = [start, last].map(|number| u64::from_str_radix(number, 16).ok());
    let (start, last) = (start?, last?);
    let kind = match kind.trim() {
        "usable" => 1,
        "ACPI data" => 3,
        "ACPI NVS" => 4,
        _reserved => 2,
    };
    Some([start, last - start + 1, kind])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_read() {
        let lines = [
            "[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
            "[    0.000000] BIOS-e820: [mem 0x00000000feffc000-0x00000000feffffff] reserved",
            "payload: a 2badb002\r",
            "payload: cmdline /e2e/payload one two\r",
            "payload: mmap 0 9fc00 1\r",
            "payload: end\r",
        ];
        let state = State::of(&lines);
        assert_eq!(state.number("a"), Some(0x2bad_b002));
        assert_eq!(state.all("cmdline"), ["/e2e/payload one two"]);
        assert_eq!(state.memory_map(), state.firmware_map[..1]);
        assert_eq!(state.firmware_map[1], [0xfeff_c000, 0x4000, 2]);
        assert_eq!(state.number("b"), None);
    }
}
