//! Texts on the screen, where a letter may take two places or none.

use ratatui::text::Span;

/// How many places it takes.
pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// As much of it as has room; what is left out is shown to be.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = width(c.encode_utf8(&mut [0; 4]));
        if used + wide + 1 > room {
            break;
        }
        cut.push(c);
        used += wide;
    }
    if room > 0 {
        cut.push('\u{2026}');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_shown_to_be() {
        for (text, room, shown) in [
            ("report:42", 9, "report:42"),
            ("report:42", 8, "report:\u{2026}"),
            ("report:42", 1, "\u{2026}"),
            ("report:42", 0, ""),
            ("\u{5831}\u{544a}\u{66f8}", 6, "\u{5831}\u{544a}\u{66f8}"),
            ("\u{5831}\u{544a}\u{66f8}", 4, "\u{5831}\u{2026}"),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, room), shown, "{text} in {room}");
            assert!(width(shown) <= room);
        }
    }
}
