//! Tables across the boundary without a copy, by the Arrow `PyCapsule` interface.

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{
    Array, RecordBatch, RecordBatchIterator, RecordBatchOptions, RecordBatchReader, StructArray,
};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors::Failure;
use crate::runtime::enter;

const STREAM: &CStr = c"arrow_array_stream";
const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";

/// A table that pyarrow, polars and pandas read in place. It never changes once made.
#[pyclass(frozen, module = "batchwright._core")]
pub(crate) struct ArrowTable {
    schema: SchemaRef,
    batches: Arc<[RecordBatch]>,
}

impl ArrowTable {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches: batches.into() }
    }

    /// `requested_schema` is a wish by the protocol; the table is given as it is.
    pub(crate) fn stream<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let batches = Arc::clone(&self.batches);
        let rows = (0..batches.len()).map(move |index| Ok(batches[index].clone()));
        let reader = RecordBatchIterator::new(rows, Arc::clone(&self.schema));
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), STREAM)
    }
}

#[pymethods]
impl ArrowTable {
    #[new]
    fn from_python(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (schema, batches) = read_table(data)?;
        Ok(Self::new(schema, batches))
    }

    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        self.stream(py, requested_schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.schema.as_ref()).map_err(Failure::from)?;
        PyCapsule::new_with_value(py, schema, SCHEMA)
    }
}

/// Takes a table from any object that offers an Arrow stream, or one record batch.
///
/// A stream may be fed by Python code; it is drained detached, and attaches by itself.
pub(crate) fn read_table(data: &Bound<'_, PyAny>) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    let py = data.py();
    if let Some(export) = data.getattr_opt(intern!(py, "__arrow_c_stream__"))? {
        let stream = take_stream(export.call0()?.cast::<PyCapsule>()?)?;
        return enter(py, move |interrupt| {
            let reader = RecordBatchStreamReader::try_new(stream)?;
            let schema = reader.schema();
            let batches = reader
                .take_while(|_| !interrupt.is_set())
                .collect::<Result<Vec<_>, ArrowError>>()?;
            Ok::<_, ArrowError>((schema, batches))
        });
    }
    if let Some(export) = data.getattr_opt(intern!(py, "__arrow_c_array__"))? {
        let (schema, array) = export.call0()?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let batch = take_batch(schema.cast::<PyCapsule>()?, array.cast::<PyCapsule>()?)?;
        return Ok((batch.schema(), vec![batch]));
    }
    Err(PyTypeError::new_err(format!(
        "expected a table with `__arrow_c_stream__` or `__arrow_c_array__`, such as a pyarrow, \
         polars or pandas one, not `{}`",
        data.get_type().name()?
    )))
}

#[expect(unsafe_code, reason = "the capsule protocol hands over C structures")]
fn take_stream(capsule: &Bound<'_, PyCapsule>) -> PyResult<FFI_ArrowArrayStream> {
    let pointer = capsule.pointer_checked(Some(STREAM))?;
    // SAFETY: a capsule of this name holds a valid stream; taking it out leaves a released one.
    Ok(unsafe { FFI_ArrowArrayStream::from_raw(pointer.cast().as_ptr()) })
}

#[expect(unsafe_code, reason = "the capsule protocol hands over C structures")]
fn take_batch(
    schema: &Bound<'_, PyCapsule>,
    array: &Bound<'_, PyCapsule>,
) -> Result<RecordBatch, Failure> {
    let schema_pointer = schema.pointer_checked(Some(SCHEMA))?;
    let array_pointer = array.pointer_checked(Some(ARRAY))?;
    // SAFETY: capsules of these names hold valid structures; taking them out leaves released
    // ones, and by the protocol the array is described by the schema beside it.
    let (schema, data) = unsafe {
        let schema = FFI_ArrowSchema::from_raw(schema_pointer.cast().as_ptr());
        let array = FFI_ArrowArray::from_raw(array_pointer.cast().as_ptr());
        let data = from_ffi(array, &schema)?;
        (schema, data)
    };
    let DataType::Struct(_) = data.data_type() else {
        return Err(Failure::Value(format!(
            "expected a record batch, not one array of type {}",
            data.data_type()
        )));
    };
    if data.null_count() > 0 {
        return Err(Failure::Value("a row of a table cannot be null as a whole".into()));
    }
    let rows = StructArray::from(data);
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let columns = rows.into_parts().1;
    let schema = Arc::new(Schema::try_from(&schema)?);
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}
