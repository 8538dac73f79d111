//! One figure: ours and the peer's, measured in the same run, and the goal that was set for it.

use super::ARCH;
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
    /// The peer's value.
    pub peer: f64,
    /// `ours / peer`.
    pub ratio: f64,
    /// Bound on `ratio`: an upper one if lower is better. `None`: shown for information.
    pub goal: Option<f64>,
    /// Which way is better.
    pub better: Better,
}

impl Figure {
    /// A figure without a goal, where lower is better.
    pub fn new(name: impl Into<String>, unit: &'static str, ours: f64, peer: f64) -> Self {
        Self {
            name: name.into(),
            arch: ARCH.name(),
            unit,
            ours,
            peer,
            ratio: ours / peer,
            goal: None,
            better: Better::Lower,
        }
    }

    /// With a bound on the ratio.
    #[must_use]
    pub fn goal(self, ratio: f64) -> Self {
        Self { goal: Some(ratio), ..self }
    }

    /// Higher is better.
    #[must_use]
    pub fn higher(self) -> Self {
        Self { better: Better::Higher, ..self }
    }

    /// Whether the goal was reached; `None` without one.
    pub fn reached(&self) -> Option<bool> {
        let goal = self.goal?;
        Some(match self.better {
            Better::Lower => self.ratio <= goal,
            Better::Higher => self.ratio >= goal,
        })
    }
}

/// The figures as a Markdown table that also reads well as it is.
pub fn table(figures: &[Figure]) -> String {
    let head = ["figure", "unit", "ours", "peer", "ours/peer", "goal", ""].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(figures.iter().map(row)).collect();
    let mut widths = [0; 7];
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

fn row(figure: &Figure) -> [String; 7] {
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
        figure.name.clone(),
        figure.unit.to_owned(),
        number(figure.ours),
        number(figure.peer),
        ratio(figure.ratio),
        figure.goal.map(|goal| format!("{sign} {}", ratio(goal))).unwrap_or_default(),
        verdict.to_owned(),
    ]
}

/// The first two columns are text, the others numbers.
fn line(row: &[String; 7], widths: &[usize; 7]) -> String {
    let mut text = String::from("|");
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let cell = match column {
            0 | 1 | 6 => format!(" {cell:<width$} |"),
            _number => format!(" {cell:>width$} |"),
        };
        text.push_str(&cell);
    }
    text + "\n"
}

fn rule(widths: &[usize; 7]) -> String {
    let mut text = String::from("|");
    for (column, width) in widths.iter().enumerate() {
        let dashes = "-".repeat(width + 1);
        match column {
            0 | 1 | 6 => text.push_str(&format!("{dashes}-|")),
            _number => text.push_str(&format!("{dashes}:|")),
        }
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

    #[test]
    fn a_goal_is_a_bound_on_the_ratio() {
        let cost = Figure::new("cost", "s", 1.0, 30.0);
        assert_eq!(cost.reached(), None);
        assert_eq!(cost.clone().goal(1.0 / 30.0).reached(), Some(true));
        assert_eq!(cost.clone().goal(1.0 / 31.0).reached(), Some(false));
        let speed = Figure::new("speed", "MB/s", 59.0, 10.0).higher();
        assert_eq!(speed.clone().goal(6.0).reached(), Some(false));
        assert_eq!(speed.goal(5.9).reached(), Some(true));
    }

    #[test]
    fn the_json_has_the_agreed_keys() {
        let json = serde_json::to_value(Figure::new("cost", "s", 1.0, 4.0)).expect("serializes");
        let keys: Vec<&str> =
            json.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut agreed = ["name", "arch", "unit", "ours", "peer", "ratio", "goal", "better"];
        agreed.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, agreed);
        assert_eq!(json["better"], "lower");
        assert_eq!(json["ratio"], 0.25);
    }

    #[test]
    fn a_missed_goal_is_seen_in_the_table() {
        let figures = [
            Figure::new("slow", "s", 9.0, 3.0).goal(1.0),
            Figure::new("quick", "MB/s", 2000.0, 300.0).higher().goal(6.0),
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
