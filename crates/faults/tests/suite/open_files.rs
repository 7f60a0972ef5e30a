//! A service that has opened all the files it may would refuse good tokens, or stop storing for ever.

use std::process::Command;
use std::time::Duration;

use token_tracker_faults::{Child, Scene, alone, rounds};

#[test]
fn service_without_a_file_to_open_still_answers_and_stores() {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let scene = Scene::new();
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n 48; exec \"$0\" \"$1\"", env!("CARGO_BIN_EXE_starved")])
            .arg(scene.database());
        let ended = Child::spawn(&mut command).finish(Duration::from_secs(60));
        assert!(ended.success(), "{ended}");
    }
}
