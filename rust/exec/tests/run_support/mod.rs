//! Builds registries with one collection, runs the executor on them, and reads what it wrote.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use batchwright_core::collection::{Builder, Header, Limits, Row};
use batchwright_core::frame::{self, Content, FileId, FrameWriter, Position};
use batchwright_core::layout::{ChunkId, Layout, RunId};
use batchwright_core::run::{Body, Cause, Closed, Failure, Record, Void};
use serde::Deserialize;
use tempfile::TempDir;

pub const PYTHON: &str = include_str!("make.py");

pub fn python() -> String {
    std::env::var("BATCHWRIGHT_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

#[derive(Deserialize)]
struct Made {
    python: serde_json::Value,
    rows: Vec<Vec<u8>>,
}

/// A registry folder with one collection, whose jobs are numbered from 1.
pub struct Case {
    pub folder: TempDir,
    pub layout: Layout,
    pub chunk: ChunkId,
    pub jobs: u32,
}

pub fn case(script: &str, limits: impl FnOnce(&mut Limits)) -> Case {
    case_of_tasks(script, 0, limits)
}

/// Job i belongs to task (i - 1) % tasks + 1 where there are tasks.
pub fn case_of_tasks(script: &str, tasks: u32, limits: impl FnOnce(&mut Limits)) -> Case {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let work = folder.path().join("work");
    fs::create_dir(&work).expect("a working folder");
    let root = folder.path().join("registry");
    let layout = Layout::new(&root);
    let chunk = ChunkId::random();
    let made = make(script, &root);
    let mut header = Header {
        job_hash: chunk.to_string(),
        job_name: "test".into(),
        work_dir: work.to_string_lossy().into_owned(),
        seed: 42,
        tasks,
        jobs: made.rows.len() as u32,
        resources: serde_json::json!({"note": "r"}),
        python: made.python,
        ..Header::default()
    };
    header.limits.python = vec![python()];
    limits(&mut header.limits);
    if let Some(elsewhere) = header.limits.env.get("TEST_WORK_DIR") {
        header.work_dir.clone_from(elsewhere);
    }
    let mut builder = Builder::new(&header);
    for (i, parameters) in made.rows.iter().enumerate() {
        let task = if tasks == 0 { 0 } else { i as u32 % tasks + 1 };
        builder.row(Row { job: i as u32 + 1, task, attempt: 1, call: 0, parameters });
    }
    let path = layout.collection(chunk);
    fs::create_dir_all(path.parent().expect("below jobs")).expect("folders");
    fs::write(&path, builder.finish()).expect("a collection");
    Case { folder, layout, chunk, jobs: header.jobs }
}

fn make(script: &str, root: &Path) -> Made {
    let mut helper = Command::new(python())
        .args(["-c", PYTHON])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a Python with cloudpickle");
    let mut input = helper.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes()).expect("the script is read");
    drop(input);
    let output = helper.wait_with_output().expect("the helper ends");
    assert!(output.status.success(), "the script is wrong");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What became of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub cause: Option<Cause>,
    pub tries: u16,
    pub seconds: f64,
    pub peak_kib: u32,
    pub cpu_us: u64,
    /// The pickle, empty for failures and stored results.
    pub result: Vec<u8>,
    pub stored: Option<(u32, u64, u64, u32)>,
    pub failure: Failure,
}

/// Everything that one run wrote.
#[derive(Debug, Default)]
pub struct Ran {
    pub ended: BTreeMap<u32, Ended>,
    pub started: Vec<u32>,
    pub logs: BTreeMap<u32, String>,
    pub closed: Option<Closed>,
    pub kinds: Vec<&'static str>,
}

impl Case {
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchwright-exec"));
        let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/batchwright/_node");
        command
            .arg("run")
            .arg(self.layout.collection(self.chunk))
            .env("BATCHWRIGHT_NODE", node)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self) -> Output {
        self.command().output().expect("the executor runs")
    }

    /// Runs and reads the first run, which has to succeed.
    pub fn ran(&self) -> Ran {
        let output = self.run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{:?}: {said}", output.status);
        self.read(0, 0)
    }

    pub fn spawn(&self) -> Child {
        self.command().spawn().expect("the executor runs")
    }

    pub fn id(&self, task: u32, run: u32) -> RunId {
        RunId { chunk: self.chunk, task, run }
    }

    pub fn runs_folder(&self) -> PathBuf {
        self.layout.runs_of(self.chunk)
    }

    pub fn read(&self, task: u32, run: u32) -> Ran {
        let id = self.id(task, run);
        let log = fs::read(self.layout.log(id)).unwrap_or_default();
        let mut ran = Ran::default();
        for segment in 0.. {
            let Ok(bytes) = fs::read(self.layout.run(id, segment)) else { break };
            read_segment(&bytes, &log, &mut ran, Strict::Yes);
        }
        ran
    }

    /// As [`Self::read`], over torn tails of segments that failed.
    pub fn read_whole(&self, task: u32, run: u32) -> Ran {
        let id = self.id(task, run);
        let mut ran = Ran::default();
        for segment in 0.. {
            let Ok(bytes) = fs::read(self.layout.run(id, segment)) else { break };
            read_segment(&bytes, &[], &mut ran, Strict::No);
        }
        ran
    }

    /// When a job of the first run ended, in seconds since 1970.
    pub fn ended_at(&self, job: u32) -> f64 {
        let bytes = fs::read(self.layout.run(self.id(0, 0), 0)).expect("a run file");
        let id = frame::read_file_header(&bytes, Content::Run).expect("a header");
        let scan = frame::scan(id, &bytes[frame::FILE_HEADER..], Position::START);
        let mut records = scan.frames.iter().filter_map(|f| Record::read(f).ok());
        let end = records.find_map(|record| match record {
            Record::End(end) if end.job == job => Some(end.ended),
            _ => None,
        });
        end.expect("the job ended") as f64 * 1e-6
    }

    pub fn publish_void(&self, run: u32) {
        let id = FileId::random();
        let mut writer = FrameWriter::new(id);
        let mut bytes = frame::file_header(Content::Run, id).to_vec();
        let void = Void { by: "the owner".into(), at: 1, reason: "killed".into() };
        Record::Void(void).write(&mut writer, &mut bytes);
        fs::create_dir_all(self.runs_folder()).expect("a folder");
        fs::write(self.layout.run(self.id(0, run), 0), bytes).expect("a void");
    }

    /// Evaluates `expression` on the unpickled result `r` of a job.
    pub fn evaluate(&self, ended: &Ended, expression: &str) -> String {
        let code = format!(
            "import pickle,sys; r = pickle.loads(sys.stdin.buffer.read())\n\
                            print({expression})"
        );
        let mut child = Command::new(python())
            .args(["-c", &code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let bytes = match ended.stored {
            None => ended.result.clone(),
            Some((worker, offset, length, _)) => {
                let file = fs::read(self.layout.results(self.id(0, 0), worker)).expect("a file");
                file[offset as usize..(offset + length) as usize].to_vec()
            }
        };
        child.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Whether a file has to end with a whole frame, and each job once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strict {
    Yes,
    No,
}

fn read_segment(bytes: &[u8], log: &[u8], ran: &mut Ran, strict: Strict) {
    let id = frame::read_file_header(bytes, Content::Run).expect("a header");
    let scan = frame::scan(id, &bytes[frame::FILE_HEADER..], Position::START);
    assert!(scan.damage.is_empty(), "no damage");
    assert!(strict == Strict::No || scan.end == bytes.len() as u64, "no torn tail");
    for found in &scan.frames {
        match Record::read(found).expect("a record") {
            Record::Claim(_) => ran.kinds.push("claim"),
            Record::Void(_) => ran.kinds.push("void"),
            Record::Mark(mark) => {
                assert!(mark.synced_to <= found.offset, "only what is behind is durable");
                ran.kinds.push("mark");
            }
            Record::Started(started) => {
                ran.kinds.push("started");
                ran.started.extend(started.iter().map(|s| s.job));
            }
            Record::Log(pieces) => {
                ran.kinds.push("log");
                for piece in pieces {
                    let (from, to) = (piece.offset, piece.offset + piece.length);
                    let text = String::from_utf8_lossy(
                        log.get(from as usize..to as usize).unwrap_or_default(),
                    );
                    ran.logs.entry(piece.job).or_default().push_str(&text);
                }
            }
            Record::Closed(closed) => {
                ran.kinds.push("closed");
                ran.closed = Some(closed);
            }
            Record::End(end) => {
                ran.kinds.push("end");
                let mut ended = Ended {
                    cause: end.cause,
                    tries: end.tries,
                    seconds: (end.ended - end.started) as f64 * 1e-6,
                    peak_kib: end.peak_kib,
                    cpu_us: end.cpu_us,
                    result: Vec::new(),
                    stored: None,
                    failure: Failure::default(),
                };
                match end.body {
                    Body::Result(bytes) => ended.result = bytes.to_vec(),
                    Body::Stored(s) => {
                        ended.stored = Some((s.worker, s.offset, s.length, s.crc32));
                    }
                    Body::Failure(json) => {
                        ended.failure = serde_json::from_slice(json).expect("a failure");
                    }
                }
                let other = ran.ended.insert(end.job, ended);
                assert!(strict == Strict::No || other.is_none(), "one end per job");
            }
        }
    }
}
