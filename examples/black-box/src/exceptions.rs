//! Where stacks differ: one table of all of them.

/// What a stack cannot do as the others do. What is claimed is expected: an exception that is no longer needed fails
/// the test that knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exception {
    /// A client that leaves in the middle of a stream may go unnoticed: it is recorded as unfinished where a write
    /// failed, else as a success when the stream ends.
    DisconnectsMayGoUnseen,
    /// It never cancels a handler: what a client left before the head is recorded complete when the handler ends.
    HandlersRunOn,
    /// It turns HEAD into GET before the middleware sees it, so that GET is recorded.
    HeadBecomesGet,
    /// It waits for the end of a head for as long as the client likes.
    HeadsMayBeSlow,
    /// It puts no trailers behind a stream, whatever is asked for.
    NoTrailers,
    /// It does not say that it is `PORT` that is wrong where it is.
    PortGoesUnnamed,
    /// A connection on which nothing has come that tells HTTP/1.1 from HTTP/2 stays open for as long as the client
    /// likes.
    SilenceMayLast,
}

impl Exception {
    /// What the README of a stack says of it, in whatever case.
    #[cfg(test)]
    const fn phrase(self) -> &'static str {
        match self {
            Self::DisconnectsMayGoUnseen => "in the middle of a stream may go unnoticed",
            Self::HandlersRunOn => "recorded complete when the handler ends",
            Self::HeadBecomesGet => "HEAD is recorded as GET",
            Self::HeadsMayBeSlow => "no limit to how long a head may take",
            Self::NoTrailers => "sends no trailers",
            Self::PortGoesUnnamed => "does not name `PORT`",
            Self::SilenceMayLast => "no limit to how long a connection may say nothing",
        }
    }

    #[cfg(test)]
    const ALL: [Self; 7] = [
        Self::DisconnectsMayGoUnseen,
        Self::HandlersRunOn,
        Self::HeadBecomesGet,
        Self::HeadsMayBeSlow,
        Self::NoTrailers,
        Self::PortGoesUnnamed,
        Self::SilenceMayLast,
    ];
}

/// The exceptions of one stack.
#[derive(Debug)]
pub(crate) struct Row {
    /// The directory of its example.
    stack: &'static str,
    /// For good; its README names each.
    documented: &'static [Exception],
    /// What its example could do and does not do yet; in no README.
    not_yet: &'static [Exception],
}

/// Every stack that is judged.
const TABLE: [Row; 6] = [
    Row { stack: "actix-web", documented: &[], not_yet: &[] },
    Row {
        stack: "axum",
        documented: &[],
        not_yet: &[
            Exception::HeadsMayBeSlow,
            Exception::NoTrailers,
            Exception::PortGoesUnnamed,
            Exception::SilenceMayLast,
        ],
    },
    Row { stack: "hyper", documented: &[], not_yet: &[] },
    Row { stack: "poem", documented: &[Exception::HandlersRunOn], not_yet: &[] },
    Row {
        stack: "rocket",
        documented: &[Exception::HandlersRunOn, Exception::HeadBecomesGet],
        not_yet: &[],
    },
    Row {
        stack: "tiny-http",
        documented: &[Exception::DisconnectsMayGoUnseen, Exception::HandlersRunOn],
        not_yet: &[],
    },
];

impl Row {
    /// The row of this stack; panics where there is none, because nothing of it is known then.
    pub(crate) fn of(stack: &str) -> &'static Self {
        let row = TABLE.iter().find(|row| row.stack == stack);
        row.unwrap_or_else(|| panic!("{stack:?} is in no row of the table of exceptions"))
    }

    pub(crate) fn has(&self, exception: Exception) -> bool {
        self.documented.contains(&exception) || self.not_yet.contains(&exception)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Exception, Row, TABLE};

    #[test]
    fn each_stack_has_one_row_and_each_exception_one_place_in_it() {
        assert!(TABLE.is_sorted_by(|one, other| one.stack < other.stack), "{TABLE:?}");
        for row in &TABLE {
            let claims = |claimed: &Exception| {
                row.documented.iter().chain(row.not_yet).filter(|one| *one == claimed).count()
            };
            assert!(Exception::ALL.iter().all(|exception| claims(exception) < 2), "{row:?}");
        }
    }

    #[test]
    #[should_panic(expected = "\"iron\" is in no row")]
    fn stack_without_a_row_is_not_judged() {
        let _ = Row::of("iron");
    }

    /// Whoever reads the README of an example, and nothing else, knows what his stack cannot do.
    #[test]
    fn readme_of_an_example_names_its_exceptions_and_no_others() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut read = Vec::new();
        for row in &TABLE {
            let path = examples.join(row.stack).join("README.md");
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let words: Vec<_> = text.split_whitespace().collect();
            let text = words.join(" ").to_lowercase();
            for exception in Exception::ALL {
                let is_named = text.contains(&exception.phrase().to_lowercase());
                let is_claimed = row.documented.contains(&exception);
                let claim = if is_claimed { "must say" } else { "must not say" };
                let phrase = exception.phrase();
                assert_eq!(is_named, is_claimed, "README of {} {claim}: {phrase}", row.stack);
            }
            read.push(row.stack);
        }
        assert!(read.contains(&"axum"), "{read:?}");
    }
}
