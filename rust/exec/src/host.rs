//! The host process: runs the chunks of one registry on the cores of one machine, without a
//! scheduler.
//!
//! Owners append requests to files of their own in `queue/HOST/` and call `host start`. One
//! process per registry and host serves them in order, writes what became of them to its own
//! file and leaves when there is nothing to do. It needs no owner: executors outlive it, and
//! the next host process adopts them.
//!
//! `BATCHWRIGHT_EXEC` names another build of the executor to launch; `BATCHWRIGHT_HOST_LINGER_MS`
//! is how long an idle host waits for requests.

mod history;
mod journal;
mod kill;
mod launch;
mod listing;
mod serve;
mod signals;
mod start;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use batchwright_core::access::Access;
use batchwright_core::error::{Error, ErrorKind};
use batchwright_core::fs::{Fs as _, RealFs};
use batchwright_core::layout::{ChunkId, Layout};
use batchwright_core::process;
use lexopt::prelude::*;
use serde::{Deserialize, Serialize};

pub use journal::{Newest, newest};
pub use kill::{Killed, kill};
pub use listing::{Entry, State, Status, listing, status};

const USAGE: &str = "usage: batchwright-exec host start|status|list|kill --registry DIR \
                     [--cores N] [CHUNK...]";

/// Exit codes: what the caller said is wrong; what was to be done failed.
const WRONG: i32 = 2;
const FAILED: i32 = 1;

/// Runs `batchwright-exec host ARGS` and returns its exit code.
pub fn command(args: &[OsString]) -> i32 {
    let done = parse(args).and_then(|(verb, call)| match verb.as_str() {
        "start" => call.open().and_then(|place| start::start(&place, call.cores)),
        "serve" => call.open().and_then(|place| serve::command(&place, call.cores)),
        "status" => call.open().and_then(|place| print(&[place.status()?])),
        "list" => call.open().and_then(|place| print(&place.list()?)),
        "kill" => call.open().and_then(|place| print(&place.kill(&call.chunks)?)),
        other => Err(wrong(format!("`host {other}` is unknown; {USAGE}"))),
    });
    let Err(failure) = done else { return 0 };
    let _unheard = writeln!(std::io::stderr(), "batchwright-exec: {}", failure.message);
    failure.code
}

/// Why a command did not do what it should.
#[derive(Debug)]
struct Failure {
    code: i32,
    message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: FAILED, message: error.to_string() }
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure { code: WRONG, message: message.into() }
}

fn failed(message: impl Into<String>) -> Failure {
    Failure { code: FAILED, message: message.into() }
}

#[derive(Debug, Default)]
struct Call {
    registry: Option<PathBuf>,
    /// For requests that do not say how many cores the host may use.
    cores: Option<u32>,
    chunks: Vec<ChunkId>,
}

fn parse(args: &[OsString]) -> Result<(String, Call), Failure> {
    let (verb, rest) = args.split_first().ok_or_else(|| wrong(USAGE))?;
    let verb = verb.to_string_lossy().into_owned();
    let call = parse_options(&mut lexopt::Parser::from_args(rest), verb == "kill")
        .map_err(|error| wrong(format!("{error}; {USAGE}")))?;
    Ok((verb, call))
}

fn parse_options(parser: &mut lexopt::Parser, chunks: bool) -> Result<Call, lexopt::Error> {
    let mut call = Call::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("registry") => call.registry = Some(parser.value()?.into()),
            Long("cores") => match parser.value()?.parse()? {
                0 => return Err("`--cores 0` leaves nothing to run on".into()),
                cores => call.cores = Some(cores),
            },
            Value(text) if chunks => {
                let chunk = text.to_str().and_then(ChunkId::parse);
                call.chunks.push(chunk.ok_or_else(|| {
                    format!("`{}` is no chunk id of 32 hex digits", text.to_string_lossy())
                })?);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(call)
}

impl Call {
    fn open(&self) -> Result<Place, Failure> {
        let folder = self.registry.as_ref().ok_or_else(|| wrong(USAGE))?;
        Place::open(folder)
    }
}

/// What the host needs to know of `registry.json`.
#[derive(Deserialize)]
struct Identity {
    #[serde(default)]
    access: Access,
    /// Every registry has one. Which it is, is judged by the owner, which made the request.
    #[serde(rename = "format")]
    _format: u32,
}

/// One registry's queue on this host.
#[derive(Clone, Debug)]
struct Place {
    fs: RealFs,
    layout: Layout,
    host: String,
}

impl Place {
    fn open(folder: &std::path::Path) -> Result<Self, Failure> {
        // Absolute, for the host process works in `/`.
        let root = std::path::absolute(folder)
            .map_err(|e| wrong(format!("`--registry {}`: {e}", folder.display())))?;
        let layout = Layout::new(root);
        let path = layout.identity();
        let text = RealFs::new(Access::Private).tail(&path, 0).map_err(|e| match e.kind() {
            ErrorKind::NotFound => wrong(format!("`{}` is no registry: {e}", folder.display())),
            _ => wrong(e.to_string()),
        })?;
        let identity: Identity = serde_json::from_slice(&text).map_err(|e| {
            wrong(format!("`{}` is not of a registry of batchwright: {e}", path.display()))
        })?;
        launch::ensure_trusted(layout.root()).map_err(wrong)?;
        Ok(Self { fs: RealFs::new(identity.access), layout, host: process::host_name() })
    }

    fn list(&self) -> Result<Vec<Entry>, Error> {
        listing(&self.fs, &self.layout, &self.host)
    }

    fn status(&self) -> Result<Status, Error> {
        status(&self.fs, &self.layout, &self.host)
    }

    fn kill(&self, chunks: &[ChunkId]) -> Result<Vec<Killed>, Error> {
        kill(&self.fs, &self.layout, &self.host, chunks)
    }
}

/// One JSON object a line.
fn print<T: Serialize>(values: &[T]) -> Result<(), Failure> {
    let mut out = String::new();
    for value in values {
        out += &serde_json::to_string(value).map_err(|e| failed(e.to_string()))?;
        out.push('\n');
    }
    let mut stdout = std::io::stdout();
    stdout
        .write_all(out.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| failed(format!("cannot write the answer: {e}")))
}
