//! Two trackers on one file: numbers never collide, links hold, accounts of both balance.

use token_tracker::{TokenTracker, Usage};

use crate::support::{Database, access, assert_balanced, key, opaque, records};

fn open(database: &Database) -> TokenTracker {
    TokenTracker::builder().jwt_key(key()).open(database.path()).unwrap()
}

#[test]
fn two_writers_share_the_log_and_every_tokens_chain() {
    let database = Database::new();
    let (one, two) = (open(&database), open(&database));
    let (shared, own) = (opaque(&one, "shared"), opaque(&two, "own"));
    std::thread::scope(|scope| {
        for tracker in [&one, &two] {
            scope.spawn(|| {
                for number in 0..300 {
                    for issued in [&shared, &own] {
                        let access = access(tracker, issued);
                        tracker.record(Usage::of(access).route("GET", "/").status(200));
                    }
                    if number % 7 == 0 {
                        tracker.flush().unwrap();
                    }
                }
            });
        }
    });
    one.flush().unwrap();
    two.flush().unwrap();
    for issued in [&shared, &own] {
        assert_eq!(records(&one, issued.token.id).len(), 600);
    }
    assert_eq!(one.stats().all().summary().unwrap().total, 1_200);
    for tracker in [&one, &two] {
        assert_balanced(tracker);
        assert_eq!((tracker.health().stored, tracker.health().dropped), (600, 0));
    }
    assert_eq!(database.number("SELECT max(id) - count(*) FROM usage_log"), 0, "no number unused");
}

#[test]
fn token_issued_by_one_is_known_to_the_other_at_once() {
    let database = Database::new();
    let (one, two) = (open(&database), open(&database));
    let issued = opaque(&one, "shared");
    assert_eq!(access(&two, &issued).identity().token_id(), issued.token.id);
}

#[test]
fn reader_that_fell_behind_the_log_of_changes_forgets_everything() {
    let database = Database::new();
    let (one, two) = (open(&database), open(&database));
    let issued = opaque(&one, "shared");
    drop(access(&two, &issued));
    // A hundred thousand changes by others, of which the log kept the newest alone.
    database.execute(
        "BEGIN IMMEDIATE;
         UPDATE catalogue SET state = 1;
         INSERT INTO changes (generation, token_id) VALUES (100001, 999);
         COMMIT;",
    );
    std::thread::sleep(std::time::Duration::from_millis(250));
    assert!(two.authenticate(&issued.secret).is_err());
}
