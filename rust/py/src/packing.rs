//! Jobs into chunks by weight.

use batchwright_core::Interrupted;
use batchwright_core::packing::{self, Unpackable};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::Failure;
use crate::runtime::enter;

fn message(fault: &Unpackable) -> String {
    match fault {
        Unpackable::Weight(at, weight) => {
            format!("the weight at position {at} is {weight}; weights are finite and at least 0")
        }
        Unpackable::TooLarge(at, weight) => {
            format!("the weight {weight} at position {at} is larger than a whole chunk")
        }
        Unpackable::Interrupted => "interrupted".to_owned(),
    }
}

fn packed<'py>(
    py: Python<'py>,
    weights: &PyReadonlyArray1<'_, f64>,
    pack: impl FnOnce(&[f64], Interrupted<'_>) -> Result<Vec<i32>, Unpackable> + Send,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let weights = weights.as_array().to_vec();
    let chunks = enter(py, |interrupt| {
        pack(&weights, &|| interrupt.is_set())
            .map_err(|fault| Failure::from(PyValueError::new_err(message(&fault))))
    })?;
    Ok(PyArray1::from_vec(py, chunks))
}

#[pyfunction]
pub(crate) fn lpt<'py>(
    py: Python<'py>,
    weights: PyReadonlyArray1<'_, f64>,
    n_chunks: usize,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    packed(py, &weights, |weights, stop| packing::lpt(weights, n_chunks, stop))
}

#[pyfunction]
pub(crate) fn binpack<'py>(
    py: Python<'py>,
    weights: PyReadonlyArray1<'_, f64>,
    chunk_size: f64,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    packed(py, &weights, |weights, stop| packing::binpack(weights, chunk_size, stop))
}
