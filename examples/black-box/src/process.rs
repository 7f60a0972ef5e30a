//! A child process whose output is always drained, and which does not outlive its owner.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait;

/// What is kept of each output; the rest is read and let go.
const KEPT: usize = 256 * 1024;

/// A running binary; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Drain,
    stderr: Drain,
}

impl Process {
    /// Starts a command with its outputs drained and nothing to read.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            child.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        Self {
            child,
            stdout: Drain::start("drain-stdout", stdout),
            stderr: Drain::start("drain-stderr", stderr),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the signal of this name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .expect("the command `kill` can be run");
        assert!(status.success(), "signal {name} could not be sent: {status}");
    }

    /// The exit status, waited for no longer than `bound`; all output has been read by then.
    pub(crate) fn wait(&mut self, bound: Duration) -> ExitStatus {
        let status = wait::until("the process ends", bound, || {
            self.exit_status().ok_or_else(|| self.output())
        });
        self.stdout.join();
        self.stderr.join();
        status
    }

    /// The exit status if it has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be asked")
    }

    /// Its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Both outputs so far, for a message.
    pub(crate) fn output(&self) -> String {
        format!("stdout: {}\nstderr: {}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the child has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.join();
        self.stderr.join();
    }
}

/// A thread that reads one output, so that the child never blocks on a full pipe.
struct Drain {
    kept: Arc<Mutex<Kept>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    let_go: usize,
}

impl Drain {
    fn start(name: &str, source: impl Read + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || drain(source, &shared))
            .expect("a thread can be started");
        Self { kept, thread: Some(thread) }
    }

    fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept.bytes);
        match kept.let_go {
            0 => text.into_owned(),
            more => format!("{text}\n({more} bytes more)"),
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which its own message has told.
            let _ = thread.join();
        }
    }
}

fn drain(mut source: impl Read, kept: &Mutex<Kept>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = source.read(&mut buffer) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = read.min(KEPT - kept.bytes.len());
        kept.bytes.extend_from_slice(&buffer[..room]);
        kept.let_go += read - room;
    }
}
