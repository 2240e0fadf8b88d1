//! One way from failures in Rust to the exception classes of `batchwright.errors`.
//!
//! The classes are Python's, because they carry fields and inherit from built-in ones; they are
//! looked up when the first error is raised, so that importing the extension stays cheap.

use arrow_schema::ArrowError;
use batchwright_core::{Error, ErrorKind};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// What a call may fail with. A new source of errors gets a variant and a `From` here.
pub(crate) enum Failure {
    Core(Error),
    /// Arrow data that cannot be taken as it is.
    Value(String),
    /// What Python itself raised.
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
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
            Failure::Core(error) => exception(&error),
            Failure::Value(message) => PyValueError::new_err(message),
            Failure::Python(error) => error,
        }
    }
}

fn exception(error: &Error) -> PyErr {
    let message = error.to_string();
    // What the operating system said keeps its number: Python picks the subclass by it.
    if let Some(errno) = error.errno() {
        return PyOSError::new_err((errno, message));
    }
    let class = match error.kind() {
        ErrorKind::Io | ErrorKind::StorageFull => return PyOSError::new_err(message),
        ErrorKind::Invalid => return PyValueError::new_err(message),
        ErrorKind::Interrupted => return PyKeyboardInterrupt::new_err(()),
        ErrorKind::Locked => "RegistryLockedError",
        ErrorKind::OwnershipLost => "OwnershipLostError",
        ErrorKind::ReadOnly => "ReadOnlyRegistryError",
        ErrorKind::NotFound => "RegistryNotFoundError",
        ErrorKind::Exists => "RegistryExistsError",
        ErrorKind::Version => "RegistryVersionError",
        ErrorKind::Corrupt => "CorruptRegistryError",
        ErrorKind::UnknownJob => "UnknownJobError",
        ErrorKind::JobsOnSystem => "JobsOnSystemError",
    };
    Python::attach(|py| instance(py, class, message).unwrap_or_else(|failed| failed))
}

fn instance(py: Python<'_>, class: &str, message: String) -> PyResult<PyErr> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors =
        ERRORS.get_or_try_init(py, || py.import("batchwright.errors").map(Bound::unbind))?;
    Ok(PyErr::from_value(errors.bind(py).getattr(class)?.call1((message,))?))
}
