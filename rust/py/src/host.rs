//! Hosts without a scheduler: what an owner asks of them and sees of them.

use std::path::Path;

use batchwright_core::Error;
use batchwright_core::access::Access;
use batchwright_core::fs::RealFs;
use batchwright_core::layout::Layout;
use batchwright_core::process;
use batchwright_core::queue::Request;
use batchwright_exec::host;
use pyo3::prelude::*;

use crate::runtime::enter;
use crate::store::Store;

#[pyfunction]
pub(crate) fn host_name() -> String {
    process::host_name()
}

#[pyfunction]
#[pyo3(signature = (store, chunk, cores, host_cores, max_concurrent, host=None))]
pub(crate) fn host_request(
    py: Python<'_>,
    store: &Store,
    chunk: String,
    cores: u32,
    host_cores: u32,
    max_concurrent: u32,
    host: Option<&str>,
) -> PyResult<()> {
    enter(py, |_| {
        let at = store.registry.now();
        let request = Request { chunk, cores, max_concurrent, host_cores, at };
        match host {
            Some(host) => store.registry.request(host, request),
            None => store.registry.request(&process::host_name(), request),
        }
    })
}

/// JSON of the chunks of a registry on this host, as `batchwright-exec host list` prints them.
#[pyfunction]
pub(crate) fn host_listing(py: Python<'_>, path: &str) -> PyResult<Vec<String>> {
    enter(py, |_| {
        let layout = Layout::new(Path::new(path));
        let fs = RealFs::new(Access::Private);
        let entries = host::listing(&fs, &layout, &process::host_name())?;
        let json = entries.iter().map(|entry| serde_json::to_string(entry).unwrap_or_default());
        Ok::<_, Error>(json.collect())
    })
}

/// Whether a process serves a registry's queue on this host.
#[pyfunction]
pub(crate) fn host_serves(py: Python<'_>, path: &str) -> PyResult<bool> {
    enter(py, |_| {
        let layout = Layout::new(Path::new(path));
        let fs = RealFs::new(Access::Private);
        let newest = host::newest(&fs, &layout, &process::host_name())?;
        Ok::<_, Error>(newest.is_some_and(|newest| newest.alive))
    })
}
