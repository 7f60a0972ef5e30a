//! Requests as a service sees them: few tokens, routes, agents and clients make most of them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use token_tracker::{AuthRequest, TokenTracker, Usage};

use crate::material::tokens;

pub(crate) const TOKENS: u64 = 1_000;
const ROUTES: usize = 200;
const AGENTS: usize = 50;
const CLIENTS: usize = 1_000;

/// The same numbers in each run (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.share().max(1e-12), self.share());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// Ranks by Zipf's law: the n-th is 1/n as frequent as the first. Of 1,000 the first has 13 %.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let at = random.share() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum <= at)
    }
}

/// What a request was, in numbers.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) token: usize,
    pub(crate) route: usize,
    pub(crate) agent: usize,
    pub(crate) client: Ipv4Addr,
    pub(crate) status: u16,
    pub(crate) elapsed: Duration,
    pub(crate) response_bytes: u64,
}

/// Makes requests without end.
pub(crate) struct Traffic {
    random: Random,
    tokens: Vec<String>,
    routes: Vec<String>,
    agents: Vec<String>,
    by_token: Zipf,
    by_route: Zipf,
    by_agent: Zipf,
    by_client: Zipf,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        let route = |at| format!("/v1/teams/{{team}}/resource-{at}/{{id}}");
        let agent =
            |at| format!("example-client/{}.{} (Linux; x86_64) library/2.3{at}", at / 7, at % 7);
        Self {
            random: Random::new(seed),
            tokens: tokens(TOKENS),
            routes: (0..ROUTES).map(route).collect(),
            agents: (0..AGENTS).map(agent).collect(),
            by_token: Zipf::new(TOKENS as usize),
            by_route: Zipf::new(ROUTES),
            by_agent: Zipf::new(AGENTS),
            by_client: Zipf::new(CLIENTS),
        }
    }

    pub(crate) fn request(&mut self) -> Request {
        let random = &mut self.random;
        let client = self.by_client.draw(random) as u32;
        let milliseconds = 20.0 * (0.8 * random.normal()).exp();
        Request {
            token: self.by_token.draw(random),
            route: self.by_route.draw(random),
            agent: self.by_agent.draw(random),
            client: Ipv4Addr::from_bits(0x0a00_0000 | client.wrapping_mul(2_654_435_761) >> 8),
            status: status(random.share()),
            elapsed: Duration::from_secs_f64(milliseconds / 1_000.0),
            response_bytes: (2_000.0 * random.normal().exp()) as u64,
        }
    }

    /// An authenticated request, ready to be recorded.
    pub(crate) fn usage(&mut self, tracker: &TokenTracker) -> Usage {
        let request = self.request();
        let asked = AuthRequest::new(&self.tokens[request.token]);
        let access = tracker.authenticate(asked).unwrap();
        Usage::of(access)
            .route(method(request.route), &self.routes[request.route])
            .status(request.status)
            .elapsed(request.elapsed)
            .response_bytes(request.response_bytes)
            .client_address(IpAddr::V4(request.client))
            .user_agent(&self.agents[request.agent])
    }

    pub(crate) fn usages(&mut self, tracker: &TokenTracker, count: usize) -> Vec<Usage> {
        (0..count).map(|_| self.usage(tracker)).collect()
    }
}

/// A route has one method.
pub(crate) fn method(route: usize) -> &'static str {
    ["GET", "GET", "POST", "DELETE"][route % 4]
}

fn status(share: f64) -> u16 {
    match share {
        ..0.90 => 200,
        ..0.94 => 201,
        ..0.98 => 404,
        ..0.995 => 422,
        _ => 500,
    }
}
