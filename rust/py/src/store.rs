//! An opened registry.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use batchwright_core::access::Access;
use batchwright_core::collection::Limits;
use batchwright_core::error::{Error, ErrorKind};
use batchwright_core::experiments::{Grouping, Wanted};
use batchwright_core::ids::{IdSet as Ids, JobId};
use batchwright_core::layout::ChunkId;
use batchwright_core::registry::job_table::{Predicate, failure_table};
use batchwright_core::registry::ownership::Lease;
use batchwright_core::registry::{
    self, Listed, Opening, Patience, Plan, PlannedChunk, Registry, TaskId,
};
use batchwright_core::run::Cause;
use batchwright_core::seal::{self, Seal};
use batchwright_core::segments::Segment;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrow::{ArrowTable, read_table};
use crate::experiments;
use crate::ids::{IdSet, to_vec};
use crate::runtime::enter;

/// Whether a file that has a seal is as it was written; none if it has none.
#[pyfunction]
pub(crate) fn is_sealed(py: Python<'_>, bytes: &[u8]) -> Option<bool> {
    py.detach(|| match seal::check(bytes) {
        Seal::Whole => Some(true),
        Seal::Broken => Some(false),
        Seal::Missing => None,
    })
}

/// An opened registry folder.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct Store {
    pub(crate) registry: Arc<Registry>,
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

/// The texts of a table's only column.
fn texts_of(batches: &[RecordBatch]) -> Result<Vec<Option<String>>, Error> {
    let mut texts = Vec::new();
    for batch in batches {
        let column = batch.columns().first().and_then(|c| c.as_any().downcast_ref::<StringArray>());
        let column = column.ok_or_else(|| invalid("expected one column of texts".to_owned()))?;
        texts.extend(column.iter().map(|text| text.map(str::to_owned)));
    }
    Ok(texts)
}

fn chunk_id(text: &str) -> Result<ChunkId, Error> {
    ChunkId::parse(text).ok_or_else(|| invalid(format!("`{text}` is no chunk")))
}

fn chunk_ids(texts: &[String]) -> Result<Vec<ChunkId>, Error> {
    texts.iter().map(|text| chunk_id(text)).collect()
}

fn cause_of(name: &str) -> Result<Cause, Error> {
    Cause::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        invalid(format!("`{name}` is no cause; they are {}", known.join(", ")))
    })
}

fn causes_of(
    causes: HashMap<String, Option<String>>,
) -> Result<HashMap<String, Option<Cause>>, Error> {
    let named = causes.into_iter().map(|(batch, cause)| {
        let cause = cause.map(|cause| cause_of(&cause)).transpose()?;
        Ok((batch, cause))
    });
    named.collect()
}

fn lease(seconds: Option<f64>) -> Lease {
    seconds.map_or_else(Lease::default, Lease::of_seconds)
}

type Task = (String, String, String);

fn task(task: &TaskId) -> Task {
    (task.chunk.to_string(), task.backend.clone(), task.batch_id.clone())
}

fn table(batch: RecordBatch) -> ArrowTable {
    ArrowTable::new(batch.schema(), vec![batch])
}

#[pymethods]
impl Store {
    #[staticmethod]
    #[pyo3(signature = (path, kind, seed, access, user = "", lease_seconds = None))]
    fn create(
        py: Python<'_>,
        path: &str,
        kind: &str,
        seed: i64,
        access: &str,
        user: &str,
        lease_seconds: Option<f64>,
    ) -> PyResult<Self> {
        let registry = enter(py, |_| {
            let access = Access::parse(access).ok_or_else(|| {
                invalid(format!("access `{access}` is none of private, group, public"))
            })?;
            let lease = lease(lease_seconds);
            let opening = Opening { writeable: true, break_lock: false, lease, user };
            Registry::create(Path::new(path), kind, seed, access, opening)
        })?;
        Ok(Self { registry })
    }

