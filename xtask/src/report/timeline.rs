//! The picture of what happens from a panic to the reboot: a bar for each run, a piece for each step.

use super::page::escaped;
use super::results::{Seen, Step};

/// What the length of a piece means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Host time.
    Seconds,
    /// Guest instructions.
    Instructions,
}

/// The steps in their order, with what is shown of each: its name and its colour.
const STEPS: [(&str, &str, &str); 7] = [
    ("purgatory entered", "old kernel", "#9aa3ab"),
    ("verified", "purgatory verifies", "#e0a13a"),
    ("handoff", "purgatory prepares", "#c9733b"),
    ("first kernel line", "kernel unpacks and starts", "#b0519b"),
    ("capture /init", "kernel boots", "#4f7fd0"),
    ("dump renamed", "/init saves the dump", "#35a07b"),
    ("reboot", "reboot", "#6b5bb5"),
];

const WIDTH: u64 = 960;
const LABEL: u64 = 250;
const VALUE: u64 = 90;
const BAR: u64 = 18;
const ROW: u64 = 26;
const LEGEND: u64 = 34;

impl Measure {
    /// What a step has taken since the panic, in milliseconds or instructions.
    fn of(self, step: &Step) -> Option<u64> {
        match self {
            Self::Seconds => Some(step.milliseconds),
            Self::Instructions => step.instructions,
        }
    }

    /// A total with its unit.
    pub fn text(self, total: u64) -> String {
        match self {
            Self::Seconds if total < 1000 => format!("{total} ms"),
            Self::Seconds => format!("{:.1} s", total as f64 / 1e3),
            Self::Instructions => format!("{:.0} M", total as f64 / 1e6),
        }
    }

    /// The end of the last step of a run, where it was measured.
    pub fn total(self, seen: &Seen) -> Option<u64> {
        let steps = STEPS.iter().filter_map(|(name, ..)| self.of(seen.step(name)?));
        steps.max()
    }
}

/// The picture of the runs that have the measure, in their order; `None` if none has.
pub fn timeline(runs: &[&Seen], measure: Measure) -> Option<String> {
    let runs: Vec<(&Seen, u64)> =
        runs.iter().filter_map(|seen| Some((*seen, measure.total(seen)?))).collect();
    let longest = runs.iter().map(|(_, total)| *total).max().filter(|longest| *longest > 0)?;
    let height = LEGEND + ROW * runs.len() as u64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" role=\"img\">\n<style>\n.timeline {{ font: 13px system-ui, sans-serif; \
         fill: #1c2024 }}\n@media (prefers-color-scheme: dark) {{ .timeline {{ fill: #e4e7ea }} }}\n\
         </style>\n"
    );
    svg.push_str(&legend());
    for (number, (seen, total)) in runs.iter().enumerate() {
        let y = LEGEND + ROW * number as u64;
        svg.push_str(&bar(seen, *total, longest, y, measure));
    }
    Some(svg + "</svg>\n")
}

fn legend() -> String {
    let place = |number: usize| 4 + number as u64 * (WIDTH / STEPS.len() as u64);
    let entry = |(number, (_, title, colour)): (usize, &(&str, &str, &str))| {
        let x = place(number);
        format!(
            "<rect x=\"{x}\" y=\"6\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text class=\"timeline\" x=\"{}\" y=\"15\" font-size=\"10\">{title}</text>\n",
            x + 14
        )
    };
    STEPS.iter().enumerate().map(entry).collect()
}

fn bar(seen: &Seen, total: u64, longest: u64, y: u64, measure: Measure) -> String {
    let room = WIDTH - LABEL - VALUE;
    let place = |value: u64| {
        // Less than `room`, as `value` is at most `longest`.
        LABEL as f64 + room as f64 * value as f64 / longest as f64
    };
    let title = format!("{} {}, {}", seen.arch, seen.label, seen.loader);
    let baseline = y + 14;
    let mut text =
        format!("<text class=\"timeline\" x=\"4\" y=\"{baseline}\">{}</text>\n", escaped(&title));
    let mut from = 0;
    for (name, meaning, colour) in STEPS {
        let Some(to) = seen.step(name).and_then(|step| measure.of(step)) else { continue };
        let width = place(to) - place(from);
        if width > 0.0 {
            text.push_str(&format!(
                "<rect x=\"{:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" \
                 fill=\"{colour}\"><title>{meaning}: {}</title></rect>\n",
                place(from),
                measure.text(to.saturating_sub(from))
            ));
        }
        from = to;
    }
    let end = place(total) + 6.0;
    text + &format!(
        "<text class=\"timeline\" x=\"{end:.1}\" y=\"{baseline}\">{}</text>\n",
        measure.text(total)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    fn run(steps: &[(&str, u64, Option<u64>)]) -> Seen {
        let step = |&(name, milliseconds, instructions): &(&str, u64, Option<u64>)| Step {
            name: name.into(),
            milliseconds,
            instructions,
        };
        Seen { phases: steps.iter().map(step).collect(), ..seen("x86_64", "cloud", "crash") }
    }

    #[test]
    fn a_bar_has_a_piece_for_each_step_from_the_panic_on() {
        let run = run(&[
            ("load", 9000, None),
            ("panic", 0, None),
            ("verified", 500, None),
            ("capture /init", 4500, None),
        ]);
        let svg = timeline(&[&run], Measure::Seconds).expect("it has times");
        assert_eq!(svg.matches("<title>").count(), 2);
        assert!(svg.contains("<title>purgatory verifies: 500 ms</title>"), "{svg}");
        assert!(svg.contains("<title>kernel boots: 4.0 s</title>"), "{svg}");
        assert!(svg.contains(">4.5 s</text>"), "{svg}");
        assert_eq!(timeline(&[&run], Measure::Instructions), None);
    }

    #[test]
    fn without_a_crash_there_is_no_picture() {
        assert_eq!(timeline(&[&run(&[("load", 9000, Some(1))])], Measure::Seconds), None);
        assert_eq!(timeline(&[], Measure::Seconds), None);
    }
}
