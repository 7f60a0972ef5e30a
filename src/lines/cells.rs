//! Cells of CSV. What clients have chosen is kept from being executed, in a way that can be undone.

use std::fmt;

use csv::{Terminator, WriterBuilder};

use super::unwritable;
use crate::error::Error;

/// The cells of a line.
#[derive(Debug, Default)]
pub(crate) struct Cells(Vec<String>);

impl Cells {
    /// What this library has made itself: numbers, times, addresses and words.
    pub(crate) fn plain(&mut self, value: Option<impl fmt::Display>) {
        self.0.push(value.map(|value| value.to_string()).unwrap_or_default());
    }

    /// What somebody else has chosen.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        self.0.push(match text {
            Some(text) if needs_mark(text) => format!("{MARK}{text}"),
            Some(text) => text.to_owned(),
            None => String::new(),
        });
    }
}

impl IntoIterator for Cells {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Lines by RFC 4180.
pub(super) fn encode<L>(lines: impl IntoIterator<Item = L>) -> Result<Vec<u8>, Error>
where
    L: IntoIterator<Item: AsRef<[u8]>>,
{
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(&mut bytes);
    for line in lines {
        writer.write_record(line).map_err(unwritable)?;
    }
    writer.flush().map_err(unwritable)?;
    drop(writer);
    Ok(bytes)
}

/// What is put before a text. Spreadsheets take it for the sign of a text, too.
const MARK: char = '\'';

/// Whether a text could be executed, or could be taken for a marked one or for none.
fn needs_mark(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return true };
    let seen = text.chars().find(|c| !is_passed_over(*c));
    first == MARK
        || matches!(first, '\t' | '\r' | '\n' | '\u{feff}')
        || seen.is_some_and(begins_formula)
}

/// What is not seen, and may be passed over before a formula: spaces, control characters, and marks of direction, width
/// and order.
fn is_passed_over(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `=`, `+`, `-` and `@`, and what becomes one of them by compatibility (full-width, small, raised and lowered forms, and
/// the minus sign).
fn begins_formula(c: char) -> bool {
    matches!(c, '=' | '＝' | '﹦' | '⁼' | '₌')
        || matches!(c, '+' | '＋' | '﹢' | '⁺' | '₊' | '﬩')
        || matches!(c, '-' | '－' | '﹣' | '⁻' | '₋' | '−')
        || matches!(c, '@' | '＠' | '﹫')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(bytes: &[u8]) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let lines = reader.records().map(|line| line.unwrap());
        lines.map(|line| line.iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn what_a_spreadsheet_would_execute_is_marked_and_the_rest_is_not() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(1)",
            "\t=1",
            "\tx",
            "\rx",
            "\nx",
            "\r\n=1",
            " =1",
            "\u{a0}=1",
            "\u{3000}=1",
            "\u{feff}=1",
            "\u{200f}=1",
            "\u{202e}=1",
            "\0=1",
            "\u{7f}+1",
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "﹦1",
            "−1",
            "'",
            "'=1",
            "",
            "  \t\u{202e} ＝cmd|' /C calc'!A0",
        ] {
            assert!(needs_mark(text), "{text:?}");
        }
        for text in [
            "/items/{id}",
            "curl/8.0",
            "1=1",
            "a+b",
            "a-b",
            "a@b",
            "\"=1\"",
            " a",
            "\u{202e}abc",
            "\0",
            " ",
            "é",
            "😀=1",
            "a'b",
            "a\t=1",
            "0",
            "<other>",
        ] {
            assert!(!needs_mark(text), "{text:?}");
        }
    }

    #[test]
    fn every_text_comes_back_by_taking_one_mark_away() {
        let long = "=\u{202e}\"\n".repeat(2_500);
        for text in [
            "",
            "'",
            "''",
            "=1",
            "'=1",
            "a,b",
            "\"",
            "\"\"",
            "a\"b",
            "a\nb",
            "a\r\nb",
            "\r",
            "\n",
            "\0",
            "\u{1b}[31m",
            "\u{202e}evil",
            "\u{feff}",
            "😀",
            " a ",
            ",",
            "\u{2028}",
            &long,
        ] {
            let mut cells = Cells::default();
            cells.text(Some(text));
            cells.text(None);
            cells.plain(Some(-1));
            let bytes = encode([cells]).unwrap();
            let lines = read_back(&bytes);
            let [cell, none, number] = &lines[0][..] else { panic!("{lines:?}") };
            assert_eq!((lines.len(), none.as_str(), number.as_str()), (1, "", "-1"));
            assert_ne!(cell, "", "{text:?} is taken for none");
            assert_eq!(cell.strip_prefix(MARK).unwrap_or(cell), text);
        }
    }
}