    #[staticmethod]
    #[pyo3(signature = (path, writeable, break_lock, user = "", lease_seconds = None))]
    fn open(
        py: Python<'_>,
        path: &str,
        writeable: bool,
        break_lock: bool,
        user: &str,
        lease_seconds: Option<f64>,
    ) -> PyResult<Self> {
        let registry = enter(py, |interrupt| {
            let opening = Opening { writeable, break_lock, lease: lease(lease_seconds), user };
            Registry::open(Path::new(path), opening, &|| interrupt.is_set())
        })?;
        Ok(Self { registry })
    }

    /// Type, mount options and whether there are hard links; none where nobody looked.
    #[getter]
    fn file_system(&self) -> Option<(String, String, bool)> {
        let found = self.registry.identity().file_system.clone();
        found.map(|found| (found.kind, found.options, found.hard_links))
    }

    #[getter]
    fn path(&self) -> String {
        self.registry.layout().root().to_string_lossy().into_owned()
    }

    #[getter]
    fn uuid(&self) -> &str {
        &self.registry.identity().uuid
    }

    #[getter]
    fn kind(&self) -> &str {
        &self.registry.identity().kind
    }

    #[getter]
    fn version(&self) -> &str {
        &self.registry.identity().version
    }

    #[getter]
    fn seed(&self) -> i64 {
        self.registry.identity().seed
    }

