//! Sets of job ids.

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use batchwright_core::ids::{IdSet as Ids, JobId};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyTuple};

use crate::arrow::ArrowTable;
use crate::errors::Failure;
use crate::runtime::enter;

/// An immutable, sorted set of job ids.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct IdSet(pub(crate) Ids);

/// Any order, duplicates dropped.
pub(crate) fn from_array(ids: &PyReadonlyArray1<'_, i64>) -> PyResult<Ids> {
    Ok(Ids::from_any(to_vec(ids)?))
}

/// In the order given.
pub(crate) fn to_vec(ids: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<JobId>> {
    let id = |value: &i64| match JobId::try_from(*value) {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(PyValueError::new_err(format!("{value} is no job id: they go from 1 up"))),
    };
    ids.as_array().iter().map(id).collect()
}

impl IdSet {
    fn int64(&self) -> Int64Array {
        self.0.iter().map(i64::from).collect()
    }
}

#[pymethods]
impl IdSet {
    #[staticmethod]
    fn from_range(first: JobId, last: JobId) -> Self {
        Self(Ids::range(first, last))
    }

    #[staticmethod]
    #[pyo3(name = "from_array")]
    fn py_from_array(ids: PyReadonlyArray1<'_, i64>) -> PyResult<Self> {
        from_array(&ids).map(Self)
    }

    #[staticmethod]
    fn from_bytes(data: &[u8]) -> PyResult<Self> {
        let ids = Ids::from_bytes(data);
        ids.map(Self).ok_or_else(|| PyValueError::new_err("these bytes are no set of ids"))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    fn to_array<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_vec(py, self.0.iter().map(i64::from).collect())
    }

    fn ranges(&self, limit: usize) -> Vec<(JobId, JobId)> {
        self.0.ranges().take(limit).collect()
    }

    fn __len__(&self) -> usize {
        self.0.len() as usize
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> bool {
        value.extract::<JobId>().is_ok_and(|id| self.0.contains(id))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        self.0
            .iter()
            .fold(self.0.len(), |hash, id| (hash ^ u64::from(id)).wrapping_mul(0x0100_0000_01b3))
    }

    #[pyo3(signature = (other, /))]
    fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0))
    }

    #[pyo3(signature = (other, /))]
    fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0))
    }

    #[pyo3(signature = (other, /))]
    fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0))
    }

    #[pyo3(signature = (other, /))]
    fn symmetric_difference(&self, other: &Self) -> Self {
        Self(self.0.symmetric_difference(&other.0))
    }

    #[pyo3(signature = (other, /))]
    fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    #[pyo3(signature = (other, /))]
    fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    #[pyo3(signature = (index, /))]
    fn select(&self, index: u32) -> PyResult<JobId> {
        self.0.select(index).ok_or_else(|| {
            PyIndexError::new_err(format!("{index} is beyond the last of {} jobs", self.0.len()))
        })
    }

    #[pyo3(signature = (start, stop, step, /))]
    fn slice(&self, start: i64, stop: i64, step: i64) -> Self {
        let (first, last, step) = match step {
            step if step > 0 => (start, stop, step),
            // The same positions, ascending.
            step => {
                let count = (start - stop - step - 1).max(0) / -step;
                (start + (count - 1) * step, start + 1, -step)
            }
        };
        let wanted = usize::try_from(last - first).unwrap_or(0);
        let from = usize::try_from(first).unwrap_or(0);
        Self(self.0.iter().skip(from).take(wanted).step_by(step as usize).collect())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        drop(requested_schema);
        let data = self.int64().into_data();
        let schema = FFI_ArrowSchema::try_from(&DataType::Int64).map_err(Failure::from)?;
        let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
        let array = PyCapsule::new_with_value(py, FFI_ArrowArray::new(&data), c"arrow_array")?;
        PyTuple::new(py, [schema, array])
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let field = Field::new("job_id", DataType::Int64, true);
        let schema = std::sync::Arc::new(Schema::new(vec![field]));
        let batch = enter(py, |_| {
            let column: ArrayRef = std::sync::Arc::new(self.int64());
            RecordBatch::try_new(schema.clone(), vec![column])
        })?;
        ArrowTable::new(schema, vec![batch]).stream(py, requested_schema)
    }
}
