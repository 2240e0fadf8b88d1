//! One way from failures in Rust to the exception classes of `batchwright.errors`.
//!
//! The classes are Python's, because they carry fields and inherit from built-in ones; they are
//! looked up when the first error is raised, so that importing the extension stays cheap.

use arrow_schema::ArrowError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// What a call of the core may fail with. A new source of errors gets a `From` here.
pub(crate) enum Failure {
    /// An exception class of `batchwright.errors`, by name.
    #[expect(dead_code, reason = "constructed once the core has an error type")]
    Batchwright { class: &'static str, message: String },
    /// Arrow data that cannot be taken as it is.
    Value(String),
    /// What Python itself raised.
    Python(PyErr),
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Batchwright { class, message } => {
                Python::attach(|py| instance(py, class, message).unwrap_or_else(|error| error))
            }
            Failure::Value(message) => PyValueError::new_err(message),
            Failure::Python(error) => error,
        }
    }
}

fn instance(py: Python<'_>, class: &str, message: String) -> PyResult<PyErr> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors =
        ERRORS.get_or_try_init(py, || py.import("batchwright.errors").map(Bound::unbind))?;
    Ok(PyErr::from_value(errors.bind(py).getattr(class)?.call1((message,))?))
}
