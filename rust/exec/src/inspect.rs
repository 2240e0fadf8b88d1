//! Prints any registry file as JSON lines, without unpickling anything.

use std::io::Write;
use std::path::Path;

use batchwright_core::access::Access;
use batchwright_core::collection::Collection;
use batchwright_core::frame::{self, Content, FileId, Frame, HeaderFault, Position};
use batchwright_core::fs::{Fs, RealFs};
use batchwright_core::queue;
use batchwright_core::run::{Body, End, Record};
use batchwright_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

const CONTENTS: [(Content, &str); 5] = [
    (Content::Owner, "owner"),
    (Content::Run, "run"),
    (Content::Collection, "collection"),
    (Content::Queue, "queue"),
    (Content::Snapshot, "snapshot"),
];

/// Writes a line about the file, one about each frame, and one about each stretch of damage.
pub fn inspect(path: &Path, out: &mut dyn Write) -> Result<()> {
    let bytes = RealFs::new(Access::Private).tail(path, 0)?;
    let mut line = |value: &Value| {
        writeln!(out, "{value}").map_err(|e| Error::io("write to", Path::new("stdout"), &e))
    };
    if !is_framed(path) {
        return unframed(path, &bytes, &mut line);
    }
    let (content, name, id) = identify(path, &bytes)?;
    line(&json!({"content": name, "version": frame::VERSION, "length": bytes.len()}))?;
    if content == Content::Collection {
        return collection(path, &bytes, &mut line);
    }
    let scan = frame::scan(id, &bytes[frame::FILE_HEADER..], Position::START);
    for frame in &scan.frames {
        line(&describe(content, frame))?;
    }
    for (offset, length) in &scan.damage {
        line(&json!({"damaged": {"offset": offset, "length": length}}))?;
    }
    let rest = bytes.len() as u64 - scan.end;
    if rest > 0 {
        line(&json!({"unfinished": {"offset": scan.end, "length": rest}}))?;
    }
    Ok(())
}

fn identify(path: &Path, bytes: &[u8]) -> Result<(Content, &'static str, FileId)> {
    let mut fault = HeaderFault::NotOurs;
    for (content, name) in CONTENTS {
        match frame::read_file_header(bytes, content) {
            Ok(id) => return Ok((content, name, id)),
            Err(found) => fault = found,
        }
    }
    let what = format!("`{}` is no framed registry file: {fault:?}", path.display());
    Err(Error::new(ErrorKind::Corrupt, what).at(path))
}

fn is_framed(path: &Path) -> bool {
    path.extension().is_some_and(|found| found == "bwj" || found == "bwc")
}

/// What is JSON already goes through, text line by line; of all else, its kind and size.
fn unframed(path: &Path, bytes: &[u8], line: &mut dyn FnMut(&Value) -> Result<()>) -> Result<()> {
    let head = |content: &str| json!({"content": content, "length": bytes.len()});
    let document = serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object);
    if let Some(document) = document {
        line(&head("json"))?;
        return line(&document);
    }
    let name = path.extension().and_then(|found| found.to_str());
    match (name, std::str::from_utf8(bytes)) {
        (Some("arrow"), _) => line(&head("arrow")),
        (Some("pkl"), _) => line(&head("pickle")),
        (_, Ok(text)) if !text.contains('\0') => {
            line(&head("text"))?;
            text.lines().try_for_each(|one| line(&json!({"text": one})))
        }
        _ => line(&head("binary")),
    }
}

fn collection(path: &Path, bytes: &[u8], line: &mut dyn FnMut(&Value) -> Result<()>) -> Result<()> {
    let collection =
        Collection::parse(bytes).map_err(|fault| Error::corrupt(path, 0, format!("{fault:?}")))?;
    let mut header = serde_json::to_value(&collection.header).unwrap_or_default();
    // Values of variables may be secrets.
    if let Some(Value::Object(environment)) = header.pointer_mut("/limits/env") {
        environment.values_mut().for_each(|value| *value = "…".into());
    }
    line(&json!({"header": header}))?;
    for row in &collection.rows {
        line(&json!({
            "job": row.job,
            "task": row.task,
            "attempt": row.attempt,
            "call": row.call,
            "parameters": row.parameters.len(),
        }))?;
    }
    Ok(())
}

fn describe(content: Content, frame: &Frame<'_>) -> Value {
    let mut value = json!({
        "kind": frame.kind,
        "seq": frame.seq,
        "job": frame.job,
        "offset": frame.offset,
        "length": frame.payload.len(),
    });
    let record = match content {
        Content::Run => Record::read(frame).ok().map(|record| run_record(&record)),
        Content::Queue => queue::Record::read(frame).ok().map(|record| queue_record(&record)),
        _ => None,
    };
    if let Some((kind, record)) = record {
        value["kind"] = kind.into();
        value["record"] = record;
    }
    value
}

fn to_value(record: impl serde::Serialize) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

fn run_record(record: &Record<'_>) -> (&'static str, Value) {
    match record {
        Record::Claim(claim) => ("claim", to_value(claim)),
        Record::Void(void) => ("void", to_value(void)),
        Record::Started(started) => ("started", to_value(started)),
        Record::End(end) => ("end", end_record(end)),
        Record::Log(pieces) => ("log", to_value(pieces)),
        Record::Mark(mark) => ("mark", to_value(mark)),
        Record::Closed(closed) => ("closed", to_value(closed)),
    }
}

fn end_record(end: &End<'_>) -> Value {
    let body = match end.body {
        Body::Result(bytes) => json!({"result": {"length": bytes.len()}}),
        Body::Stored(at) => json!({"stored": {
            "worker": at.worker, "offset": at.offset, "length": at.length, "crc32": at.crc32,
        }}),
        Body::Failure(bytes) => {
            json!({"failure": serde_json::from_slice::<Value>(bytes).unwrap_or_default()})
        }
    };
    json!({
        "job": end.job,
        "cause": end.cause,
        "tries": end.tries,
        "started": end.started,
        "ended": end.ended,
        "peak_kib": end.peak_kib,
        "cpu_us": end.cpu_us,
        "body": body,
    })
}

fn queue_record(record: &queue::Record) -> (&'static str, Value) {
    match record {
        queue::Record::Request(r) => ("request", to_value(r)),
        queue::Record::Host(r) => ("host", to_value(r)),
        queue::Record::Launched(r) => ("launched", to_value(r)),
        queue::Record::Exited(r) => ("exited", to_value(r)),
        queue::Record::Left(r) => ("left", to_value(r)),
    }
}
