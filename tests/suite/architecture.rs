//! Imports run downwards, and each kind of knowledge has one home. What the compiler cannot hold, this does.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up: a module imports from those before it in the list.
#[rustfmt::skip]
const ORDER: &[&str] = &[
    "error", "objects", "progress", "bounds", "scope", "clock", "timestamp", "clock_watch", "id_hash", "varint", "remote", "sync", "texts", "secret", "part_file", "network", "grpc", "address", "quota", "restrictions", "token", "audit", "reason",
    "late_use", "credential", "record", "sketch", "clients", "tally", "thinning", "query", "answer", "lines", "introspection", "path_filter", "durability", "health", "events", "telemetry",
    "opaque", "jwt", "live", "meter", "identity", "header_fields", "request", "proxies", "presence", "store", "cache", "policy", "throttle", "limiter", "queue",
    "upkeep", "vitals", "checkpoints", "writer", "follower", "receipt", "ticket", "access", "denial", "refusal", "http_types", "usage", "engine", "follow",
    "tokens", "stats", "builder", "tracker",
];

/// The handle and its builder make each other: one room with two doors.
const HANDLE: &[&str] = &["builder", "tracker"];

fn sources() -> Vec<(String, PathBuf, String)> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, into) } else { into.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&root).unwrap().iter().next().unwrap();
            let module = Path::new(first).file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            (module, path, code)
        })
        .filter(|(_, path, _)| !path.ends_with("tests.rs") && !path.ends_with("model.rs"))
        .collect()
}

fn rank(module: &str) -> usize {
    let found = ORDER.iter().position(|name| *name == module);
    found.unwrap_or_else(|| panic!("`{module}` has no place in the order"))
}

#[test]
fn modules_import_from_below() {
    for (module, path, code) in sources().iter().filter(|(module, ..)| module != "lib") {
        for import in code.lines().filter_map(|line| line.trim().strip_prefix("use crate::")) {
            let imported = import.split([':', ';', '{']).next().unwrap();
            let room = HANDLE.contains(&module.as_str()) && HANDLE.contains(&imported);
            assert!(
                room || imported == module || rank(imported) < rank(module),
                "{}: {module} imports {imported}",
                path.display()
            );
        }
    }
}

#[test]
fn each_kind_of_knowledge_has_one_home() {
    for (module, path, code) in sources() {
        let code: String =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let only = |words: &[&str], home: &str| {
            let found = words.iter().find(|word| code.contains(**word));
            assert!(found.is_none() || module == home, "{}: {found:?}", path.display());
        };
        only(&["rusqlite", "r2d2"], "store");
        only(&["jsonwebtoken"], "jwt");
        only(&["csv::"], "lines");
        only(&["Instant::now", "SystemTime::now", "now_utc"], "clock");
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for (_, path, code) in sources() {
        let lines = code.lines().count();
        assert!(lines <= 400, "{}: {lines} lines before its tests", path.display());
    }
}

#[test]
fn handle_is_cheap_to_share() {
    fn shared<T: Clone + Send + Sync + 'static>() -> usize {
        size_of::<T>()
    }
    assert_eq!(shared::<token_tracker::TokenTracker>(), size_of::<usize>());
}
