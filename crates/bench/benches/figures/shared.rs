//! Databases that several figures are measured on, built once because that takes long.

use std::sync::{Arc, Mutex};

use crate::history::LARGE;
use crate::volume::MILLION;

/// Built by whoever asks first.
pub(crate) struct Shared<T>(Mutex<Option<Arc<T>>>);

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn get_or_build(&self, build: impl FnOnce() -> T) -> Arc<T> {
        let mut built = self.0.lock().unwrap();
        Arc::clone(built.get_or_insert_with(|| Arc::new(build())))
    }
}

/// Removes their files at its end, which nothing that is static comes to.
pub(crate) struct Removal;

impl Drop for Removal {
    fn drop(&mut self) {
        // After a panic in a build there is nothing in it.
        let _ = LARGE.0.lock().map(|mut built| built.take());
        let _ = MILLION.0.lock().map(|mut built| built.take());
    }
}