    #[getter]
    fn access(&self) -> &'static str {
        match self.registry.identity().access {
            Access::Private => "private",
            Access::Group => "group",
            Access::Public => "public",
        }
    }

    #[getter]
    fn writeable(&self, py: Python<'_>) -> bool {
        py.detach(|| self.registry.is_writeable())
    }

    fn require_owner(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, |_| self.registry.require_owner())
    }

    #[getter]
    fn displaced(&self) -> String {
        self.registry.displaced().unwrap_or_default()
    }

    #[getter]
    fn epoch(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.registry.epoch())
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, |_| self.registry.refresh())
    }

    fn save(&self, py: Python<'_>, force: bool) -> PyResult<bool> {
        enter(py, |_| self.registry.save(force))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, |_| self.registry.close())
    }

    // -- settings, objects, exports

    fn settings(&self, py: Python<'_>) -> BTreeMap<String, String> {
        py.detach(|| self.registry.read(|tables| tables.settings.clone()))
    }

    #[pyo3(signature = (name, value))]
    fn assign(&self, py: Python<'_>, name: &str, value: Option<&str>) -> PyResult<()> {
        enter(py, |_| self.registry.assign(name, value))
    }

    fn put_object(&self, py: Python<'_>, data: &[u8]) -> PyResult<String> {
        enter(py, |_| self.registry.put_object(data))
    }

    fn get_object<'py>(&self, py: Python<'py>, hash: &str) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = enter(py, |_| self.registry.get_object(hash))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn exports(&self, py: Python<'_>) -> BTreeMap<String, String> {
        py.detach(|| self.registry.read(|tables| tables.exports.clone()))
    }

    fn export(
        &self,
        py: Python<'_>,
        put: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> PyResult<()> {
        enter(py, |_| self.registry.export(put, remove))
    }

    // -- definitions

    #[getter]
    fn n_jobs(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.registry.read(batchwright_core::tables::Tables::n_jobs))
    }

    fn define(
        &self,
        py: Python<'_>,
        columns: &Bound<'_, PyAny>,
        call: &str,
    ) -> PyResult<(JobId, JobId)> {
        let (schema, batches) = read_table(columns)?;
        enter(py, |_| self.registry.define(Segment::new(schema, batches)?, call))
    }

    fn segments(&self, py: Python<'_>) -> Vec<(JobId, JobId)> {
        py.detach(|| {
            self.registry.read(|tables| {
                let plain = tables.definitions.iter().map(|d| (d.first, d.first + d.count - 1));
                plain.chain(tables.blocks.iter().map(|b| (b.first, b.last()))).collect()
            })
        })
    }

    fn call(&self, py: Python<'_>, segment: usize) -> PyResult<String> {
        enter(py, |_| self.registry.call(segment))
    }

    #[pyo3(signature = (segment, ids))]
    fn parameters(
        &self,
        py: Python<'_>,
        segment: usize,
        ids: Option<&IdSet>,
    ) -> PyResult<ArrowTable> {
        let ids = ids.map(|ids| &ids.0);
        enter(py, |_| parameters(&self.registry, segment, ids))
    }

    fn row<'py>(&self, py: Python<'py>, job: JobId) -> PyResult<(usize, Bound<'py, PyBytes>)> {
        let (segment, row) = enter(py, |_| {
            let found = self.registry.parameters_of(&[job])?.into_iter().next();
            found.ok_or_else(|| invalid(format!("job {job}")))
        })?;
        Ok((segment, PyBytes::new(py, &row)))
    }

    // -- experiments

    fn problems(&self, py: Python<'_>) -> BTreeMap<String, String> {
        py.detach(|| self.registry.read(|tables| tables.problems.clone()))
    }

    fn algorithms(&self, py: Python<'_>) -> BTreeMap<String, String> {
        py.detach(|| self.registry.read(|tables| tables.algorithms.clone()))
    }

    fn put_problem(&self, py: Python<'_>, name: &str, spec: &str) -> PyResult<()> {
        enter(py, |_| self.registry.put_problem(name, spec))
    }

    fn put_algorithm(&self, py: Python<'_>, name: &str, spec: &str) -> PyResult<()> {
        enter(py, |_| self.registry.put_algorithm(name, spec))
    }

    fn remove_named(
        &self,
        py: Python<'_>,
        problems: Vec<String>,
        algorithms: Vec<String>,
    ) -> PyResult<IdSet> {
        enter(py, |_| self.registry.remove_named(&problems, &algorithms)).map(IdSet)
    }

    fn remove_experiments(&self, py: Python<'_>, ids: &IdSet) -> PyResult<()> {
        enter(py, |_| self.registry.remove_experiments(&ids.0))
    }

    fn add_experiments(
        &self,
        py: Python<'_>,
        problems: Vec<(String, Option<Bound<'_, PyAny>>, u32)>,
        algorithms: Vec<(String, Option<Bound<'_, PyAny>>)>,
        bind: bool,
    ) -> PyResult<(JobId, Vec<experiments::Added>)> {
        let problems = problems
            .into_iter()
            .map(|(name, table, repls)| Ok((experiments::given(name, table)?, repls)))
            .collect::<PyResult<Vec<_>>>()?;
        let algorithms = algorithms
            .into_iter()
            .map(|(name, table)| experiments::given(name, table))
            .collect::<PyResult<Vec<_>>>()?;
        enter(py, |_| experiments::add(&self.registry, problems, algorithms, bind))
    }

    fn blocks(&self, py: Python<'_>) -> Vec<experiments::Block> {
        py.detach(|| self.registry.read(|tables| tables.blocks.iter().map(Into::into).collect()))
    }

    fn designs(&self, py: Python<'_>, segment: usize) -> PyResult<(ArrowTable, ArrowTable)> {
        enter(py, |_| experiments::designs(&self.registry, segment))
    }

    #[pyo3(signature = (segment, problems, algorithms, pairs, repls, ids))]
    #[expect(clippy::too_many_arguments, reason = "one mask for each kind of row")]
    fn select_experiments(
        &self,
        py: Python<'_>,
        segment: usize,
        problems: Option<PyReadonlyArray1<'_, bool>>,
        algorithms: Option<PyReadonlyArray1<'_, bool>>,
        pairs: Option<PyReadonlyArray1<'_, bool>>,
        repls: Option<&IdSet>,
        ids: Option<&IdSet>,
    ) -> PyResult<IdSet> {
        let owned = |mask: Option<PyReadonlyArray1<'_, bool>>| {
            mask.map(|mask| mask.as_array().iter().copied().collect::<Vec<bool>>())
        };
        let (problems, algorithms, pairs) = (owned(problems), owned(algorithms), owned(pairs));
        let (repls, ids) = (repls.map(|ids| &ids.0), ids.map(|ids| &ids.0));
        enter(py, |_| {
            let wanted = Wanted {
                problems: problems.as_deref(),
                algorithms: algorithms.as_deref(),
                pairs: pairs.as_deref(),
                repls,
            };
            self.registry.select_experiments(segment, &wanted, ids)
        })
        .map(IdSet)
    }

    #[pyo3(signature = (segment, problems, algorithms, by_repl, ids))]
    fn group_experiments(
        &self,
        py: Python<'_>,
        segment: usize,
        problems: PyReadonlyArray1<'_, u32>,
        algorithms: PyReadonlyArray1<'_, u32>,
        by_repl: bool,
        ids: Option<&IdSet>,
    ) -> PyResult<ArrowTable> {
        let problems: Vec<u32> = problems.as_array().iter().copied().collect();
        let algorithms: Vec<u32> = algorithms.as_array().iter().copied().collect();
        let ids = ids.map(|ids| &ids.0);
        enter(py, |_| {
            let grouping = Grouping { problems: &problems, algorithms: &algorithms, by_repl };
            self.registry.group_experiments(segment, &grouping, ids).map(table)
        })
    }

    // -- ids, names, tags

    fn all_ids(&self, py: Python<'_>) -> IdSet {
        IdSet(py.detach(|| self.registry.read(batchwright_core::tables::Tables::all_ids)))
    }

    #[pyo3(signature = (state, ids, cause))]
    fn r#where(
        &self,
        py: Python<'_>,
        state: &str,
        ids: Option<&IdSet>,
        cause: Option<&str>,
    ) -> PyResult<IdSet> {
        let ids = ids.map(|ids| &ids.0);
        enter(py, |_| {
            let predicate = Predicate::parse(state)
                .ok_or_else(|| invalid(format!("`{state}` is no state of a job")))?;
            let cause = cause.map(cause_of).transpose()?;
            Ok::<_, Error>(IdSet(self.registry.ids_where(predicate, ids, cause)))
        })
    }

    #[pyo3(signature = (ids))]
    fn counts(&self, py: Python<'_>, ids: Option<&IdSet>) -> BTreeMap<&'static str, u64> {
        let ids = ids.map(|ids| &ids.0);
        let counts = py.detach(|| self.registry.counts(ids));
        BTreeMap::from([
            ("defined", counts.defined),
            ("submitted", counts.submitted),
            ("queued", counts.queued),
            ("started", counts.started),
            ("running", counts.running),
            ("done", counts.done),
            ("error", counts.error),
            ("expired", counts.expired),
            ("system", counts.system),
        ])
    }

    fn names(&self, py: Python<'_>, ids: &IdSet) -> BTreeMap<u32, String> {
        py.detach(|| self.registry.names(&ids.0).into_iter().collect())
    }

    fn set_names(
        &self,
        py: Python<'_>,
        ids: PyReadonlyArray1<'_, i64>,
        names: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let ids = to_vec(&ids)?;
        let (_, batches) = read_table(names)?;
        enter(py, |_| self.registry.set_names(ids, texts_of(&batches)?))
    }

    fn tag(&self, py: Python<'_>, ids: &IdSet, tags: Vec<String>) -> PyResult<()> {
        enter(py, |_| self.registry.tag(&ids.0, &tags))
    }

    fn untag(&self, py: Python<'_>, ids: &IdSet, tags: Vec<String>) -> PyResult<IdSet> {
        enter(py, |_| self.registry.untag(&ids.0, &tags)).map(IdSet)
    }

    fn tags(&self, py: Python<'_>) -> BTreeMap<String, IdSet> {
        let tags = py.detach(|| self.registry.read(|tables| tables.tags.clone()));
        tags.into_iter().map(|(tag, ids)| (tag, IdSet(ids))).collect()
    }

    #[pyo3(signature = (ids))]
    fn status(&self, py: Python<'_>, ids: Option<&IdSet>) -> PyResult<ArrowTable> {
        let ids = ids.map(|ids| &ids.0);
        let batches = enter(py, |interrupt| self.registry.job_table(ids, &|| interrupt.is_set()))?;
        Ok(ArrowTable::new(batches[0].schema(), batches))
    }

    // -- submitting

    #[expect(clippy::too_many_arguments, reason = "the columns of one plan")]
    fn intend(
        &self,
        py: Python<'_>,
        chunks: Vec<String>,
        ids: PyReadonlyArray1<'_, i64>,
        offsets: PyReadonlyArray1<'_, i64>,
        header: &str,
        resources: Vec<String>,
        limits: Vec<String>,
        resource_of: PyReadonlyArray1<'_, i32>,
        backend: &str,
        array_tasks: bool,
    ) -> PyResult<()> {
        let ids = to_vec(&ids)?;
        let offsets: Vec<usize> = offsets.as_array().iter().map(|at| *at as usize).collect();
        let resource_of: Vec<usize> =
            resource_of.as_array().iter().map(|index| *index as usize).collect();
        enter(py, |interrupt| {
            let json = |e: serde_json::Error| invalid(format!("not the JSON expected: {e}"));
            let limits = limits.iter().map(|text| serde_json::from_str::<Limits>(text));
            let bounds = offsets.windows(2).map(|pair| (pair[0], pair[1]));
            let chunk = |((id, (first, end)), resources): ((&String, (usize, usize)), &usize)| {
                let jobs = ids.get(first..end).ok_or_else(|| invalid("wrong offsets".into()))?;
                Ok::<_, Error>(PlannedChunk { id: chunk_id(id)?, jobs, resources: *resources })
            };
            let named = chunks.iter().zip(bounds);
            let plan = Plan {
                chunks: named.zip(&resource_of).map(chunk).collect::<Result<_, _>>()?,
                header: serde_json::from_str(header).map_err(json)?,
                resources,
                limits: limits.collect::<Result<_, _>>().map_err(json)?,
                backend: backend.to_owned(),
                array_tasks,
            };
            self.registry.intend(&plan, &|| interrupt.is_set())
        })
    }

    #[pyo3(signature = (chunk, batch_ids, log_file))]
    fn submitted(
        &self,
        py: Python<'_>,
        chunk: &str,
        batch_ids: Vec<String>,
        log_file: Option<&str>,
    ) -> PyResult<()> {
        enter(py, |_| self.registry.submitted(chunk_id(chunk)?, &batch_ids, log_file))
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, |_| self.registry.flush())
    }

    fn take_back(&self, py: Python<'_>, chunks: Vec<String>) -> PyResult<Vec<String>> {
        enter(py, |_| {
            let claimed = self.registry.take_back(&chunk_ids(&chunks)?)?;
            Ok::<_, Error>(claimed.iter().map(ChunkId::to_string).collect())
        })
    }

    // -- looking

    #[getter]
    fn n_open(&self, py: Python<'_>) -> usize {
        py.detach(|| self.registry.read(|tables| tables.open.len()))
    }

    fn open_chunks(&self, py: Python<'_>) -> Vec<Task> {
        py.detach(|| self.registry.open_tasks().iter().map(task).collect())
    }

    fn ask(&self, py: Python<'_>, backend: &str, has_accounts: bool) {
        py.detach(|| self.registry.ask(backend, has_accounts));
    }

    fn stopped(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| self.registry.stopped()).into_iter().map(|task| task.batch_id).collect()
    }

    fn account_for(&self, py: Python<'_>, causes: HashMap<String, Option<String>>) -> PyResult<()> {
        enter(py, |_| {
            self.registry.account_for(&causes_of(causes)?);
            Ok::<_, Error>(())
        })
    }

    #[pyo3(signature = (backend, listing))]
    fn observe(&self, py: Python<'_>, backend: &str, listing: Option<Vec<(String, bool, String)>>) {
        let listed = |(batch_id, running, reason)| Listed { batch_id, running, reason };
        let listing: Option<Vec<Listed>> =
            listing.map(|listing| listing.into_iter().map(listed).collect());
        py.detach(|| self.registry.observe(backend, listing.as_deref()));
    }

    fn sync(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, |interrupt| self.registry.sync(&|| interrupt.is_set()))
    }

    fn vanished(&self, py: Python<'_>, looks: u32) -> Vec<(String, String, bool)> {
        let tasks = py.detach(|| self.registry.vanished(looks));
        let named =
            tasks.into_iter().map(|(t, claimed)| (t.chunk.to_string(), t.batch_id, claimed));
        named.collect()
    }

    fn outputs_of(
        &self,
        py: Python<'_>,
        batch_ids: HashSet<String>,
    ) -> Vec<(String, String, u32, Option<String>)> {
        let found = py.detach(|| self.registry.outputs_of(&batch_ids));
        let told = found.into_iter();
        told.map(|(t, log)| (t.batch_id, t.chunk.to_string(), t.task, log)).collect()
    }

    fn claimed_by(
        &self,
        py: Python<'_>,
        chunk: &str,
    ) -> PyResult<Option<BTreeMap<String, String>>> {
        enter(py, |_| Ok::<_, Error>(self.registry.claimed_by(chunk_id(chunk)?)))
    }

    fn runs_of(&self, py: Python<'_>, job: u32) -> PyResult<Vec<String>> {
        let runs = enter(py, |_| self.registry.runs_of(job))?;
        let json = |run| serde_json::to_string(run).expect("plain data serialises");
        Ok(runs.iter().map(json).collect())
    }

    #[pyo3(signature = (looks, causes, *, listing, accounting))]
    fn expire(
        &self,
        py: Python<'_>,
        looks: u32,
        causes: HashMap<String, Option<String>>,
        listing: f64,
        accounting: f64,
    ) -> PyResult<IdSet> {
        let patience = Patience { listing, accounting };
        enter(py, |_| self.registry.expire(looks, &causes_of(causes)?, patience)).map(IdSet)
    }

    fn give_up(
        &self,
        py: Python<'_>,
        chunks: Vec<String>,
        requested: &IdSet,
        cause: &str,
    ) -> PyResult<()> {
        enter(py, |_| self.registry.give_up(&chunk_ids(&chunks)?, &requested.0, cause_of(cause)?))
    }

    fn void(&self, py: Python<'_>, chunks: Vec<String>) -> PyResult<()> {
        enter(py, |_| self.registry.void(&chunk_ids(&chunks)?))
    }

    fn withdraw(&self, py: Python<'_>, chunks: Vec<String>) -> PyResult<()> {
        enter(py, |_| self.registry.withdraw(&chunk_ids(&chunks)?))
    }

    fn reset(&self, py: Python<'_>, ids: &IdSet) -> PyResult<()> {
        enter(py, |_| self.registry.reset(&ids.0))
    }

    fn chunk_of(&self, py: Python<'_>, job: JobId) -> Option<Task> {
        py.detach(|| self.registry.task_of(job)).map(|t| {
            let (chunk, backend, batch_id) = task(&t);
            (chunk, batch_id, backend)
        })
    }

    fn chunks_of(&self, py: Python<'_>, ids: &IdSet) -> Vec<(String, String, String, IdSet)> {
        let tasks = py.detach(|| self.registry.tasks_of_jobs(&ids.0));
        let named = tasks.into_iter().map(|(t, jobs)| {
            let (chunk, backend, batch_id) = task(&t);
            (chunk, batch_id, backend, IdSet(jobs))
        });
        named.collect()
    }

    // -- results, failures, logs

    fn results(&self, py: Python<'_>, ids: PyReadonlyArray1<'_, i64>) -> PyResult<ResultReader> {
        let ids = to_vec(&ids)?;
        let reader = enter(py, |_| self.registry.results(&ids))?;
        Ok(ResultReader(Mutex::new(reader)))
    }

    fn result_table(
        &self,
        py: Python<'_>,
        ids: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<Option<ArrowTable>> {
        let ids = to_vec(&ids)?;
        let batch =
            enter(py, |interrupt| self.registry.result_table(&ids, &|| interrupt.is_set()))?;
        Ok(batch.map(table))
    }

    fn failures(&self, py: Python<'_>, ids: &IdSet) -> PyResult<ArrowTable> {
        enter(py, |_| Ok::<_, Error>(table(failure_table(&self.registry.endings(&ids.0)?))))
    }

    fn failure(&self, py: Python<'_>, job: JobId) -> PyResult<(String, String, String, String)> {
        enter(py, |_| {
            let ended = self.registry.endings(&Ids::range(job, job))?;
            let ended = ended.into_iter().next().ok_or_else(|| invalid(format!("job {job}")))?;
            let failure = ended.failure.unwrap_or_default();
            let cause = ended.cause.map_or("", Cause::name).to_owned();
            Ok::<_, Error>((cause, failure.type_name, failure.message, failure.traceback))
        })
    }

    /// Those of these jobs that have the same definition in another registry.
    fn same_as(&self, py: Python<'_>, other: &Self, ids: &IdSet) -> PyResult<IdSet> {
        let same = enter(py, |interrupt| {
            self.registry.same_as(&other.registry, &ids.0, &|| interrupt.is_set())
        });
        same.map(IdSet)
    }

    fn log<'py>(&self, py: Python<'py>, job: JobId) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let log = enter(py, |_| self.registry.log(job))?;
        Ok(log.map(|log| PyBytes::new(py, &log)))
    }

    fn logs(&self, py: Python<'_>, ids: &IdSet) -> LogReader {
        LogReader(Mutex::new(py.detach(|| self.registry.logs(&ids.0))))
    }

    fn sweep(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, |_| self.registry.sweep())
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, |_| self.registry.clear())
    }
}

