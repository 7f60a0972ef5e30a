//! The locks and atomics of what is model-checked: those of `parking_lot` and `std`, or the checker's in
//! their place.

#[cfg(all(test, model))]
pub(crate) use checked::{Condvar, Mutex, MutexGuard};
#[cfg(all(test, model))]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};
#[cfg(not(all(test, model)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};

#[cfg(not(all(test, model)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, model))]
mod checked {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    use shuttle::sync as inner;

    const HELD: &str = "a guard holds its lock but while it waits";

    pub(crate) struct Mutex<T>(inner::Mutex<T>);

    pub(crate) struct MutexGuard<'m, T> {
        mutex: &'m Mutex<T>,
        held: Option<inner::MutexGuard<'m, T>>,
    }

    pub(crate) struct Condvar(inner::Condvar);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(inner::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().unwrap()) }
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(inner::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.held.take().expect(HELD);
            guard.held = Some(self.0.wait(held).unwrap());
        }

        /// The checker has no time: whoever waits for a while wakes by itself sooner or later.
        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _until: Instant) {
            drop(guard.held.take());
            shuttle::thread::yield_now();
            guard.held = Some(guard.mutex.0.lock().unwrap());
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect(HELD)
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect(HELD)
        }
    }
}
