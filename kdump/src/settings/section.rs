//! A table of the settings file, read key by key: what was never asked for is unknown.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Problem;

/// How far a key may be from a known one to be taken for a slip of the pen: 1 is the same word.
const SIMILAR: f64 = 0.75;

/// A table of the file `text`.
pub(super) struct Section<'a> {
    text: &'a str,
    /// Path of the table with a final dot; empty for the file itself.
    prefix: String,
    /// `None` for a table that the file does not have.
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(text: &'a str, table: &'a DeTable<'a>) -> Self {
        Self::new(text, String::new(), Some(table))
    }

    fn new(text: &'a str, prefix: String, table: Option<&'a DeTable<'a>>) -> Self {
        Self { text, prefix, table, known: Vec::new(), problems: Vec::new() }
    }

    /// The table `key` of this one; `read` takes what is in it.
    pub fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>)) {
        let table = match self.value(key).map(|value| (value.span(), value.get_ref())) {
            None => None,
            Some((_, DeValue::Table(table))) => Some(table),
            Some((at, _other)) => return self.wrong_type(key, &at, "a table"),
        };
        self.descend(key, table, read);
    }

    /// The tables `[[key]]`, each with `read`.
    pub fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>)) {
        const EXPECTED: &str = "tables, each under a line of its own with the name in [[ ]]";
        let Some(value) = self.value(key) else { return };
        let DeValue::Array(tables) = value.get_ref() else {
            return self.wrong_type(key, &value.span(), EXPECTED);
        };
        for table in tables {
            match table.get_ref() {
                DeValue::Table(inner) => self.descend(key, Some(inner), &mut read),
                _other => self.wrong_type(key, &table.span(), EXPECTED),
            }
        }
    }

    /// The text, number or truth value of `key`, as text; `take` says what is wrong with it.
    pub fn scalar<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        key: &'static str,
        take: impl FnOnce(&str) -> Result<(), E>,
    ) {
        let Some(value) = self.value(key) else { return };
        match scalar(value.get_ref()) {
            Some(text) => self.taken(key, &value.span(), take(&text)),
            None => self.wrong_type(key, &value.span(), "one value"),
        }
    }

    /// The values of the list `key`, as texts.
    pub fn list<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        key: &'static str,
        mut take: impl FnMut(&str) -> Result<(), E>,
    ) {
        const EXPECTED: &str = "a list of values in [ ]";
        let Some(value) = self.value(key) else { return };
        let DeValue::Array(values) = value.get_ref() else {
            return self.wrong_type(key, &value.span(), EXPECTED);
        };
        let values: &DeArray<'_> = values;
        for value in values {
            match scalar(value.get_ref()) {
                Some(text) => self.taken(key, &value.span(), take(&text)),
                None => self.wrong_type(key, &value.span(), EXPECTED),
            }
        }
    }

    /// What is wrong with the table, unknown keys among it.
    pub fn finish(mut self) -> Vec<Problem> {
        let keys = self.table.into_iter().flat_map(|table| table.keys());
        for key in keys.filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            self.problems.push(Problem::UnknownKey {
                line: line_of(self.text, &key.span()),
                key: format!("{}{name}", self.prefix),
                suggestion: nearest(name, &self.known).map(|near| format!("{}{near}", self.prefix)),
                known: self.known.join(", "),
            });
        }
        self.problems
    }

    fn descend(
        &mut self,
        key: &str,
        table: Option<&'a DeTable<'a>>,
        read: impl FnOnce(&mut Section<'a>),
    ) {
        let mut section = Section::new(self.text, format!("{}{key}.", self.prefix), table);
        read(&mut section);
        self.problems.extend(section.finish());
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table?.get(key)
    }

    fn taken<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        key: &str,
        at: &Range<usize>,
        result: Result<(), E>,
    ) {
        if let Err(error) = result {
            self.problems.push(Problem::Value {
                line: line_of(self.text, at),
                key: format!("{}{key}", self.prefix),
                source: Box::new(error),
            });
        }
    }

    fn wrong_type(&mut self, key: &str, at: &Range<usize>, expected: &'static str) {
        self.problems.push(Problem::Type {
            line: line_of(self.text, at),
            key: format!("{}{key}", self.prefix),
            expected,
        });
    }
}

/// The text of a value that is one.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        // As capture images have it.
        DeValue::Boolean(truth) => Some(if *truth { "yes" } else { "no" }.to_owned()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Number of the line, from 1, that `at` begins in.
pub(super) fn line_of(text: &str, at: &Range<usize>) -> usize {
    text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= SIMILAR).then_some(best.1)
}
