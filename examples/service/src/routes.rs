//! The routes, for stacks that have no router of their own.

use percent_encoding::percent_decode_str;

/// A route of the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "each stands in `TABLE` with its method and its template")]
pub enum Route {
    CreateItem,
    Empty,
    Fail,
    Health,
    Healthz,
    Hello,
    IssueToken,
    ListTokens,
    Me,
    Panic,
    ReadItem,
    Recent,
    RecentOfToken,
    ResumeToken,
    RevokeToken,
    Slow,
    Stream,
    StreamFail,
    StreamKnown,
    SuspendToken,
    Usage,
}

#[rustfmt::skip]
const TABLE: [(Route, &str, &str); 21] = [
    (Route::CreateItem,    "POST",   "/items"),
    (Route::Empty,         "GET",    "/empty"),
    (Route::Fail,          "GET",    "/fail"),
    (Route::Health,        "GET",    "/admin/health"),
    (Route::Healthz,       "GET",    "/healthz"),
    (Route::Hello,         "GET",    "/hello/{name}"),
    (Route::IssueToken,    "POST",   "/admin/tokens"),
    (Route::ListTokens,    "GET",    "/admin/tokens"),
    (Route::Me,            "GET",    "/me"),
    (Route::Panic,         "GET",    "/panic"),
    (Route::ReadItem,      "GET",    "/items/{id}"),
    (Route::Recent,        "GET",    "/usage/recent"),
    (Route::RecentOfToken, "GET",    "/admin/tokens/{token_id}/recent"),
    (Route::ResumeToken,   "POST",   "/admin/tokens/{token_id}/resume"),
    (Route::RevokeToken,   "DELETE", "/admin/tokens/{token_id}"),
    (Route::Slow,          "GET",    "/slow"),
    (Route::Stream,        "GET",    "/stream"),
    (Route::StreamFail,    "GET",    "/stream-fail"),
    (Route::StreamKnown,   "GET",    "/stream-known"),
    (Route::SuspendToken,  "POST",   "/admin/tokens/{token_id}/suspend"),
    (Route::Usage,         "GET",    "/usage"),
];

impl Route {
    /// The route of a request, and what stands for the `{…}` in its template, decoded. HEAD goes where GET does.
    #[must_use]
    pub fn find(method: &str, path: &str) -> Option<(Self, String)> {
        let method = if method == "HEAD" { "GET" } else { method };
        TABLE.iter().filter(|(_, own, _)| *own == method).find_map(|(route, _, template)| {
            let parameter = parameter(template, path)?;
            Some((*route, percent_decode_str(parameter).decode_utf8_lossy().into_owned()))
        })
    }

    /// Its template, such as `/items/{id}`.
    #[must_use]
    pub fn template(self) -> &'static str {
        let row = TABLE.iter().find(|(route, ..)| *route == self);
        row.map_or("", |(_, _, template)| template)
    }

    /// The scope that it wants.
    #[must_use]
    pub fn scope(self) -> Option<&'static str> {
        self.template().starts_with("/admin/").then_some("admin")
    }
}

/// What stands for the `{…}` of the template in a path that fits it; empty where it has none.
fn parameter<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let Some((start, rest)) = template.split_once('{') else {
        return (path == template).then_some("");
    };
    let (_, end) = rest.split_once('}')?;
    let parameter = path.strip_prefix(start)?.strip_suffix(end)?;
    (!parameter.is_empty() && !parameter.contains('/')).then_some(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes_and_no_others() {
        let find = |method, path| Route::find(method, path);
        assert_eq!(find("GET", "/hello/a%20b"), Some((Route::Hello, "a b".to_owned())));
        assert_eq!(find("HEAD", "/items/7"), Some((Route::ReadItem, "7".to_owned())));
        assert_eq!(find("POST", "/items"), Some((Route::CreateItem, String::new())));
        let suspend = find("POST", "/admin/tokens/4/suspend");
        assert_eq!(suspend, Some((Route::SuspendToken, "4".to_owned())));
        for (method, path) in [
            ("GET", "/hello/"),
            ("GET", "/hello/a/b"),
            ("GET", "//hello//x"),
            ("DELETE", "/hello/x"),
            ("GET", "*"),
            ("get", "/me"),
        ] {
            assert_eq!(find(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn every_route_stands_at_its_place_and_admins_have_theirs_alone() {
        for (route, _, template) in TABLE {
            assert_eq!(route.template(), template);
            assert_eq!(route.scope().is_some(), template.starts_with("/admin"));
        }
    }
}
