//! First uses of new credentials on their way into the catalogue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::clock::{deadline, has_passed};
use crate::token::CredentialId;

/// How long requests wait for a first use to be stored: from when it is begun, however many come after.
const PATIENCE: Duration = Duration::from_millis(200);

/// First uses that may be under way. They are many only while the storage fails; a use past this stores nothing, and
/// the next tries again.
const MOST: usize = 1_024;

#[derive(Default)]
pub(crate) struct FirstUses {
    /// Until when requests wait for it, by credential.
    under_way: Mutex<HashMap<CredentialId, Instant>>,
    ended: Condvar,
}

/// The task of storing a first use. Dropped when that is done or given up.
pub(crate) struct FirstUse {
    all: Arc<FirstUses>,
    credential: CredentialId,
}

impl FirstUses {
    /// The task, unless somebody has it already.
    pub(crate) fn begin(self: &Arc<Self>, credential: CredentialId) -> Option<FirstUse> {
        let mut under_way = self.under_way.lock();
        if under_way.len() >= MOST || under_way.contains_key(&credential) {
            return None;
        }
        under_way.insert(credential, deadline(PATIENCE));
        Some(FirstUse { all: Arc::clone(self), credential })
    }

    /// Waits until no first use of this credential is under way, or that has taken too long.
    pub(crate) fn wait(&self, credential: CredentialId) {
        let mut under_way = self.under_way.lock();
        while let Some(end) = under_way.get(&credential).copied().filter(|end| !has_passed(*end)) {
            self.ended.wait_until(&mut under_way, end);
        }
    }
}

impl Drop for FirstUse {
    fn drop(&mut self) {
        self.all.under_way.lock().remove(&self.credential);
        self.all.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: CredentialId = CredentialId::from_row(1);

    #[test]
    fn one_at_a_time_stores_the_first_use_of_a_credential_and_the_others_wait_for_it() {
        let all = Arc::new(FirstUses::default());
        let task = all.begin(FIRST).unwrap();
        assert!(all.begin(FIRST).is_none());
        assert!(all.begin(CredentialId::from_row(2)).is_some(), "another credential");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| all.wait(FIRST));
            drop(task);
            waiting.join().unwrap();
        });
        assert!(all.begin(FIRST).is_some(), "once it is given up");
    }

    #[test]
    fn nobody_waits_longer_than_a_fifth_of_a_second_from_its_beginning() {
        let all = Arc::new(FirstUses::default());
        let _stuck = all.begin(FIRST).unwrap();
        all.wait(FIRST);
        let end = *all.under_way.lock().get(&FIRST).unwrap();
        assert!(has_passed(end));
        all.wait(FIRST);
    }

    #[test]
    fn there_is_an_end_to_what_is_under_way() {
        let all = Arc::new(FirstUses::default());
        let tasks = (0..2 * MOST as i64).filter_map(|id| all.begin(CredentialId::from_row(id)));
        let tasks: Vec<_> = tasks.collect();
        assert_eq!(tasks.len(), MOST);
        drop(tasks);
        assert!(all.under_way.lock().is_empty());
    }
}
