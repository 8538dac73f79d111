//! One figure: ours and the peer's, measured in the same run, and the goal that was set for it.

use purgatorio::facts::Arch;
use serde::Serialize;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Costs.
    Lower,
    /// Speeds.
    Higher,
}

/// Two measured values and what was wanted of them.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The architecture it was measured on.
    pub arch: &'static str,
    /// Unit of `ours` and `peer`.
    pub unit: &'static str,
    /// Our value.
    pub ours: f64,
    /// The peer's value; `None` where there is no peer.
    pub peer: Option<f64>,
    /// `ours / peer`.
    pub ratio: Option<f64>,
    /// Bound on `ratio`: an upper one if lower is better. `None`: shown for information.
    pub goal: Option<f64>,
    /// Which way is better.
    pub better: Better,
}

impl Figure {
    /// A figure without a goal, where lower is better.
    pub fn new(
        arch: Arch,
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer: Option<f64>,
    ) -> Self {
        Self {
            name: name.into(),
            arch: arch.name(),
            unit,
            ours,
            peer,
            ratio: peer.map(|peer| ours / peer),
            goal: None,
            better: Better::Lower,
        }
    }

    /// With a bound on the ratio.
    #[must_use]
    pub fn goal(self, ratio: Option<f64>) -> Self {
        Self { goal: ratio, ..self }
    }

    /// Higher is better.
    #[must_use]
    pub fn higher(self) -> Self {
        Self { better: Better::Higher, ..self }
    }

    /// Whether the goal was reached; `None` without one, or without a peer.
    pub fn reached(&self) -> Option<bool> {
        let (ratio, goal) = self.ratio.zip(self.goal)?;
        Some(match self.better {
            Better::Lower => ratio <= goal,
            Better::Higher => ratio >= goal,
        })
    }
}

/// How many columns the table has.
const COLUMNS: usize = 8;

/// The figures as a Markdown table that also reads well as it is.
pub fn table(figures: &[Figure]) -> String {
    let head = ["machine", "figure", "unit", "ours", "peer", "ours/peer", "goal", ""];
    let head = head.map(str::to_owned);
    let rows: Vec<[String; COLUMNS]> =
        std::iter::once(head).chain(figures.iter().map(row)).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        text.push_str(&line(row, &widths));
        if number == 0 {
            text.push_str(&rule(&widths));
        }
    }
    text
}

fn row(figure: &Figure) -> [String; COLUMNS] {
    let sign = match figure.better {
        Better::Lower => '≤',
        Better::Higher => '≥',
    };
    let verdict = match figure.reached() {
        Some(true) => "reached",
        Some(false) => "NOT REACHED",
        None => "",
    };
    [
        figure.arch.to_owned(),
        figure.name.clone(),
        figure.unit.to_owned(),
        number(figure.ours),
        figure.peer.map(number).unwrap_or_else(|| "none".into()),
        figure.ratio.map(ratio).unwrap_or_default(),
        figure.goal.map(|goal| format!("{sign} {}", ratio(goal))).unwrap_or_default(),
        verdict.to_owned(),
    ]
}

/// Whether a column holds text and not numbers.
const IS_TEXT: [bool; COLUMNS] = [true, true, true, false, false, false, false, true];

fn line(row: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
    let mut text = String::from("|");
    for ((cell, width), is_text) in row.iter().zip(widths).zip(IS_TEXT) {
        text.push_str(&match is_text {
            true => format!(" {cell:<width$} |"),
            false => format!(" {cell:>width$} |"),
        });
    }
    text + "\n"
}

fn rule(widths: &[usize; COLUMNS]) -> String {
    let mut text = String::from("|");
    for (width, is_text) in widths.iter().zip(IS_TEXT) {
        let end = if is_text { "-|" } else { ":|" };
        text.push_str(&format!("{}{end}", "-".repeat(width + 1)));
    }
    text + "\n"
}

/// With as many decimals as tell something.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn ratio(value: f64) -> String {
    if value < 1.0 { format!("{value:.4}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(unit: &'static str, ours: f64, peer: Option<f64>) -> Figure {
        Figure::new(Arch::I386, "a figure", unit, ours, peer)
    }

    #[test]
    fn a_goal_is_a_bound_on_the_ratio() {
        let cost = figure("s", 1.0, Some(30.0));
        assert_eq!(cost.reached(), None);
        assert_eq!(cost.clone().goal(Some(1.0 / 30.0)).reached(), Some(true));
        assert_eq!(cost.clone().goal(Some(1.0 / 31.0)).reached(), Some(false));
        let speed = figure("MB/s", 59.0, Some(10.0)).higher();
        assert_eq!(speed.clone().goal(Some(6.0)).reached(), Some(false));
        assert_eq!(speed.goal(Some(5.9)).reached(), Some(true));
    }

    #[test]
    fn without_a_peer_no_goal_is_reached_or_missed() {
        let alone = figure("s", 1.0, None).goal(Some(0.5));
        assert_eq!(alone.reached(), None);
        let table = table(&[alone]);
        assert!(table.lines().last().is_some_and(|row| row.contains("| none |")), "{table}");
    }

    #[test]
    fn the_json_has_the_agreed_keys() {
        let json = serde_json::to_value(figure("s", 1.0, Some(4.0))).expect("serializes");
        let mut keys: Vec<&str> =
            json.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut agreed = ["name", "arch", "unit", "ours", "peer", "ratio", "goal", "better"];
        agreed.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, agreed);
        assert_eq!(json["arch"], "i386");
        assert_eq!(json["better"], "lower");
        assert_eq!(json["ratio"], 0.25);
    }

    #[test]
    fn a_missed_goal_is_seen_in_the_table() {
        let figures = [
            figure("s", 9.0, Some(3.0)).goal(Some(1.0)),
            figure("MB/s", 2000.0, Some(300.0)).higher().goal(Some(6.0)),
        ];
        let table = table(&figures);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 4);
        assert!(rows[2].ends_with("| NOT REACHED |"), "{table}");
        assert!(rows[3].contains("≥ 6.00 | reached"), "{table}");
        let width = rows[0].chars().count();
        assert!(rows.iter().all(|row| row.chars().count() == width), "{table}");
    }
}
