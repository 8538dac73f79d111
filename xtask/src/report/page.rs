//! A page of a report, and its two forms: Markdown, and HTML that needs nothing beside it.

/// A page.
pub struct Page {
    /// Its title.
    pub title: &'static str,
    /// What is on it.
    pub blocks: Vec<Block>,
}

/// A part of a page.
pub enum Block {
    /// The heading of a section.
    Heading(&'static str),
    /// A paragraph.
    Text(String),
    /// Rows of equal length; the first is the head.
    Table(Vec<Vec<Cell>>),
    /// A picture.
    Picture {
        /// Its file beside the page.
        file: &'static str,
        /// What it shows, for who cannot see it.
        alt: &'static str,
        /// The picture.
        svg: String,
    },
}

/// A cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What stands there.
    pub text: String,
    /// How it is meant.
    pub mood: Mood,
    /// Where the text leads to, in HTML.
    pub link: Option<String>,
}

/// What a cell tells at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Nothing.
    #[default]
    Plain,
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// There is nothing to see.
    Faint,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Cell {
    /// With a mood.
    pub fn in_mood(text: impl Into<String>, mood: Mood) -> Self {
        Self { mood, ..text.into().into() }
    }
}

impl Page {
    /// As Markdown; pictures are files beside it.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n", self.title);
        for block in &self.blocks {
            text.push('\n');
            text.push_str(&match block {
                Block::Heading(heading) => format!("## {heading}\n"),
                Block::Text(words) => format!("{words}\n"),
                Block::Table(rows) => markdown_table(rows),
                Block::Picture { file, alt, .. } => format!("![{alt}]({file})\n"),
            });
        }
        text
    }

    /// As HTML with everything in it.
    pub fn html(&self) -> String {
        let body: String = self.blocks.iter().map(html_block).collect();
        let title = escaped(self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <h1>{title}</h1>\n{body}</body>\n</html>\n"
        )
    }
}

fn markdown_table(rows: &[Vec<Cell>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(markdown_cell).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if number == 0 {
            text.push_str(&format!("|{}\n", "---|".repeat(row.len())));
        }
    }
    text
}

fn markdown_cell(cell: &Cell) -> String {
    let text = cell.text.replace('|', "\\|").replace('\n', " ");
    if cell.mood == Mood::Bad { format!("**{text}**") } else { text }
}

fn html_block(block: &Block) -> String {
    match block {
        Block::Heading(heading) => format!("<h2>{}</h2>\n", escaped(heading)),
        Block::Text(words) => format!("<p>{}</p>\n", with_code(words)),
        Block::Table(rows) => html_table(rows),
        Block::Picture { svg, .. } => format!("<figure>\n{svg}</figure>\n"),
    }
}

fn html_table(rows: &[Vec<Cell>]) -> String {
    let mut text = String::from("<div class=\"wide\"><table>\n");
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| html_cell(cell, tag)).collect();
        text.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    text + "</table></div>\n"
}

fn html_cell(cell: &Cell, tag: &str) -> String {
    let class = match cell.mood {
        Mood::Plain => "",
        Mood::Good => " class=\"good\"",
        Mood::Bad => " class=\"bad\"",
        Mood::Faint => " class=\"faint\"",
    };
    let text = with_code(&cell.text);
    let text = match &cell.link {
        Some(link) => format!("<a href=\"{}\">{text}</a>", escaped(link)),
        None => text,
    };
    format!("<{tag}{class}>{text}</{tag}>")
}

/// With what stands between backquotes as code, as in Markdown.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(number, part)| match number % 2 {
        0 => escaped(part),
        _odd => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

/// For HTML and SVG, also inside of attributes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let bad = Cell::in_mood("a < b | c", Mood::Bad);
        let link = Some("../x?a=\"b\"".to_owned());
        Page {
            title: "A & B",
            blocks: vec![
                Block::Heading("Part"),
                Block::Text("See `x < y`.".into()),
                Block::Table(vec![
                    vec!["h".into(), "i".into()],
                    vec![bad, Cell { link, ..Cell::from("log") }],
                ]),
                Block::Picture { file: "p.svg", alt: "a picture", svg: "<svg></svg>\n".into() },
            ],
        }
    }

    #[test]
    fn markdown_escapes_what_ends_a_cell() {
        assert_eq!(
            page().markdown(),
            "# A & B\n\n## Part\n\nSee `x < y`.\n\n| h | i |\n|---|---|\n\
             | **a < b \\| c** | log |\n\n![a picture](p.svg)\n"
        );
    }

    #[test]
    fn html_escapes_and_brings_everything_along() {
        let html = page().html();
        assert!(html.contains("<h1>A &amp; B</h1>"), "{html}");
        assert!(html.contains("<code>x &lt; y</code>"), "{html}");
        assert!(html.contains("<td class=\"bad\">a &lt; b | c</td>"), "{html}");
        assert!(html.contains("href=\"../x?a=&quot;b&quot;\">log</a>"), "{html}");
        assert!(html.contains("<svg></svg>") && !html.contains("p.svg"), "{html}");
        assert!(!html.contains("<script") && !html.contains("http"), "{html}");
    }
}
