//! Requests with tokens that anything may have happened to.

use token_tracker::{Access, AuthError, DenialReason, Denied, Outcome, Unavailable, Usage};

use crate::state_bench::{Open, StateBench};
use crate::state_model::{Late, Now, Reserved, Token};
use crate::state_plan::{Fault, Last, Request, Side, status};
use crate::token_model::{Phase, Version};

/// First uses in a row that may not be stored because the machine is slow.
const MOST_NOT_STORED: u32 = 3;

impl StateBench {
    pub fn present(
        &mut self,
        at: Side,
        token: usize,
        credential: usize,
        request: &Request,
        last: Last,
    ) {
        let secret = self.tokens[token].secrets[credential].1.clone();
        let (asked, tracker) = (request.ask(&secret), &self.trackers[at.place()]);
        let known = if request.is_cached { tracker.authenticate_cached(&asked) } else { None };
        let answer = known.unwrap_or_else(|| tracker.authenticate(asked));
        match answer {
            Ok(access) => self.accepted(at, token, credential, request, access, last),
            Err(AuthError::Denied(denied)) => {
                self.denied(at, token, credential, request, denied, last);
            }
            Err(AuthError::Unavailable(error)) => {
                self.unavailable(at, token, request, &error);
            }
            Err(error) => panic!("another error: {error:?}"),
        }
    }

    /// Nobody can be let in or refused only where the file cannot be read, or units cannot be taken out of it.
    fn unavailable(&self, at: Side, token: usize, request: &Request, error: &Unavailable) {
        let fault = self.trouble.as_ref().map(|trouble| trouble.fault);
        let is_metered = |version: &Version| version.limits.quota.is_some();
        let leases = request.cost() > 0 && self.tokens[token].known(at, self.now()).any(is_metered);
        let is_due = match fault {
            Some(Fault::NoChanges) => true,
            Some(fault) => leases && fault.hinders_leases(),
            // The machine is slow.
            None => leases && format!("{error:?}").contains("Busy"),
        };
        assert!(is_due, "unavailable: {error:?}");
    }

    fn accepted(
        &mut self,
        at: Side,
        place: usize,
        credential: usize,
        request: &Request,
        access: Access,
        last: Last,
    ) {
        let (now, token) = (self.now(), &mut self.tokens[place]);
        let refused = token.refused[at.place()];
        let told: Vec<Version> = token
            .known_of(at, credential, now)
            .filter(|version| {
                version.refusal(credential, refused, request, now.wall).is_none()
                    && token.is_told(access.identity(), credential, version)
            })
            .cloned()
            .collect();
        let Some(version) = told.last() else {
            panic!("accepted by {at:?} at {now:?}: {access:?}, {request:?}, {token:#?}");
        };
        let phases = told.iter().map(|version| version.credentials[credential].phase);
        let outgoing = phases.filter(|phase| *phase == Phase::Outgoing).count();
        let late = match outgoing {
            0 => Late::No,
            some if some == told.len() => Late::Yes,
            _ => Late::Perhaps,
        };
        let mut reserved = Reserved { units: request.cost(), windows: Vec::new(), rate: None };
        if let Some(quota) = version.limits.quota {
            let windows = &mut token.windows;
            reserved.windows = windows.grant(at, &quota.counts, reserved.units, now.wall);
            let cell = &mut token.rates[at.place()];
            if let Some(rate) = quota.rate {
                cell.bucket.go_by(rate, now.monotonic);
                assert!(cell.bucket.may_grant(reserved.units), "faster than its rate: {cell:?}");
                cell.bucket.add(reserved.units, now.monotonic);
                reserved.rate = Some(cell.resets);
            }
        }
        let is_first =
            version == token.current() && version.credentials[credential].phase == Phase::New;
        let opened = self.opened[at.place()];
        self.settle(Open { access, at, opened, token: place, credential, late, reserved }, last);
        if is_first && !self.first_use(at, place, credential, now) {
            self.not_stored += 1;
            assert!(self.not_stored < MOST_NOT_STORED, "first uses are not stored");
        }
    }

