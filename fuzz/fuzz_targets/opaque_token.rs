#![no_main]
libfuzzer_sys::fuzz_target!(|_data: &[u8]| {
    let t = std::time::Instant::now();
    let clock = token_tracker::ManualClock::default();
    let tracker = token_tracker::TokenTracker::builder().clock(clock).in_memory().unwrap();
    let a = t.elapsed();
    let issued = tracker.tokens().issue(token_tracker::NewToken::opaque("a", "b")).unwrap();
    let b = t.elapsed();
    assert!(tracker.authenticate(&issued.secret).is_ok());
    let c = t.elapsed();
    drop(tracker);
    eprintln!("{a:?} {b:?} {c:?} {:?}", t.elapsed());
});
