//! The service under judgement: started on a free port and a database of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::Client;
use crate::process::Process;
use crate::wait;

const START_BOUND: Duration = Duration::from_secs(30);
const STOP_BOUND: Duration = Duration::from_secs(20);

/// A directory of its own for one database, removed with the last service on it.
pub struct Home {
    directory: TempDir,
}

impl Home {
    /// A fresh, empty one.
    pub fn fresh() -> Arc<Self> {
        let directory = tempfile::Builder::new()
            .prefix("black-box-")
            .tempdir()
            .expect("a temporary directory can be made");
        Arc::new(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the service keeps its database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("tokens.db")
    }

    /// The binary here, on a free port, with our environment.
    pub(crate) fn command(&self, binary: &str) -> Command {
        let mut command = Command::new(binary);
        command.current_dir(self.path()).env("PORT", "0").env("TOKENS_DB", self.database());
        command
    }
}

/// A service that serves; killed when dropped.
pub struct Service {
    process: Process,
    home: Arc<Home>,
    /// Where it said that it listens.
    pub address: SocketAddr,
    /// The printed JWT.
    pub jwt: String,
    /// The printed opaque token.
    pub opaque: String,
    /// The printed token with the scope `admin`.
    pub admin: String,
}

impl Service {
    /// Starts the binary and waits until it has printed where it listens and its three tokens.
    pub fn start(binary: &str, home: &Arc<Home>) -> Self {
        Self::run(&mut home.command(binary), home)
    }

    /// Starts what [`Home::command`] made, whatever was added to it.
    pub(crate) fn run(command: &mut Command, home: &Arc<Home>) -> Self {
        let mut process = Process::spawn(command);
        let [address, jwt, opaque, admin] =
            wait::until("the four lines are printed", START_BOUND, || printed(&mut process));
        Self {
            process,
            home: Arc::clone(home),
            address: address
                .parse()
                .unwrap_or_else(|error| panic!("listens on {address:?}: {error}")),
            jwt,
            opaque,
            admin,
        }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The directory that it runs in.
    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// The most memory that it has used so far, in bytes, where the system says.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Sends the signal of this name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits, with a bound, for its exit status.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait(STOP_BOUND)
    }

    /// Ends it by `SIGTERM` and panics unless it says that all went well.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait();
        let output = self.process.output();
        assert_eq!(status.code(), Some(0), "after SIGTERM: {status}\n{output}");
    }
}

/// Whether it has said all that it says once it serves.
pub(crate) fn is_serving(process: &Process) -> bool {
    let stdout = process.stdout();
    ["listening on http://", "jwt: ", "opaque: ", "admin: "]
        .into_iter()
        .all(|start| line(&stdout, start).is_some())
}

/// What the four lines say; `Err` with all output while they are not complete.
fn printed(process: &mut Process) -> Result<[String; 4], String> {
    let status = process.exit_status();
    let stdout = process.stdout();
    let found = [
        line(&stdout, "listening on http://"),
        line(&stdout, "jwt: "),
        line(&stdout, "opaque: "),
        line(&stdout, "admin: "),
    ];
    if let [Some(address), Some(jwt), Some(opaque), Some(admin)] = found {
        return Ok([address, jwt, opaque, admin]);
    }
    match status {
        Some(status) => panic!("the service ended: {status}\n{}", process.output()),
        None => Err(process.output()),
    }
}

/// What follows `start` on its line, which must have ended.
fn line(text: &str, start: &str) -> Option<String> {
    let found = text.split_inclusive('\n').find_map(|line| line.strip_prefix(start))?;
    Some(found.strip_suffix('\n')?.trim_end().to_owned())
}
