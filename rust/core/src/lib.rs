//! Job tables, journals, definitions and queries of batchwright, without Python.
