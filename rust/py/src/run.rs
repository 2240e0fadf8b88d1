//! Collections and runs in the owner's own process.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use batchwright_core::access::Access;
use batchwright_core::clock::{Clock, SystemClock};
use batchwright_core::collection;
use batchwright_core::error::{Error, ErrorKind};
use batchwright_core::fs::{Fs, RealFs};
use batchwright_core::run::{Body, Cause, Closed, End, Failure as JobFailure, Started};
use batchwright_exec::run::in_process;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ids::IdSet;
use crate::runtime::enter;
use crate::store::Store;

/// A job collection, read whole.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct Collection {
    header: String,
    rows: Vec<(u32, u32, u16, u16, Vec<u8>)>,
}

type PyRow<'py> = (u32, u32, u16, u16, Bound<'py, PyBytes>);

#[pymethods]
impl Collection {
    #[staticmethod]
    fn open(py: Python<'_>, path: &str) -> PyResult<Self> {
        enter(py, |_| {
            let path = Path::new(path);
            let bytes = RealFs::new(Access::Private).tail(path, 0)?;
            let parsed = collection::Collection::parse(&bytes)
                .map_err(|fault| Error::corrupt(path, 0, format!("{fault:?}")))?;
            let header = serde_json::to_string(&parsed.header).unwrap_or_default();
            let row = |row: &collection::Row<'_>| {
                (row.job, row.task, row.attempt, row.call, row.parameters.to_vec())
            };
            Ok::<_, Error>(Self { header, rows: parsed.rows.iter().map(row).collect() })
        })
    }

    #[getter]
    fn header(&self) -> &str {
        &self.header
    }

    fn rows<'py>(&self, py: Python<'py>) -> Vec<PyRow<'py>> {
        let row = |(job, task, attempt, call, parameters): &(u32, u32, u16, u16, Vec<u8>)| {
            (*job, *task, *attempt, *call, PyBytes::new(py, parameters))
        };
        self.rows.iter().map(row).collect()
    }
}

/// One run of a collection in this process.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct Run(Mutex<in_process::Run>);

impl Run {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut in_process::Run) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        enter(py, |_| call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl Run {
    #[staticmethod]
    fn claim(py: Python<'_>, path: &str) -> PyResult<Option<Self>> {
        let run = enter(py, |_| in_process::Run::claim(Path::new(path)))?;
        Ok(run.map(|run| Self(Mutex::new(run))))
    }

    #[getter]
    fn log_file(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |run| Ok(run.log_name()))
    }

    fn started(&self, py: Python<'_>, job: u32) -> PyResult<()> {
        self.with(py, |run| run.started(Started { job, at: SystemClock.now() }))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    fn done(
        &self,
        py: Python<'_>,
        job: u32,
        started: i64,
        ended: i64,
        peak_kib: u32,
        cpu_us: u64,
        result: &[u8],
    ) -> PyResult<()> {
        let body = Body::Result(result);
        let end = End { job, cause: None, tries: 1, started, ended, peak_kib, cpu_us, body };
        self.with(py, |run| run.end(end))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    fn failed(
        &self,
        py: Python<'_>,
        job: u32,
        cause: &str,
        started: i64,
        ended: i64,
        peak_kib: u32,
        cpu_us: u64,
        r#type: String,
        message: String,
        traceback: String,
    ) -> PyResult<()> {
        let failure = JobFailure { type_name: r#type, message, traceback };
        let json = serde_json::to_vec(&failure).unwrap_or_default();
        self.with(py, |run| {
            let cause = Cause::from_name(cause)
                .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("`{cause}` is no cause")))?;
            let body = Body::Failure(&json);
            let cause = Some(cause);
            run.end(End { job, cause, tries: 1, started, ended, peak_kib, cpu_us, body })
        })
    }

    /// How jobs ended in another registry becomes what this run tells.
    fn take_over(&self, py: Python<'_>, source: &Store, ids: &IdSet) -> PyResult<()> {
        enter(py, |interrupt| {
            let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            run.take_over(&source.registry, &ids.0, &|| interrupt.is_set())
        })
    }

    fn log(&self, py: Python<'_>, job: u32, output: &[u8]) -> PyResult<()> {
        self.with(py, |run| run.log(job, output))
    }

    /// What was not run is given back for this cause.
    #[pyo3(signature = (cause = None))]
    fn close(&self, py: Python<'_>, cause: Option<&str>) -> PyResult<()> {
        let cause = cause.and_then(Cause::from_name);
        let closed = Closed { at: SystemClock.now(), cause, message: String::new() };
        self.with(py, |run| run.close(closed))
    }
}
