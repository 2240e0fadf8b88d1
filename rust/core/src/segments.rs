//! Parameter segments: the columns of one definition call, as an immutable Arrow file, and the
//! rows that nodes get of them.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader};
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, TimeUnit};

use crate::error::{Error, ErrorKind, Result};
use crate::pickle::{self, OutOfRange, Plain};

/// Columns that only tables show: the texts of a pickled column's values.
pub const TEXT_SUFFIX: &str = "\x1ftext";

/// One definition call's parameters in memory.
#[derive(Debug)]
pub struct Segment {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// First row of each batch.
    starts: Vec<usize>,
    /// Indices of the columns that jobs receive.
    parameters: Vec<usize>,
}

impl Segment {
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        for field in schema.fields().iter().filter(|field| !is_shown_only(field)) {
            refuse_type(field)?;
        }
        let mut starts = Vec::with_capacity(batches.len());
        let mut rows = 0;
        for batch in &batches {
            starts.push(rows);
            rows += batch.num_rows();
        }
        let fields = schema.fields().iter().enumerate();
        let given = fields.filter(|(_, f)| !is_shown_only(f));
        let parameters = given.map(|(index, _)| index).collect();
        Ok(Self { schema, batches, starts, parameters })
    }

    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The Arrow IPC file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = FileWriter::try_new(&mut bytes, &self.schema).map_err(|e| failed(&e))?;
        self.batches.iter().try_for_each(|b| writer.write(b)).map_err(|e| failed(&e))?;
        writer.finish().map_err(|e| failed(&e))?;
        drop(writer);
        Ok(bytes)
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let reader =
            FileReader::try_new(std::io::Cursor::new(bytes), None).map_err(|e| failed(&e))?;
        let schema = RecordBatchReader::schema(&reader);
        let batches =
            reader.collect::<std::result::Result<Vec<_>, ArrowError>>().map_err(|e| failed(&e))?;
        Self::new(schema, batches)
    }

    /// The pickled tuple of a row's parameters.
    pub fn pickle_row(&self, row: usize) -> Result<Vec<u8>> {
        let batch = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        let (columns, row) = match (self.batches.get(batch), self.starts.get(batch)) {
            (Some(batch), Some(start)) if row - start < batch.num_rows() => (batch, row - start),
            _ => return Err(Error::new(ErrorKind::UnknownJob, format!("there is no row {row}"))),
        };
        let values = self.parameters.iter().map(|index| plain(columns.column(*index), row));
        pickle::tuple(values).map_err(|OutOfRange(days)| {
            let what =
                format!("day {days} after 1970 is beyond Python's datetime (years 1 to 9999)");
            Error::new(ErrorKind::Invalid, what).hint("give such times as text or numbers")
        })
    }
}

/// Whether only tables show the column.
fn is_shown_only(field: &Field) -> bool {
    field.name().ends_with(TEXT_SUFFIX)
}

fn failed(error: &ArrowError) -> Error {
    Error::new(ErrorKind::Corrupt, format!("parameters cannot be read or written: {error}"))
}

fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int64
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::Date32
        | DataType::Timestamp(TimeUnit::Microsecond, None)
        | DataType::Duration(TimeUnit::Microsecond) => true,
        DataType::List(item) | DataType::LargeList(item) => is_supported(item.data_type()),
        DataType::Dictionary(key, value) => {
            **key == DataType::Int32 && is_supported(value) && !value.is_nested()
        }
        _ => false,
    }
}

fn refuse_type(field: &Field) -> Result<()> {
    if is_supported(field.data_type()) {
        return Ok(());
    }
    let what = format!("column `{}` has the Arrow type {}", field.name(), field.data_type());
    Err(Error::new(ErrorKind::Invalid, what).hint("pickle its values"))
}

/// The value at `row`; columns hold supported types only.
fn plain(column: &ArrayRef, row: usize) -> Plain<'_> {
    if column.is_null(row) {
        return Plain::None;
    }
    match column.data_type() {
        DataType::Boolean => Plain::Bool(column.as_boolean().value(row)),
        DataType::Int64 => Plain::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Plain::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Plain::Text(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Plain::Text(column.as_string::<i64>().value(row)),
        DataType::Binary => Plain::Bytes(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Plain::Bytes(column.as_binary::<i64>().value(row)),
        DataType::Date32 => Plain::Date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => {
            Plain::DateTime(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Duration(_) => {
            Plain::TimeDelta(column.as_primitive::<DurationMicrosecondType>().value(row))
        }
        DataType::List(_) => {
            let offsets = column.as_list::<i32>().value_offsets();
            items(
                column.as_list::<i32>().values(),
                offsets[row] as usize,
                offsets[row + 1] as usize,
            )
        }
        DataType::LargeList(_) => {
            let offsets = column.as_list::<i64>().value_offsets();
            items(
                column.as_list::<i64>().values(),
                offsets[row] as usize,
                offsets[row + 1] as usize,
            )
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_dictionary::<Int32Type>();
            plain(dictionary.values(), dictionary.keys().value(row) as usize)
        }
        _ => Plain::None,
    }
}

fn items(values: &ArrayRef, first: usize, end: usize) -> Plain<'_> {
    Plain::List((first..end).map(|row| plain(values, row)).collect())
}
