//! What a program said last, for a person to read.

/// Lines that are worth a person's time; the record has more of them.
const SHOWN: usize = 10;

/// The last lines that say something; none if there are none.
///
/// One line stands alone; several begin on a line of their own, so that they may be put below each other. Programs write
/// escape sequences for terminals, and what they write must not steer the reader's: control characters are left out.
pub(super) fn last_lines(lines: &[String]) -> Option<String> {
    let lines = lines.iter().flat_map(|text| text.lines()).map(printable);
    let lines: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
    match &lines[lines.len().saturating_sub(SHOWN)..] {
        [] => None,
        [line] => Some(line.clone()),
        last => Some(last.iter().map(|line| format!("\n{line}")).collect()),
    }
}

/// The text without escape sequences (CSI of ECMA-48: ESC, `[`, parameters, one final byte) and other control characters.
fn printable(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.trim_end().chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            if characters.as_str().starts_with('[') {
                characters.next();
                characters.by_ref().find(|end| ('@'..='~').contains(end));
            }
        } else if character == '\t' {
            text.push(' ');
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::silence(&["", "  "], None)]
    #[case::one_line_stays_where_it_is(&["cannot bind", ""], Some("cannot bind"))]
    #[case::several_are_put_below_each_other(&["a", "", "b"], Some("\na\nb"))]
    #[case::a_message_of_several_lines(&["a\nb\n"], Some("\na\nb"))]
    #[case::colours_are_left_out(&["\x1b[31;1merror:\x1b[0m no\tfile\x07"], Some("error: no file"))]
    fn what_was_said_last(#[case] lines: &[&str], #[case] expected: Option<&str>) {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(last_lines(&lines).as_deref(), expected);
    }

    #[test]
    fn of_many_lines_the_last_are_shown() {
        let lines: Vec<_> = (0..30).map(|number| format!("line {number}")).collect();
        let shown = last_lines(&lines).unwrap();
        assert!(shown.starts_with("\nline 20\n") && shown.ends_with("\nline 29"), "{shown}");
    }
}
