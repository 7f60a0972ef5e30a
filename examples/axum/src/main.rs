//! The example service on axum: token-tracker behind HTTP.
//!
//! `layer.rs` is the piece to copy; `routes.rs` is what the service does; this file starts and ends it.

mod admin;
mod layer;
mod routes;

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use token_tracker::{Algorithm, Clock, JwtIssuer, JwtKey, NewToken, SystemClock, TokenTracker};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How long requests in flight may take once the service is told to end.
const DRAIN: Duration = Duration::from_secs(10);

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let mut message = format!("example-axum: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                message.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            let _ = writeln!(std::io::stderr(), "{message}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let database = PathBuf::from(std::env::var_os("TOKENS_DB").unwrap_or("tokens.db".into()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The port first: a service that cannot listen should not touch the database.
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
    // Before anybody is told that the service is there, and may want to end it.
    let signals = runtime.block_on(async { Signals::install() })?;
    let issuer = JwtIssuer::named("https://example.com").key(signing_key(&database)?);
    let tracker = TokenTracker::builder().jwt_issuer(issuer).open(&database)?;
    announce(&tracker, listener.local_addr()?)?;
    let served = runtime.block_on(serve(listener, tracker.clone(), signals));
    // Requests that are still in flight are dropped here, and settle as unfinished, before the file closes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    tracker.close()?;
    served
}

/// What tells the service to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn serve(listener: TcpListener, tracker: TokenTracker, mut signals: Signals) -> Result<()> {
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let app = routes::router(tracker).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        signals.received().await;
        stop.send_replace(true);
    });
    let overdue = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server.into_future() => Ok(served?),
        () = overdue => Ok(()),
    }
}

/// Issues three tokens to try the service with, and says where it listens.
fn announce(tracker: &TokenTracker, address: SocketAddr) -> Result<()> {
    let started = SystemClock::new().now().unix_timestamp_nanos() / 1_000;
    let issue = |new: NewToken| tracker.tokens().issue(new);
    let demo = "demo@example.com";
    let jwt = issue(NewToken::jwt(demo, format!("jwt {started}")))?;
    let opaque = issue(NewToken::opaque(demo, format!("opaque {started}")))?;
    let admin =
        issue(NewToken::opaque("admin@example.com", format!("admin {started}")).scope("admin"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    writeln!(out, "jwt: {}", jwt.secret.expose())?;
    writeln!(out, "opaque: {}", opaque.secret.expose())?;
    writeln!(out, "admin: {}", admin.secret.expose())?;
    Ok(out.flush()?)
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
        return Err(format!("{} does not hold a key of 32 bytes", path.display()).into());
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
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}
