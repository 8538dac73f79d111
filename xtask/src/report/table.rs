//! The table machine × feature, in Markdown.

use std::collections::BTreeMap;

/// What became of one scenario on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its proof held.
    Passed,
    /// Its proof did not hold.
    Failed,
    /// Nobody has tried.
    NotRun,
    /// It is tried on another kernel of the architecture.
    Elsewhere,
    /// The machine cannot have it, for this reason.
    NotApplicable(&'static str),
}

/// One scenario on one machine.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Title of the column.
    pub machine: String,
    /// Title of the row.
    pub feature: &'static str,
    /// The scenario's name.
    pub scenario: String,
    /// What became of it.
    pub state: State,
}

/// The table: a row for each feature, a column for each machine, both in the order in which they
/// first appear. Below it, why machines lack something.
pub fn table(entries: &[Entry]) -> String {
    let machines = in_order(entries.iter().map(|entry| entry.machine.as_str()));
    let features = in_order(entries.iter().map(|entry| entry.feature));
    let mut notes = Notes::default();
    let mut text = row("", machines.iter().map(|&machine| machine.to_owned()));
    text.push_str(&format!("|---|{}\n", "---|".repeat(machines.len())));
    for feature in features {
        let cells = machines.iter().map(|&machine| {
            let here = entries.iter().filter(|e| e.machine == machine && e.feature == feature);
            cell(&here.collect::<Vec<_>>(), &mut notes)
        });
        text.push_str(&row(feature, cells));
    }
    text + &notes.text()
}

fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut known = Vec::new();
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    known
}

fn row(title: &str, cells: impl Iterator<Item = String>) -> String {
    format!("| {title} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// How many of the scenarios passed, which failed, and where it says why there are no more.
fn cell(entries: &[&Entry], notes: &mut Notes) -> String {
    let in_state = |state: State| entries.iter().filter(move |e| e.state == state);
    let (passed, failed) = (in_state(State::Passed).count(), in_state(State::Failed).count());
    let mut words = Vec::new();
    if passed + failed > 0 {
        words.push(format!("{passed}/{}", passed + failed));
    }
    words.extend(in_state(State::Failed).map(|entry| format!("**{} failed**", entry.scenario)));
    match in_state(State::NotRun).count() {
        0 => {}
        number => words.push(format!("**{number} not run**")),
    }
    // One reason that holds for several scenarios is one note.
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        if let State::NotApplicable(reason) = entry.state {
            lacking.entry(reason).or_default().push(&entry.scenario);
        }
    }
    if words.is_empty() {
        let elsewhere = in_state(State::Elsewhere).next().is_some();
        words.push(if elsewhere { "–" } else { "n/a" }.into());
    }
    words.extend(lacking.into_iter().map(|(reason, names)| notes.mark(&names, reason)));
    words.join(" ")
}

/// The notes below the table, each told once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    /// The mark of the note that `scenarios` are left out for `reason`.
    fn mark(&mut self, scenarios: &[&str], reason: &str) -> String {
        let names: Vec<String> = scenarios.iter().map(|name| format!("`{name}`")).collect();
        let note = format!("{}: {reason}.", names.join(", "));
        let known = self.0.iter().position(|known| *known == note);
        let number = known.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        format!("[{}]", number + 1)
    }

    fn text(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let lines = self.0.iter().enumerate();
        let list = lines.map(|(number, note)| format!("{}. {note}\n", number + 1));
        format!("\nNot applicable:\n\n{}", list.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(machine: &str, feature: &'static str, scenario: &str, state: State) -> Entry {
        Entry { machine: machine.into(), feature, scenario: scenario.into(), state }
    }

    #[test]
    fn cells_count_and_name() {
        let entries = [
            entry("pc", "crash", "crash", State::Passed),
            entry("power", "crash", "crash", State::Failed),
            entry("pc", "corruption", "corrupt-kernel", State::Passed),
            entry("pc", "corruption", "corrupt-dtb", State::NotApplicable("a PC has none")),
            entry("power", "corruption", "corrupt-kernel", State::Passed),
            entry("power", "corruption", "corrupt-dtb", State::Passed),
            entry("pc", "firmware", "uefi", State::Passed),
            entry("power", "firmware", "uefi", State::NotApplicable("Power has none")),
            entry("pc", "memory", "memory", State::NotRun),
            entry("power", "memory", "memory", State::Elsewhere),
        ];
        assert_eq!(
            table(&entries),
            "|  | pc | power |\n\
             |---|---|---|\n\
             | crash | 1/1 | 0/1 **crash failed** |\n\
             | corruption | 1/1 [1] | 2/2 |\n\
             | firmware | 1/1 | n/a [2] |\n\
             | memory | **1 not run** | – |\n\
             \n\
             Not applicable:\n\
             \n\
             1. `corrupt-dtb`: a PC has none.\n\
             2. `uefi`: Power has none.\n"
        );
    }

    #[test]
    fn a_reason_for_several_machines_is_told_once() {
        let lacking = |machine| entry(machine, "firmware", "uefi", State::NotApplicable("none"));
        let text = table(&[lacking("le"), lacking("be")]);
        assert!(text.contains("| firmware | n/a [1] | n/a [1] |"), "{text}");
        assert_eq!(text.matches("`uefi`").count(), 1);
    }
}
