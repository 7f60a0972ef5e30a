//! Quotas on a request's way: taken from memory, and where that is used up, leased from the file on the writer's
//! thread.

use std::sync::Arc;

use super::look_up::Sight;
use super::{Engine, Moment};
use crate::access::Access;
use crate::error::{Error, ErrorKind};
use crate::events::{Event, Subject, ThresholdEvent};
use crate::follower::BOUND;
use crate::identity::Grant;
use crate::meter::{Instants, Lease, Meter, Refusal, Reservation, Taken};
use crate::policy::judge;
use crate::quota::Quota;
use crate::reason::DenialReason;
use crate::refusal::{AuthError, Unavailable};
use crate::request::AuthRequest;
use crate::store::{Session, to_error};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// How often one request asks the file. Twice is rare: others would have to take, between two steps of the writer's
/// thread, what was left before.
const MAX_LEASES: u32 = 8;

/// Whether a request is let through, and with which units of a quota.
pub(super) type Verdict = Result<Option<Reservation>, Refusal>;

impl Moment {
    fn instants(self) -> Instants {
        Instants { wall: self.wall, monotonic: self.monotonic }
    }
}

impl Engine {
    /// The judgement, from memory; `None` where the file is to be asked for units first, and nothing is done yet. Who
    /// is refused for another reason has used nothing of the quota.
    pub(super) fn weigh(
        &self,
        grant: &Grant,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Option<Verdict> {
        if let Err(reason) = judge(grant, request, now.wall) {
            return Some(Err(Refusal { reason, retry_after: None }));
        }
        let Some((meter, quota)) = grant.metered() else { return Some(Ok(None)) };
        verdict(meter.take(quota, request.facts.units(), now.instants()))
    }

    /// A cached token that needs nothing of the file but units of its quota.
    pub(super) fn short_of_units(&self, token: &str, now: Moment) -> Option<Arc<Grant>> {
        let fresh = self.follower.is_fresh(now.monotonic, BOUND);
        let cached = self.cache.get(self.cache.key(token)).filter(|_| fresh)?;
        (cached.meter.is_some() && cached.terms.key_holds(now.wall)).then_some(cached)
    }

    pub(super) fn lease_and_decide(
        &self,
        mut grant: Arc<Grant>,
        request: &AuthRequest<'_>,
        mut now: Moment,
    ) -> Result<Access, AuthError> {
        for _ in 0..MAX_LEASES {
            if let Some(verdict) = self.weigh(&grant, request, now) {
                return self.decide(grant, request, now, verdict);
            }
            match self.lease_and_weigh(&grant, request, now)? {
                // Revoked, perhaps, while the file was waited for: that can take as long as somebody else holds it.
                // One that was not current before is told of no change.
                Ok(Some(reservation)) if !grant.live.is_current() => reservation.settle(0),
                verdict => return self.decide(grant, request, now, verdict),
            }
            now = self.moment();
            grant = self.look_up_again(request, now)?;
        }
        let message = "the token changes faster than its quota can be leased";
        Err(Unavailable::new(Error::new(ErrorKind::Busy, message)).into())
    }

    fn look_up_again(
        &self,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Result<Arc<Grant>, AuthError> {
        let token = self.presentable(request).map_err(|reason| self.stranger(reason))?;
        match self.look_up(token, now) {
            Ok(Sight::Known(grant)) => Ok(grant),
            Ok(Sight::Stranger(reason)) => Err(self.stranger(reason)),
            Ok(Sight::Adoptable(_) | Sight::Passed(_)) => {
                Err(self.stranger(DenialReason::UnknownToken))
            }
            Err(failure) => Err(Unavailable::new(to_error(failure)).into()),
        }
    }

    /// The judgement, with units out of the file.
    fn lease_and_weigh(
        &self,
        grant: &Grant,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Result<Verdict, Unavailable> {
        let Some((meter, quota)) = grant.metered() else { return Ok(Ok(None)) };
        let (token, meter, quota) = (grant.id, Arc::clone(meter), *quota);
        let (units, instants) = (request.facts.units(), now.instants());
        let leased = self.queue.run(move |session| {
            let mut leases = Vec::new();
            let taken = lease(session, token, &meter, &quota, units, instants, &mut leases);
            (taken, leases)
        });
        let (taken, leases) = leased.map_err(Unavailable::new)?;
        leases.iter().for_each(|lease| self.tell_threshold(grant, lease, now.wall));
        let taken = taken.map_err(Unavailable::new)?;
        verdict(taken).ok_or_else(|| {
            let message = "the quota is used up by others faster than it can be leased";
            Unavailable::new(Error::new(ErrorKind::Busy, message))
        })
    }

    fn tell_threshold(&self, grant: &Grant, lease: &Lease, now: Timestamp) {
        let Some(percent) = lease.crossed else { return };
        self.events.tell(|| {
            Event::Threshold(ThresholdEvent {
                subject: Subject {
                    token_id: grant.id,
                    owner: grant.owner.to_string(),
                    name: grant.name.to_string(),
                },
                window: lease.period.window().as_str(),
                limit: lease.limit,
                percent,
                reset: lease.ends_at().since(now),
            })
        });
    }

    /// Has what was leased and not granted put back into the file, before the queue is closed.
    pub(crate) fn give_leases_back(&self) {
        let held = self.limiter.drain();
        if !held.is_empty() {
            // What cannot be put back is forfeited, as in a crash.
            self.queue.push_job(Box::new(move |session| drop(session.give_back(&held))));
        }
    }
}

/// Leases what is needed and takes it. On the writer's thread, so that no two leases of a token are made at the same
/// time: a crash costs one at most.
fn lease(
    session: &mut Session,
    token: TokenId,
    meter: &Arc<Meter>,
    quota: &Quota,
    units: u32,
    now: Instants,
    leases: &mut Vec<Lease>,
) -> Result<Taken, Error> {
    let mut taken = meter.take(quota, units, now);
    for _ in 0..MAX_LEASES {
        if !matches!(taken, Taken::NeedsLease) {
            break;
        }
        let asks = meter.asks(quota, units, now);
        let leased = session.lease(token, &asks).map_err(|error| to_error(error.into_inner()))?;
        taken = meter.receive(&leased, quota, units, now);
        leases.extend(leased);
    }
    Ok(taken)
}

fn verdict(taken: Taken) -> Option<Verdict> {
    match taken {
        Taken::Granted(reservation) => Some(Ok(Some(reservation))),
        Taken::NeedsLease => None,
        Taken::Refused(refusal) => Some(Err(refusal)),
    }
}
