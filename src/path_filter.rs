//! Which requests are not worth a record.

/// Paths whose requests are authenticated like any other but leave no usage record.
///
/// A filter matches whole segments: the prefix `/static` covers `/static` and `/static/app.css`, not
/// `/statistics`. What follows a `?` is not looked at. Cost: a comparison a rule.
///
/// ```
/// use token_tracker::PathFilter;
///
/// let filter = PathFilter::default().exact("/version").prefix("/docs");
/// assert!(filter.matches("/healthz"));
/// assert!(filter.matches("/docs/start?lang=en"));
/// assert!(!filter.matches("/docsearch"));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathFilter {
    exact: Vec<String>,
    prefixes: Vec<String>,
}

impl PathFilter {
    /// The exact paths of [`PathFilter::default`]: health, readiness, metrics and what browsers ask for.
    pub const DEFAULT_EXACT: [&str; 9] = [
        "/favicon.ico",
        "/health",
        "/healthz",
        "/live",
        "/livez",
        "/metrics",
        "/ready",
        "/readyz",
        "/robots.txt",
    ];

    /// The prefixes of [`PathFilter::default`]: static files.
    pub const DEFAULT_PREFIXES: [&str; 2] = ["/assets", "/static"];

    /// A filter that matches nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { exact: Vec::new(), prefixes: Vec::new() }
    }

    /// Also matches exactly this path.
    #[must_use]
    pub fn exact(mut self, path: impl Into<String>) -> Self {
        self.exact.push(path.into());
        self
    }

    /// Also matches this path and everything below it.
    #[must_use]
    pub fn prefix(mut self, path: impl Into<String>) -> Self {
        let mut path = path.into();
        path.truncate(path.trim_end_matches('/').len());
        self.prefixes.push(path);
        self
    }

    /// Whether requests for this path are to leave no record. A path with `.` or `..` segments always
    /// leaves one.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        if has_dot_segments(path) {
            return false;
        }
        self.exact.iter().any(|exact| exact == path)
            || self.prefixes.iter().any(|prefix| {
                path.strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

/// Whether a path has segments that a server may resolve (RFC 3986 §5.2.4), plain or escaped: nobody shall
/// reach another path under the name of one that is not recorded.
fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| {
        let segment = segment.replace("%2e", ".").replace("%2E", ".");
        segment == "." || segment == ".."
    })
}

impl Default for PathFilter {
    fn default() -> Self {
        let none = Self::none();
        let exact = Self::DEFAULT_EXACT.into_iter().fold(none, Self::exact);
        Self::DEFAULT_PREFIXES.into_iter().fold(exact, Self::prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_match_and_parts_of_them_do_not() {
        let filter = PathFilter::default();
        for path in ["/healthz", "/static", "/static/", "/static/a/b.css", "/metrics?name=x"] {
            assert!(filter.matches(path), "{path}");
        }
        for path in [
            "/",
            "",
            "/healthz2",
            "/healthz/deep",
            "/statics",
            "/v1/static/a",
            "static",
            "/static/../v1",
            "/static/%2e%2E/v1",
            "/static/.%2e",
        ] {
            assert!(!filter.matches(path), "{path}");
        }
    }

    #[test]
    fn a_prefix_with_a_trailing_slash_means_the_same() {
        assert!(PathFilter::none().prefix("/files/").matches("/files"));
        assert!(!PathFilter::none().matches("/healthz"));
    }
}
