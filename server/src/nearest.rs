//! The nearest known name to one that is not known: typos are answered with what was probably meant.

/// The name among `known` that `asked` most resembles, if one does. Case and the characters `_-.` do not count.
#[must_use]
pub fn nearest<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| {
        text.chars().filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).collect::<String>()
    };
    let asked = plain(asked);
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&asked, &plain(name)), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `; did you mean "x"?` or nothing.
#[must_use]
pub fn did_you_mean<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(asked, known).map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_finds_none() {
        let known = ["data_dir", "listen", "seed"];
        assert_eq!(nearest("datadir", known), Some("data_dir"));
        assert_eq!(nearest("LISTN", known), Some("listen"));
        assert_eq!(nearest("color", known), None);
        assert_eq!(did_you_mean("sede", known), "; did you mean \"seed\"?");
    }
}
