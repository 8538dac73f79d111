//! The part of a Markdown file that is generated: what stands between two comments.

/// The file has no such part.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the comments {begin:?} and {end:?} do not stand on lines of their own, in this order")]
pub struct Missing {
    begin: String,
    end: String,
}

/// The generated part called `name` of `text`, without its comments.
pub fn find<'a>(text: &'a str, name: &str) -> Result<&'a str, Missing> {
    let (from, to) = bounds(text, name)?;
    Ok(&text[from..to])
}

/// `text` with `content` as its generated part called `name`.
pub fn replace(text: &str, name: &str, content: &str) -> Result<String, Missing> {
    let (from, to) = bounds(text, name)?;
    Ok([&text[..from], content, &text[to..]].concat())
}

/// Where the part lies: behind the line of the first comment, up to that of the second.
fn bounds(text: &str, name: &str) -> Result<(usize, usize), Missing> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let from = line(text, &begin).map(|at| at + begin.len());
    let found = from.and_then(|from| Some((from, from + line(&text[from..], &end)?)));
    found.ok_or_else(|| Missing { begin: begin.trim().into(), end: end.trim().into() })
}

/// Where the line `wanted` begins.
fn line(text: &str, wanted: &str) -> Option<usize> {
    let starts_a_line = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
    text.match_indices(wanted).map(|(at, _)| at).find(|&at| starts_a_line(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n";

    #[test]
    fn only_the_part_between_the_comments_changes() {
        assert_eq!(find(FILE, "x"), Ok("old\n"));
        let new = replace(FILE, "x", "new\nlines\n").expect("it has the part");
        assert_eq!(new, "before\n<!-- begin x -->\nnew\nlines\n<!-- end x -->\nafter\n");
        assert_eq!(replace(&new, "x", "old\n").as_deref(), Ok(FILE));
    }

    #[test]
    fn a_part_without_its_comments_is_refused() {
        for file in [
            "",
            "<!-- begin x -->\n",
            "<!-- end x -->\n<!-- begin x -->\n",
            "see <!-- begin x -->\n<!-- end x -->\n",
        ] {
            assert!(find(file, "x").is_err(), "{file:?}");
        }
    }
}
