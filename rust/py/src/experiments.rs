//! Experiments: designs into the core, blocks out of it.

use batchwright_core::error::Error;
use batchwright_core::experiments::{Block as CoreBlock, Combine, DesignRef};
use batchwright_core::ids::JobId;
use batchwright_core::keys;
use batchwright_core::registry::{Given, Registry};
use batchwright_core::segments::Segment;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrow::{ArrowTable, read_table};

/// Problem, algorithm, and how many are new, known, and equal to others of the call.
pub(crate) type Added = (String, String, u32, u64, u64);

/// Experiments of one problem and one algorithm that one call has added.
#[pyclass(frozen, get_all, module = "batchwright._core")]
pub(crate) struct Block {
    first: JobId,
    last: JobId,
    problem: String,
    algorithm: String,
    /// Name the designs: equal names, the same rows.
    problem_design: (u64, u32),
    algorithm_design: (u64, u32),
    problem_rows: u32,
    algorithm_rows: u32,
    is_bound: bool,
    first_repl: u32,
    last_repl: u32,
}

impl From<&CoreBlock> for Block {
    fn from(block: &CoreBlock) -> Self {
        let name = |design: DesignRef| (design.epoch, design.number);
        Self {
            first: block.first,
            last: block.last(),
            problem: block.problem.clone(),
            algorithm: block.algorithm.clone(),
            problem_design: name(block.problem_design),
            algorithm_design: name(block.algorithm_design),
            problem_rows: block.shape.problems,
            algorithm_rows: block.shape.algorithms,
            is_bound: block.shape.combine == Combine::Bind,
            first_repl: block.shape.first_repl,
            last_repl: block.shape.last_repl,
        }
    }
}

pub(crate) fn given(name: String, table: Option<Bound<'_, PyAny>>) -> PyResult<Given> {
    let table = match table {
        None => None,
        Some(table) => {
            let (schema, batches) = read_table(&table)?;
            Some(Segment::new(schema, batches).map_err(crate::errors::Failure::from)?)
        }
    };
    Ok(Given { name, table })
}

pub(crate) fn add(
    registry: &Registry,
    problems: Vec<(Given, u32)>,
    algorithms: Vec<Given>,
    bind: bool,
) -> Result<(JobId, Vec<Added>), Error> {
    let combine = if bind { Combine::Bind } else { Combine::Crossprod };
    let (first, added) = registry.add_experiments(problems, algorithms, combine)?;
    let plain = added.into_iter().map(|a| (a.problem, a.algorithm, a.count, a.known, a.equal));
    Ok((first, plain.collect()))
}

pub(crate) fn designs(
    registry: &Registry,
    segment: usize,
) -> Result<(ArrowTable, ArrowTable), Error> {
    let (problem, algorithm) = registry.designs_of(segment)?;
    let table =
        |segment: &Segment| ArrowTable::new(segment.schema.clone(), segment.batches.clone());
    Ok((table(&problem.segment), table(&algorithm.segment)))
}

/// The key of a value that Python has encoded.
#[pyfunction]
pub(crate) fn key_of<'py>(py: Python<'py>, encoded: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &keys::of_bytes(encoded))
}
