//! A registry whose chunks are run by a shell script, and the host commands on it.
#![allow(clippy::disallowed_methods, dead_code, unreachable_pub, reason = "shared by tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use batchwright_core::access::Access;
use batchwright_core::clock::{Clock as _, SystemClock};
use batchwright_core::frame::{Content, FileId, FrameWriter, file_header};
use batchwright_core::fs::{Fs as _, RealFs};
use batchwright_core::layout::{ChunkId, Layout, RunId};
use batchwright_core::process;
use batchwright_core::queue::{self, Request, RequestFile, numbered, open_requests, read_records};
use batchwright_core::run::{Record, Void};
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Bench {
    folder: tempfile::TempDir,
    pub fs: RealFs,
    pub layout: Layout,
    pub host: String,
    linger_ms: u32,
    /// How long a host hesitates before it says that it leaves.
    pub delay_ms: u32,
}

impl Bench {
    pub fn new(linger_ms: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("registry");
        fs::create_dir_all(&root).expect("the registry");
        fs::create_dir_all(folder.path().join("fake")).expect("the script's folder");
        let layout = Layout::new(&root);
        let identity = r#"{"format": 1, "access": "private"}"#;
        fs::write(layout.identity(), identity).expect("registry.json");
        let fs = RealFs::new(Access::Private);
        Self { folder, fs, layout, host: process::host_name(), linger_ms, delay_ms: 0 }
    }

    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    fn fake(&self, name: &str) -> PathBuf {
        self.folder.path().join("fake").join(name)
    }

    /// Tells the script something: `go` all, `go-CHUNK`, `fail-CHUNK`, `stubborn-CHUNK`.
    pub fn tell(&self, name: impl AsRef<str>) {
        fs::write(self.fake(name.as_ref()), "").expect("a mark");
    }

    pub fn log(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.fake("log")).unwrap_or_default();
        let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        text.lines().filter_map(pair).collect()
    }

    pub fn started(&self) -> Vec<String> {
        let starts = self.log().into_iter().filter(|(what, _)| what == "start");
        starts.map(|(_, chunk)| chunk).collect()
    }

    pub fn owner(&self, epoch: u64) -> RequestFile {
        open_requests(&self.fs, &self.layout, &self.host, epoch).expect("a request file")
    }

    pub fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchwright-exec"));
        command.args(["host", verb, "--registry"]).arg(self.root()).args(more);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_executor.sh");
        command.env("BATCHWRIGHT_EXEC", script);
        command.env("BATCHWRIGHT_HOST_LINGER_MS", self.linger_ms.to_string());
        command.env("BATCHWRIGHT_HOST_DELAY_MS", self.delay_ms.to_string());
        command.env("FAKE_DIR", self.folder.path().join("fake"));
        command
    }

    pub fn run(&self, verb: &str, more: &[&str]) -> Vec<Value> {
        let output = self.command(verb, more).output().expect("the program runs");
        assert!(output.status.success(), "host {verb}: {}", text(&output.stderr));
        let lines = text(&output.stdout);
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub fn start(&self) -> u32 {
        number(&self.run("start", &[])[0]["pid"])
    }

    pub fn status(&self) -> Value {
        self.run("status", &[]).remove(0)
    }

    /// The entry of a chunk in the list, null if it has none.
    pub fn entry(&self, chunk: &str) -> Value {
        let list = self.run("list", &[]);
        list.into_iter().find(|entry| entry["chunk"] == *chunk).unwrap_or_default()
    }

    pub fn in_state(&self, state: &str) -> Vec<String> {
        let list = self.run("list", &[]);
        let found = list.iter().filter(|entry| entry["state"] == *state);
        found.map(|entry| entry["chunk"].as_str().expect("text").to_owned()).collect()
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "in vain: {what}; {:?}", self.in_state("queued"));
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_started(&self, chunks: usize) {
        self.wait("chunks start", || self.started().len() >= chunks);
    }

    pub fn wait_gone(&self) {
        self.wait("the host leaves", || self.status()["alive"] == false);
    }

    pub fn void(&self, chunk: &str) {
        let void = Void { by: "test".into(), at: 0, reason: "taken back".into() };
        let id = FileId::random();
        let mut bytes = file_header(Content::Run, id).to_vec();
        Record::Void(void).write(&mut FrameWriter::new(id), &mut bytes);
        let chunk = ChunkId::parse(chunk).expect("a chunk");
        self.fs.make_folder(&self.layout.runs_of(chunk)).expect("a folder");
        let path = self.layout.run(RunId { chunk, task: 0, run: 0 }, 0);
        self.fs.publish(&path, &bytes).expect("published");
    }

    /// In the order of launching, over all host processes.
    pub fn launched(&self) -> Vec<String> {
        let folder = self.layout.queue(&self.host);
        let numbers = numbered(&self.fs, &folder, "host").expect("a look");
        let files = numbers.iter().map(|(number, _)| {
            let number = u32::try_from(*number).expect("few hosts");
            read_records(&self.fs, &self.layout.host(&self.host, number)).expect("readable")
        });
        let chunk = |record| match record {
            queue::Record::Launched(launched) => Some(launched.chunk),
            _ => None,
        };
        files.flatten().filter_map(chunk).collect()
    }

    pub fn host_files(&self) -> usize {
        let names = self.fs.look(&self.layout.queue(&self.host)).expect("a look");
        names.iter().filter(|name| Layout::parse_numbered("host", name).is_some()).count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Nothing may outlive a test, a failed one either.
        let _unmarked = fs::write(self.fake("go"), "");
        if let Ok(output) = self.command("status", &[]).output()
            && let Ok(status) = serde_json::from_slice::<Value>(&output.stdout)
            && status["pid"].is_number()
        {
            signal(number(&status["pid"]), "TERM");
        }
    }
}

pub fn chunk() -> String {
    ChunkId::random().to_string()
}

pub fn request(chunk: &str, cores: u32, host_cores: u32) -> Request {
    let (chunk, at) = (chunk.to_owned(), SystemClock.now());
    Request { chunk, cores, max_concurrent: 0, host_cores, at }
}

pub fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args([format!("-{name}"), pid.to_string()]).output();
    kill.expect("kill runs");
}

pub fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}
