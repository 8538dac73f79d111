//! The kernel command line as the kernel takes it apart.

/// Splits a command line as the kernel does (lib/cmdline.c, next_arg, Linux 6.1): at white space
/// outside double quotes, which are removed; after `--` come the arguments of init.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => words.push(String::new()),
            other => words.last_mut().into_iter().for_each(|word| word.push(other)),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).take_while(|word| word != "--").collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn quotes_hold_words_together_and_two_dashes_end_them() {
        let line = "quiet kdump.target=\"ext4:LABEL=my disk\"\t a=1 -- kdump.action=halt\n";
        assert_eq!(words(line), ["quiet", "kdump.target=ext4:LABEL=my disk", "a=1"]);
    }
}
