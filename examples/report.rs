//! A week of a file as tables: totals, days and hours, routes, owners, and what should not be there. It may be in use
//! meanwhile.
//!
//! ```text
//! cargo run --release --example report -- tokens.db
//! ```

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use token_tracker::{
    Group, GroupKey, Grouping, LateUse, LateUseFilter, Order, Stats, StatsQuery, Summary,
    TokenTracker,
};

const DAYS: i64 = 7;
const TOP: u32 = 8;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("which file? cargo run --release --example report -- FILE");
        return Ok(ExitCode::from(2));
    };
    if !std::path::Path::new(&path).is_file() {
        eprintln!("there is no file {}", path.display());
        return Ok(ExitCode::from(2));
    }
    // A guest: it removes nothing that the service keeps, whatever that is.
    let long = Duration::from_secs(3_650 * 86_400);
    let tracker = TokenTracker::builder()
        .without_usage_recording()
        .raw_retention(long)
        .hourly_retention(long)
        .daily_retention(long)
        .max_file_size(u64::MAX)
        .open(&path)?;
    std::io::stdout().write_all(report(&tracker)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn report(tracker: &TokenTracker) -> Result<String, Box<dyn Error>> {
    let stats = tracker.stats();
    let days = week(stats).groups(Grouping::Day)?;
    let hours = stats.all().last_hours(48).groups(Grouping::Hour)?;
    let mut text = totals(&days.total);
    text += &format!("\nBy day       {}\n", sparkline(&days.groups));
    for day in &days.groups {
        text += &line(&day.key.to_string()[..10], day);
    }
    text += &format!("\nLast 48 h    {}\n", sparkline(&hours.groups));
    for (title, by) in [
        ("Routes", Grouping::Route),
        ("Status classes", Grouping::StatusClass),
        ("User agents", Grouping::UserAgent),
        ("Why requests were denied", Grouping::Reason),
    ] {
        text += &table(title, &week(stats), by)?;
    }
    text += &table(
        "Slowest routes by p95",
        &week(stats).from_records().order(Order::P95),
        Grouping::Route,
    )?;
    text += &table("Owners", &week(stats), Grouping::Owner)?;
    text += "\nTokens that were denied most\n";
    for group in week(stats).order(Order::Denied).groups(Grouping::Token)?.groups {
        if group.summary.as_ref().is_some_and(|summary| summary.denied > 0) {
            text += &line(&name(tracker, &group.key), &group);
        }
    }
    let week = Duration::from_secs(86_400) * DAYS.unsigned_abs() as u32;
    let since = days.total.as_of - week;
    let late = tracker.tokens().late_uses(&LateUseFilter::new().since(since).limit(TOP))?;
    text += "\nDead or outgoing credentials still in use\n";
    for late in &late.late_uses {
        text += &late_line(tracker, late);
    }
    if late.late_uses.is_empty() {
        text += "  none\n";
    }
    Ok(text)
}

fn week(stats: Stats<'_>) -> StatsQuery<'_> {
    stats.all().last_days(DAYS).top(TOP).deadline(Duration::from_secs(60))
}

fn totals(total: &Summary) -> String {
    let addresses = total.distinct_addresses;
    let about = if addresses.is_exact { "" } else { "about " };
    let mut text = format!(
        "{} to {}\n\n\
         requests     {:>12}   success {:.2} %\n\
         success      {:>12}   client errors {}, server errors {}\n\
         denied       {:>12}   unfinished {}\n\
         sent         {:>12}   cost {}\n\
         addresses    {about}{}\n",
        total.from,
        total.until,
        total.total,
        100.0 * total.success_rate,
        total.success,
        total.client_error,
        total.server_error,
        total.denied,
        total.unfinished,
        bytes(total.response_bytes),
        total.cost,
        addresses.count,
    );
    if let Some(latency) = total.latency {
        text += &format!(
            "took         mean {:.1?}, p50 {:.1?}, p90 {:.1?}, p95 {:.1?}, p99 {:.1?}, max {:.1?}\n",
            latency.mean, latency.p50, latency.p90, latency.p95, latency.p99, latency.max
        );
    }
    if total.dropped > 0 {
        text += &format!(
            "LOST         {} records were dropped: all numbers lack them\n",
            total.dropped
        );
    }
    text
}

fn table(title: &str, query: &StatsQuery<'_>, by: Grouping) -> Result<String, Box<dyn Error>> {
    let groups = match query.groups(by) {
        Ok(groups) => groups,
        Err(error) => return Ok(format!("\n{title}\n  not known: {error}\n")),
    };
    let mut text = format!("\n{title}\n");
    for group in groups.groups.iter().filter(|group| group.requests > 0) {
        text += &line(&group.key.to_string(), group);
    }
    if groups.other > 0 {
        text += &format!("  {:<36} {:>10}\n", "(others)", groups.other);
    }
    if groups.groups.iter().all(|group| group.requests == 0) && groups.other == 0 {
        text += "  none\n";
    }
    Ok(text)
}

fn line(key: &str, group: &Group) -> String {
    let mut text = format!("  {:<36} {:>10}", clean(key, 36), group.requests);
    if let Some(summary) = &group.summary {
        let p95 = summary.latency.map_or(Duration::ZERO, |latency| latency.p95);
        let (failed, denied) = (summary.server_error, summary.denied);
        text += &format!("   p95 {p95:>9.1?}   failed {failed:>6}   denied {denied:>6}");
    }
    text + "\n"
}

/// A token by its owner and name, as long as the catalogue has it.
fn name(tracker: &TokenTracker, key: &GroupKey) -> String {
    match key {
        GroupKey::Token(id) => match tracker.tokens().get(*id) {
            Ok(token) => format!("{} / {}", token.owner, token.name),
            Err(_) => id.to_string(),
        },
        other => other.to_string(),
    }
}

fn late_line(tracker: &TokenTracker, late: &LateUse) -> String {
    let name = name(tracker, &GroupKey::Token(late.token_id));
    let why = late.reason.map_or("outgoing", |reason| reason.as_str());
    let agent = late.last_user_agent.as_deref().unwrap_or("");
    format!("  {:<36} {:>10}   {why:<20} {}\n", clean(&name, 36), late.count, clean(agent, 40))
}

/// One character a group, as high as it has requests.
fn sparkline(groups: &[Group]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = groups.iter().map(|group| group.requests).max().unwrap_or(0).max(1);
    let bar = |group: &Group| BARS[(group.requests * 8).div_ceil(most) as usize];
    groups.iter().map(bar).collect()
}

fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (count as f64, 0);
    while size >= 1_000.0 && unit + 1 < units.len() {
        (size, unit) = (size / 1_000.0, unit + 1);
    }
    if unit == 0 { format!("{count} B") } else { format!("{size:.1} {}", units[unit]) }
}

/// What clients sent, without what would move the cursor or turn the line around, and no longer than there is room.
fn clean(text: &str, most: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown: String = text
        .chars()
        .map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c })
        .take(most)
        .collect();
    if text.chars().count() > most {
        shown.chars().take(most - 1).chain(['…']).collect()
    } else {
        shown
    }
}