    fn denied(
        &mut self,
        at: Side,
        token: usize,
        credential: usize,
        request: &Request,
        denied: Denied,
        last: Last,
    ) {
        let (now, token) = (self.now(), &mut self.tokens[token]);
        let (refused, reason) = (token.refused[at.place()], denied.reason());
        let by_quota = matches!(reason, DenialReason::QuotaExceeded | DenialReason::RateExceeded);
        let due = if by_quota { None } else { Some(reason) };
        let identity = denied.identity().expect("the token is known");
        let told: Vec<Version> = token
            .known_of(at, credential, now)
            .filter(|version| {
                version.refusal(credential, refused, request, now.wall) == due
                    && token.is_told(identity, credential, version)
            })
            .cloned()
            .collect();
        let Some(version) = told.last() else {
            panic!("denied by {at:?} at {now:?}: {denied:?}, {request:?}, {token:#?}");
        };
        if by_quota {
            may_exceed(token, at, version, reason, request.cost(), now);
        }
        let cost = match last {
            Last::Record { status: of, cost } => {
                let mut usage = Usage::of(denied).status(status(of.unwrap_or(0)));
                if let Some(cost) = cost {
                    usage = usage.cost(cost.into());
                }
                assert!(self.trackers[at.place()].record(usage).is_accepted());
                cost.map_or(request.cost(), u32::from)
            }
            _ => {
                drop(denied);
                request.cost()
            }
        };
        token.counts.enter(Outcome::Denied(reason), cost);
        use DenialReason::{CredentialRetired, Expired, Revoked};
        let is_late = matches!(reason, CredentialRetired | Expired | Revoked);
        let late = if is_late { Late::Yes } else { Late::No };
        token.counts.late(token.secrets[credential].0, Some(reason), late);
        self.recorded[at.place()] += 1;
    }

    pub fn introspect(&self, at: Side, token: usize, credential: usize) {
        let (token, now) = (&self.tokens[token], self.now().wall);
        let told = self.trackers[at.place()].introspect(&token.secrets[credential].1);
        let told = match told {
            Ok(told) => told,
            Err(error) => return assert!(self.trouble.is_some(), "{error:?}"),
        };
        let version = token.current();
        let dead = version.dead(credential, token.refused[at.place()], now);
        assert_eq!(told.active, dead.is_none(), "{dead:?}: {token:#?}");
        if dead.is_some() {
            return;
        }
        let standing = &version.credentials[credential];
        let is_leaving = standing.phase == Phase::Outgoing;
        let ends =
            [version.expires_at, standing.expires_at, standing.ends_at.filter(|_| is_leaving)];
        assert_eq!(told.exp, ends.into_iter().flatten().min().map(|at| at.div_euclid(1_000_000)));
        let scope = Some(version.scopes.join(" ")).filter(|scope| !scope.is_empty());
        assert_eq!((told.scope, told.sub), (scope, Some(token.owner.clone())));
        assert_eq!(told.token_id, Some(token.id));
    }

    pub fn still_holds(&mut self, open: u8) {
        let Some(open) = usize::from(open).checked_rem(self.open.len()) else { return };
        let Open { access, at, opened, token, credential, .. } = &self.open[open];
        if *opened != self.opened[at.place()] {
            return;
        }
        let (token, now) = (&self.tokens[*token], self.now());
        let holds = match self.trackers[at.place()].still_holds(access.identity()) {
            Ok(holds) => holds,
            Err(error) => return assert!(self.trouble.is_some(), "{error:?}"),
        };
        let is_possible = |version: &Version| {
            let dead = version.dead(*credential, token.refused[at.place()], now.wall);
            let holds_now = dead.is_none_or(|reason| reason == DenialReason::NotYetValid);
            // By the expiry that it was let in with.
            holds == holds_now || (!holds && has_ended(access, token, *credential, now.wall))
        };
        let known = token.known(*at, now);
        let mut known = known.filter(|version| version.credentials.len() > *credential);
        assert!(known.any(is_possible), "still holds: {holds}, {at:?} at {now:?}: {token:#?}");
    }
}

fn has_ended(access: &Access, token: &Token, credential: usize, now: i64) -> bool {
    let expires_at = access.identity().expires_at();
    let expires_at = expires_at.map(|at| (at.unix_timestamp_nanos() / 1_000) as i64);
    let of_jwt = token.current().credentials[credential].expires_at;
    [expires_at, of_jwt].into_iter().flatten().any(|at| at <= now)
}

/// A refusal by a quota is due, or may be.
fn may_exceed(
    token: &mut Token,
    at: Side,
    version: &Version,
    reason: DenialReason,
    units: u32,
    now: Now,
) {
    let quota = version.limits.quota.expect("there is a quota");
    let by_count = token.windows.may_refuse(at, &quota.counts, units, now.wall);
    let bucket = &mut token.rates[at.place()].bucket;
    if let Some(rate) = quota.rate {
        bucket.go_by(rate, now.monotonic);
    }
    let by_rate = quota.rate.is_some() && bucket.may_refuse(units);
    let is_due = if reason == DenialReason::RateExceeded { by_rate } else { by_count };
    assert!(is_due, "{reason} without need: {units} units, {token:#?}");
}