/// One definition's columns with the ids of its jobs before them.
fn parameters(registry: &Registry, index: usize, ids: Option<&Ids>) -> Result<ArrowTable, Error> {
    if registry.read(|tables| !tables.blocks.is_empty()) {
        let (schema, batches) = registry.experiment_table(index, ids)?;
        return Ok(ArrowTable::new(schema, batches));
    }
    let segment = registry.segment(index)?;
    let first = registry.read(|tables| tables.definitions[index].first);
    let mut fields = vec![Arc::new(Field::new("job_id", DataType::Int64, true))];
    fields.extend(segment.schema.fields().iter().cloned());
    let schema = Arc::new(Schema::new(fields));
    let mut batches = Vec::with_capacity(segment.batches.len());
    let mut start = first;
    for batch in &segment.batches {
        let end = start + batch.num_rows() as u32;
        let failed = |e: arrow_schema::ArrowError| invalid(e.to_string());
        let (numbers, columns) = match ids {
            None => ((start..end).map(i64::from).collect(), batch.columns().to_vec()),
            Some(ids) => {
                let wanted = ids.intersection(&Ids::range(start, end - 1));
                let rows: UInt32Array = wanted.iter().map(|id| id - start).collect();
                let taken =
                    batch.columns().iter().map(|c| arrow_select::take::take(c, &rows, None));
                let taken = taken.collect::<Result<Vec<_>, _>>().map_err(failed)?;
                (wanted.iter().map(i64::from).collect::<Vec<i64>>(), taken)
            }
        };
        start = end;
        let job_id = Int64Array::from(numbers);
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(job_id)];
        arrays.extend(columns);
        if !arrays[0].is_empty() {
            batches.push(RecordBatch::try_new(schema.clone(), arrays).map_err(failed)?);
        }
    }
    Ok(ArrowTable::new(schema, batches))
}

/// Hands out pickled results.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct ResultReader(Mutex<registry::ResultReader>);

#[pymethods]
impl ResultReader {
    fn next_batch<'py>(&self, py: Python<'py>) -> PyResult<Option<Vec<Bound<'py, PyBytes>>>> {
        let batch =
            enter(py, |_| self.0.lock().unwrap_or_else(PoisonError::into_inner).next_batch())?;
        Ok(batch.map(|batch| batch.iter().map(|bytes| PyBytes::new(py, bytes)).collect()))
    }
}

type Logs<'py> = Vec<(JobId, Bound<'py, PyBytes>)>;

/// Hands out logs.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct LogReader(Mutex<registry::LogReader>);

#[pymethods]
impl LogReader {
    fn next_batch<'py>(&self, py: Python<'py>) -> PyResult<Option<Logs<'py>>> {
        let batch = enter(py, |interrupt| {
            let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            reader.next_batch(&|| interrupt.is_set())
        })?;
        Ok(batch
            .map(|batch| batch.iter().map(|(job, log)| (*job, PyBytes::new(py, log))).collect()))
    }
}
