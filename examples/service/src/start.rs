//! How an example starts, what it prints, and how it ends.

use std::error::Error;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use token_tracker::{
    Algorithm, Clock, ErrorKind, JwtIssuer, JwtKey, NewToken, SystemClock, TokenTracker,
};

use crate::api::Api;

/// How long requests in flight may take once the service is told to end.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long a client may take to send the head of a request.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// What an example's parts return.
pub type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What there is before the first request: a port, a tracker, and who tells the service to end.
#[derive(Debug)]
pub struct Service {
    /// Bound, listening on a loopback address, not blocking.
    pub listener: TcpListener,
    /// The tracker, open on the database.
    pub tracker: TokenTracker,
    /// What the routes answer.
    pub api: Api,
    /// `SIGINT` and `SIGTERM`.
    pub stop: Stop,
    /// How many threads are to serve, where the environment's `WORKERS` says so.
    pub workers: Option<usize>,
}

/// Waits for the signal to end.
#[derive(Debug)]
pub struct Stop(Signals);

impl Stop {
    /// Does this once the service is told to end, on a thread of its own.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn then(mut self, act: impl FnOnce() + Send + 'static) -> Result<()> {
        let wait = move || {
            self.0.forever().next();
            act();
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(())
    }
}

/// What an example prints once it can be reached.
pub struct Announcement(String);

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // There are secrets in it.
        f.debug_struct("Announcement").finish_non_exhaustive()
    }
}

impl Announcement {
    /// Prints it.
    ///
    /// # Errors
    /// Where standard output takes nothing.
    pub fn print(self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(self.0.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// Runs an example from its start to its end. `serve` returns when the last request has been answered; what has been
/// recorded by then is stored.
pub fn run(name: &str, serve: impl FnOnce(Service) -> Result<()>) -> ExitCode {
    run_self_bound(name, |service, announcement| {
        announcement.print()?;
        serve(service)
    })
}

/// The same for a stack that takes no listener: `serve` drops that of the service, has the stack bind its address, and
/// prints the announcement when that is done.
pub fn run_self_bound(
    name: &str,
    serve: impl FnOnce(Service, Announcement) -> Result<()>,
) -> ExitCode {
    match start(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    message
}

/// Opens the tracker, or says which file it is that does not open, and what can be done.
fn open(database: &Path, issuer: JwtIssuer) -> Result<TokenTracker> {
    TokenTracker::builder().jwt_issuer(issuer).open(database).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::Busy => "; end the program that holds it, or name another file in TOKENS_DB",
            ErrorKind::NotADatabase => "; name another file in TOKENS_DB, it will be made",
            _ => "",
        };
        format!("{}: {}{remedy}", database.display(), with_causes(&error)).into()
    })
}

fn start(serve: impl FnOnce(Service, Announcement) -> Result<()>) -> Result<()> {
    let port = number_in("PORT")?.unwrap_or(3000);
    let workers = number_in("WORKERS")?;
    let database = PathBuf::from(std::env::var_os("TOKENS_DB").unwrap_or("tokens.db".into()));
    // The port first: a service that cannot listen should not touch the database.
    let listener = listen(port)?;
    // Before anybody is told that the service is there, and may want to end it.
    let stop = Stop(Signals::new([SIGINT, SIGTERM])?);
    let issuer = JwtIssuer::named("https://example.com").key(signing_key(&database)?);
    let tracker = open(&database, issuer)?;
    let announcement = announcement(&tracker, listener.local_addr()?)?;
    let api = Api::new(tracker.clone());
    let service = Service { listener, tracker: tracker.clone(), api, stop, workers };
    let served = serve(service, announcement);
    tracker.close()?;
    served
}

fn number_in<T: std::str::FromStr<Err: std::fmt::Display>>(variable: &str) -> Result<Option<T>> {
    let Some(text) = std::env::var_os(variable) else { return Ok(None) };
    let text = text.to_string_lossy();
    let number = text
        .parse()
        .map_err(|error| format!("{variable}: {text:?} is no number that will do: {error}"))?;
    Ok(Some(number))
}

fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
        format!("cannot listen on port {port}: {error}; PORT names another, 0 takes a free one")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Issues three tokens to try the service with, and says where it listens.
fn announcement(tracker: &TokenTracker, address: SocketAddr) -> Result<Announcement> {
    let started = SystemClock::new().now().unix_timestamp_nanos() / 1_000;
    let issue = |new: NewToken| tracker.tokens().issue(new);
    let demo = "demo@example.com";
    let jwt = issue(NewToken::jwt(demo, format!("jwt {started}")))?;
    let opaque = issue(NewToken::opaque(demo, format!("opaque {started}")))?;
    let admin =
        issue(NewToken::opaque("admin@example.com", format!("admin {started}")).scope("admin"))?;
    let lines = [
        format!("listening on http://{address}\n"),
        format!("jwt: {}\n", jwt.secret.expose()),
        format!("opaque: {}\n", opaque.secret.expose()),
        format!("admin: {}\n", admin.secret.expose()),
    ];
    Ok(Announcement(lines.concat()))
}

/// The key that signs JWTs: 32 random bytes beside the database, made at the first start, readable by
/// their owner only.
fn signing_key(database: &Path) -> Result<JwtKey> {
    let path = beside(database, ".key");
    if !path.exists() {
        make_key(&path, &beside(database, &format!(".key.{}", std::process::id())))?;
    }
    let secret = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if secret.len() != 32 {
        let remedy = "put it back, or move it away: another is made then, and no JWT of this one is good any longer";
        return Err(format!("{} does not hold a key of 32 bytes: {remedy}", path.display()).into());
    }
    Ok(JwtKey::hmac(Algorithm::Hs256, &secret)?)
}

/// Writes a whole key under another name first: the key is there in full or not at all, and of two
/// processes that start at once one wins.
fn make_key(path: &Path, temporary: &Path) -> Result<()> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    let mut file =
        options.open(temporary).map_err(|error| format!("{}: {error}", temporary.display()))?;
    file.write_all(&secret)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(temporary, path);
    std::fs::remove_file(temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}
