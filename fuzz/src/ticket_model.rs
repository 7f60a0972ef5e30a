//! What becomes of one request by the documentation: what is noted of it, and when and how it is settled.

use std::net::IpAddr;

use token_tracker::{DenialReason, Outcome};

use crate::ledger::Row;
use crate::usage_plan::{Act, Bytes, Method, Request, Said, Text};

/// The longest route and user agent, in bytes.
const LONGEST: usize = 256;

/// A request that is not settled, or was never to be recorded.
#[derive(Debug)]
pub struct Ticket {
    pub token: usize,
    denied: Option<DenialReason>,
    is_open: bool,
    /// Monotonic, in microseconds.
    started: i64,
    /// Status and declared length of what was sent.
    head: Option<(u16, Option<u64>)>,
    method: Option<String>,
    route: Option<String>,
    user_agent: Option<String>,
    address: Option<IpAddr>,
    bytes: u64,
    cost: u32,
}

/// The two clocks, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: i64,
    pub monotonic: i64,
}

impl Ticket {
    pub fn of(request: &Request<'_>, token: usize, denied: Option<DenialReason>, now: Now) -> Self {
        Self {
            token,
            denied,
            is_open: !request.is_filtered,
            started: now.monotonic,
            head: None,
            method: request.method.as_ref().map(known),
            route: request.route.as_ref().map(cut),
            user_agent: request.user_agent.as_ref().map(readable),
            address: request.address,
            bytes: 0,
            cost: request.cost.unwrap_or(1),
        }
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// What an adapter tells an open request. Gives the row that it is settled with, if it is.
    pub fn act(&mut self, act: &Act<'_>, now: Now) -> Option<Row> {
        match act {
            Act::Begin { status, length } => {
                let status = (*status).clamp(100, 999);
                // RFC 9110 §15.2: a response of these comes before the final one, but for 101.
                if (100..=199).contains(&status) && status != 101 {
                    return None;
                }
                let length = length.map(|length| length.value());
                self.head = Some((status, length));
                let has_body = match self.method.as_deref() {
                    Some("HEAD") => false,
                    Some("CONNECT") if (200..=299).contains(&status) => false,
                    _ => ![101, 204, 304].contains(&status) && length != Some(0),
                };
                // A CONNECT that is answered by 101 has switched all the same.
                if has_body { None } else { self.settle(outcome_of(status), now) }
            }
            Act::Fail => self.settle(Outcome::ServerError, now),
            Act::Finish => self.finish(now),
            Act::Sent(bytes) => {
                self.bytes = self.bytes.saturating_add(bytes.value());
                let declared = self.head.and_then(|(_, length)| length)?;
                if self.bytes >= declared { self.finish(now) } else { None }
            }
            Act::SetRoute(route) => {
                self.route = Some(cut(route));
                None
            }
            Act::Wait(_) => None,
        }
    }

    fn finish(&mut self, now: Now) -> Option<Row> {
        let outcome = match self.head {
            None => Outcome::Unfinished,
            Some((_, Some(length))) if self.bytes < length => Outcome::ServerError,
            Some((status, _)) => outcome_of(status),
        };
        self.settle(outcome, now)
    }

    /// Dropped as it is.
    pub fn drop(&mut self, now: Now) -> Option<Row> {
        self.settle(Outcome::Unfinished, now)
    }

    /// Said on the way to a record.
    pub fn hear(&mut self, said: &Said<'_>) {
        if let Some((method, route)) = &said.route {
            self.method = Some(known(method));
            self.route = Some(cut(route));
        }
        if let Some(bytes) = said.response_bytes {
            self.bytes = bytes.value();
        }
        if let Some(agent) = &said.user_agent {
            self.user_agent = Some(readable(agent));
        }
        self.address = said.address.or(self.address);
        self.cost = said.cost.unwrap_or(self.cost);
    }

    /// Recorded with what was said.
    pub fn record(&mut self, said: &Said<'_>, now: Now) -> Option<Row> {
        self.hear(said);
        let status = said.status.map(|status| status.clamp(100, 999));
        let outcome = status.map_or(Outcome::Unfinished, outcome_of);
        let status = status.unwrap_or(self.denied.map_or(499, DenialReason::status));
        let mut row = self.row(outcome, status, now)?;
        if let Some(elapsed) = said.elapsed {
            let micros = elapsed.duration().as_micros();
            row.duration = u64::try_from(micros).unwrap_or(u64::MAX).min(i64::MAX as u64);
        }
        Some(row)
    }

    fn settle(&mut self, outcome: Outcome, now: Now) -> Option<Row> {
        let unsent = match self.denied {
            Some(reason) => reason.status(),
            None if outcome == Outcome::ServerError => 500,
            None => 499,
        };
        self.row(outcome, self.head.map_or(unsent, |(status, _)| status), now)
    }

    fn row(&mut self, outcome: Outcome, status: u16, now: Now) -> Option<Row> {
        if !std::mem::take(&mut self.is_open) {
            return None;
        }
        Some(Row {
            at: now.wall,
            token: self.token,
            method: self.method.clone().unwrap_or_default(),
            route: self.route.clone().unwrap_or_else(|| "<unmatched>".to_owned()),
            status,
            outcome: self.denied.map_or(outcome, Outcome::Denied),
            duration: (now.monotonic - self.started).unsigned_abs(),
            bytes: self.bytes.min(i64::MAX as u64),
            address: self.address.map(unmapped),
            user_agent: self.user_agent.clone(),
            cost: self.cost.into(),
            weight: 1,
        })
    }
}

fn outcome_of(status: u16) -> Outcome {
    match status {
        100..=399 => Outcome::Success,
        400..=499 => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

fn known(method: &Method<'_>) -> String {
    match method.text() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
        | "PATCH" | "QUERY") => known.to_owned(),
        _ => "<other>".to_owned(),
    }
}

fn cut(route: &Text<'_>) -> String {
    start_of(&route.text())
}

fn readable(agent: &Bytes<'_>) -> String {
    start_of(&String::from_utf8_lossy(&agent.bytes()))
}

/// As many whole characters as there is room for.
fn start_of(text: &str) -> String {
    let mut start = String::new();
    for character in text.chars() {
        if start.len() + character.len_utf8() > LONGEST {
            break;
        }
        start.push(character);
    }
    start
}

/// An IPv4 address in IPv6 clothes (RFC 4291 §2.5.5.2) is an IPv4 address.
fn unmapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(long) = address else { return address };
    match long.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_with_a_whole_character() {
        assert_eq!(start_of(&"é".repeat(200)).len(), 256);
        assert_eq!(start_of(&format!("x{}", "é".repeat(200))).len(), 255);
        assert_eq!(start_of(&format!("{}😀", "x".repeat(253))), "x".repeat(253));
    }

    #[test]
    fn only_mapped_addresses_are_unmapped() {
        let unmapped = |text: &str| unmapped(text.parse().expect("an address")).to_string();
        assert_eq!(unmapped("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(unmapped("::192.0.2.7"), "::c000:207");
    }
}
