//! Patterns over keys: `*` any text, `?` one character, `\` the next one as it is.

/// A pattern over keys: `*` stands for any text, `?` for one character, and `\` takes the next one as it is.
///
/// ```
/// let reports = soloist::Glob::new("report:*");
/// assert!(reports.matches("report:42"));
/// assert!(!reports.matches("article:12"));
/// ```
#[derive(Clone, Debug)]
pub struct Glob(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
}

impl Glob {
    /// Reads a pattern; every text is one.
    pub fn new(pattern: &str) -> Self {
        let mut chars = pattern.chars();
        let mut parts = Vec::new();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if parts.last() == Some(&Part::Any) => continue,
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                c => Part::Char(c),
            });
        }
        Glob(parts)
    }

    /// The text that every match begins with.
    pub(crate) fn literal_prefix(&self) -> String {
        self.0.iter().map_while(|part| if let Part::Char(c) = part { Some(*c) } else { None }).collect()
    }

    /// Whether the whole text matches, in time linear in each `*`: no pattern runs away.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where the last `*` stands, and how far it reaches so far.
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(part) {
                Some(Part::Any) => {
                    star = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(Part::One) => (part, at) = (part + 1, at + 1),
                Some(Part::Char(c)) if *c == text[at] => (part, at) = (part + 1, at + 1),
                _ => match star {
                    Some((star_part, reach)) => {
                        star = Some((star_part, reach + 1));
                        (part, at) = (star_part + 1, reach + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0[part..].iter().all(|part| *part == Part::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_a_shell_would() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("report:*", "report:42", true),
            ("report:*", "reports:42", false),
            ("*:42", "a:42:42", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXc", false),
            ("?", "ü", true),
            ("?", "", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a{b}[c]", "a{b}[c]", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
        }
        assert_eq!(Glob::new("re\\*p?x*").literal_prefix(), "re*p");
    }

    #[test]
    fn no_pattern_runs_away() {
        let pattern = "*a".repeat(200);
        assert!(!Glob::new(&pattern).matches(&"a".repeat(150)));
    }
}
