//! A child program, and the ledger of what it said. It ends with its handle.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::entry::Entry;
use crate::ledger::Shared;
use crate::moment::{Deadline, eventually, pause};

/// A process that writes lines of the ledger on its standard output.
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    ledger: Shared,
}

impl Child {
    /// Starts a program.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(program: impl AsRef<Path>, args: &[String]) -> Self {
        Self::spawn(Command::new(program.as_ref()).args(args))
    }

    /// Starts what a command says.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let ledger = Shared::default();
        let entered = ledger.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                entered.enter(line.parse::<Entry>().expect("a line is whole"));
            }
        });
        Self { process, input, reader: Some(reader), ledger }
    }

    /// What it said so far.
    #[must_use]
    pub fn ledger(&self) -> &Shared {
        &self.ledger
    }

    /// Tells it a line, on its standard input.
    ///
    /// # Panics
    /// Where it does not listen.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is a pipe");
        input.write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }

    /// Waits until it said this.
    ///
    /// # Panics
    /// Where it does not, or ends before it does.
    pub fn await_note(&mut self, note: &str) {
        eventually(note, || {
            let ended = self.process.try_wait().expect("it is ours").is_some();
            if ended {
                self.settle();
            }
            let said = self.ledger.has_note(note);
            assert!(said || !ended, "it ended before it said {note:?}");
            said
        });
    }

    /// Whether it has not ended yet.
    ///
    /// # Panics
    /// Never.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("it is ours").is_none()
    }

    /// Waits until so many records were acknowledged.
    ///
    /// # Panics
    /// Where that does not come about.
    pub fn await_records(&self, count: usize) {
        eventually("records are acknowledged", || {
            self.ledger.with(|ledger| ledger.records.len()) >= count
        });
    }

    /// Kills it, as `kill -9` does, and reads what it said to its end.
    pub fn kill(&mut self) {
        // One that has ended already is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.settle();
    }

    /// Waits for its end, and reads what it said.
    ///
    /// # Panics
    /// Where it does not end within this time.
    pub fn finish(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Deadline::after(patience);
        loop {
            if let Some(status) = self.process.try_wait().expect("it is ours") {
                self.settle();
                return status;
            }
            assert!(!deadline.is_over(), "it does not end");
            pause(5);
        }
    }

    fn settle(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("every line was one of the ledger");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks it to end, by the signal for that.
///
/// # Panics
/// Where the signal cannot be sent.
#[cfg(unix)]
pub fn terminate(child: &Child) {
    let mut command = Command::new("kill");
    command.args(["-TERM", &child.process.id().to_string()]);
    assert!(command.status().is_ok_and(|status| status.success()), "it is there to be asked");
}
