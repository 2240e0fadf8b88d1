//! Plain results as Arrow columns, built from their pickles without Python.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
};
use arrow_array::{Array, ArrayRef, NullArray, RecordBatch};
use arrow_schema::{Field, Schema};

use crate::Interrupted;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::JobId;
use crate::unpickle::{Plain, Scalar, Unpickler};

use super::Registry;

/// Integers beyond it are not all floats.
const EXACT: i64 = 1 << 53;
/// The column of results that are no dicts.
const RESULT: &str = "result";

enum Values {
    Null,
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

struct ResultColumn {
    name: String,
    rows: usize,
    values: Values,
}

/// Results that no column holds as they are: Python decides.
struct NotPlain;

impl ResultColumn {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rows: 0, values: Values::Null }
    }

    /// Nulls up to `row`.
    fn pad(&mut self, row: usize) {
        let missing = row - self.rows;
        match &mut self.values {
            Values::Null => {}
            Values::Bool(values) => values.append_nulls(missing),
            Values::Int(values) => values.append_nulls(missing),
            Values::Float(values) => values.append_nulls(missing),
            Values::Text(values) => (0..missing).for_each(|_| values.append_null()),
            Values::Bytes(values) => (0..missing).for_each(|_| values.append_null()),
        }
        self.rows = row;
    }

    fn push(&mut self, row: usize, value: Scalar<'_>) -> std::result::Result<(), NotPlain> {
        if value == Scalar::None {
            return Ok(());
        }
        if matches!(self.values, Values::Null) {
            self.values = match value {
                Scalar::Bool(_) => Values::Bool(BooleanBuilder::new()),
                Scalar::Int(_) => Values::Int(Int64Builder::new()),
                Scalar::Float(_) => Values::Float(Float64Builder::new()),
                Scalar::Text(_) => Values::Text(StringBuilder::new()),
                Scalar::Bytes(_) => Values::Bytes(BinaryBuilder::new()),
                Scalar::None => Values::Null,
            };
            self.rows = 0;
        }
        if let (Values::Int(values), Scalar::Float(_)) = (&mut self.values, value) {
            self.values = Values::Float(widened(values)?);
        }
        self.pad(row);
        match (&mut self.values, value) {
            (Values::Bool(values), Scalar::Bool(value)) => values.append_value(value),
            (Values::Int(values), Scalar::Int(value)) => values.append_value(value),
            (Values::Float(values), Scalar::Float(value)) => values.append_value(value),
            (Values::Float(values), Scalar::Int(value)) => values.append_value(exact(value)?),
            (Values::Text(values), Scalar::Text(value)) => values.append_value(value),
            (Values::Bytes(values), Scalar::Bytes(value)) => values.append_value(value),
            _ => return Err(NotPlain),
        }
        self.rows = row + 1;
        Ok(())
    }

    fn finish(mut self, rows: usize) -> (Field, ArrayRef) {
        self.pad(rows);
        let array: ArrayRef = match self.values {
            Values::Null => Arc::new(NullArray::new(rows)),
            Values::Bool(mut values) => Arc::new(values.finish()),
            Values::Int(mut values) => Arc::new(values.finish()),
            Values::Float(mut values) => Arc::new(values.finish()),
            Values::Text(mut values) => Arc::new(values.finish()),
            Values::Bytes(mut values) => Arc::new(values.finish()),
        };
        (Field::new(self.name, array.data_type().clone(), true), array)
    }
}

fn exact(value: i64) -> std::result::Result<f64, NotPlain> {
    if (-EXACT..=EXACT).contains(&value) { Ok(value as f64) } else { Err(NotPlain) }
}

fn widened(values: &mut Int64Builder) -> std::result::Result<Float64Builder, NotPlain> {
    let integers = values.finish();
    let mut floats = Float64Builder::with_capacity(integers.len());
    for value in &integers {
        floats.append_option(value.map(exact).transpose()?);
    }
    Ok(floats)
}

#[derive(Default)]
struct ResultColumns {
    columns: Vec<ResultColumn>,
    rows: usize,
    dicts: Option<bool>,
}

impl ResultColumns {
    fn push(&mut self, result: &Plain<'_, '_>) -> std::result::Result<(), NotPlain> {
        let is_dict = match result {
            // Among dicts None is a row of nulls, among others a null.
            Plain::Scalar(Scalar::None) => self.dicts,
            Plain::Scalar(_) => Some(false),
            Plain::Dict(_) => Some(true),
        };
        if self.dicts.is_some() && self.dicts != is_dict {
            return Err(NotPlain);
        }
        self.dicts = is_dict;
        match result {
            Plain::Scalar(Scalar::None) => {}
            Plain::Scalar(value) => self.set(0, RESULT, *value)?,
            Plain::Dict(pairs) => {
                for (place, (key, value)) in pairs.iter().enumerate() {
                    if *key == "job_id" {
                        return Err(NotPlain);
                    }
                    self.set(place, key, *value)?;
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Keys mostly stand in the same order, so `place` is where to look first.
    fn set(
        &mut self,
        place: usize,
        key: &str,
        value: Scalar<'_>,
    ) -> std::result::Result<(), NotPlain> {
        let is_there = self.columns.get(place).is_some_and(|column| column.name == key);
        let found = if is_there {
            Some(place)
        } else {
            self.columns.iter().position(|column| column.name == key)
        };
        let index = found.unwrap_or_else(|| {
            self.columns.push(ResultColumn::new(key));
            self.columns.len() - 1
        });
        self.columns[index].push(self.rows, value)
    }
}

impl Registry {
    /// Plain results as columns: dicts of scalars by key, others as `result`. None if a result
    /// is anything else, or the types of a column disagree; Python then decides.
    pub fn result_table(
        self: &Arc<Self>,
        ids: &[JobId],
        interrupted: Interrupted<'_>,
    ) -> Result<Option<RecordBatch>> {
        let mut reader = self.results(ids)?;
        let mut columns = ResultColumns::default();
        while let Some(batch) = reader.next_batch()? {
            if interrupted() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            let mut unpickler = Unpickler::default();
            for bytes in &batch {
                let Some(result) = unpickler.read(bytes) else { return Ok(None) };
                if columns.push(&result).is_err() {
                    return Ok(None);
                }
            }
        }
        let rows = columns.rows;
        let finished = columns.columns.into_iter().map(|column| column.finish(rows));
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = finished.unzip();
        if arrays.is_empty() {
            return Ok(None);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        Ok(Some(batch))
    }
}
