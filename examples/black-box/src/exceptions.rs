//! Where stacks differ: one table of all of them.

/// What a stack cannot do as the others do. What is claimed is expected: an exception that is no longer needed fails
/// the test that knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exception {
    /// It reads broken bodies in its own way, some of them before there is a request, and goes on with the connection:
    /// judged by whether all others are served and the accounts balance.
    BodiesAreReadLoosely,
    /// A body that is cut short, or whose chunks are broken, may look whole to a handler that is content with its start.
    CutBodiesMayLookWhole,
    /// A client that leaves in the middle of a stream may go unnoticed: it is recorded as unfinished where a write
    /// failed, else as a success when the stream ends.
    DisconnectsMayGoUnseen,
    /// What is garbage right behind a request may cost it its answer, and its handler the end.
    GarbageMayHideAnswers,
    /// It never cancels a handler: what a client left before the head is recorded complete when the handler ends.
    HandlersRunOn,
    /// It reads heads of any size.
    HeadsMayBeHuge,
    /// It waits for the end of a head for as long as the client likes.
    HeadsMayBeSlow,
    /// A connection on which nothing has come that tells HTTP/1.1 from HTTP/2 stays open for as long as the client
    /// likes.
    SilenceMayLast,
    /// A request has a worker thread to itself until it has ended, be it that it waits for the disk.
    WaitsOccupyWorkers,
}

impl Exception {
    /// What the README of a stack says of it, in whatever case.
    #[cfg(test)]
    const fn phrase(self) -> &'static str {
        match self {
            Self::BodiesAreReadLoosely => "broken bodies in its own way",
            Self::CutBodiesMayLookWhole => "may look whole to its handler",
            Self::DisconnectsMayGoUnseen => "in the middle of a stream may go unnoticed",
            Self::GarbageMayHideAnswers => "garbage right behind a request may cost it its answer",
            Self::HandlersRunOn => "recorded complete when the handler ends",
            Self::HeadsMayBeHuge => "no limit to how long a head may be",
            Self::HeadsMayBeSlow => "no limit to how long a head may take",
            Self::SilenceMayLast => "no limit to how long a connection may say nothing",
            Self::WaitsOccupyWorkers => "a thread to itself",
        }
    }

    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::BodiesAreReadLoosely,
        Self::CutBodiesMayLookWhole,
        Self::DisconnectsMayGoUnseen,
        Self::GarbageMayHideAnswers,
        Self::HandlersRunOn,
        Self::HeadsMayBeHuge,
        Self::HeadsMayBeSlow,
        Self::SilenceMayLast,
        Self::WaitsOccupyWorkers,
    ];
}

/// The exceptions of one stack.
#[derive(Debug)]
pub(crate) struct Row {
    /// The directory of its example.
    stack: &'static str,
    /// Its README names each.
    documented: &'static [Exception],
}

/// Every stack that is judged.
const TABLE: [Row; 6] = [
    Row { stack: "actix-web", documented: &[Exception::GarbageMayHideAnswers] },
    Row { stack: "axum", documented: &[] },
    Row { stack: "hyper", documented: &[] },
    Row { stack: "poem", documented: &[] },
    Row {
        stack: "rocket",
        documented: &[
            Exception::CutBodiesMayLookWhole,
            Exception::HeadsMayBeSlow,
            Exception::SilenceMayLast,
        ],
    },
    Row {
        stack: "tiny-http",
        documented: &[
            Exception::BodiesAreReadLoosely,
            Exception::DisconnectsMayGoUnseen,
            Exception::HandlersRunOn,
            Exception::HeadsMayBeHuge,
            Exception::HeadsMayBeSlow,
            Exception::SilenceMayLast,
            Exception::WaitsOccupyWorkers,
        ],
    },
];

impl Row {
    /// The row of this stack; panics where there is none, because nothing of it is known then.
    pub(crate) fn of(stack: &str) -> &'static Self {
        let row = TABLE.iter().find(|row| row.stack == stack);
        row.unwrap_or_else(|| panic!("{stack:?} is in no row of the table of exceptions"))
    }

    pub(crate) fn has(&self, exception: Exception) -> bool {
        self.documented.contains(&exception)
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
            let claims =
                |claimed: &Exception| row.documented.iter().filter(|one| *one == claimed).count();
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
