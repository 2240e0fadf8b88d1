//! The extension module `batchwright._core`: registration only.

use pyo3::pymodule;

#[pymodule]
mod _core {}
