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
use crate::keys::{self, KEY_SUFFIX};
use crate::pickle::{self, OutOfRange, Plain};
use crate::seal::{self, Blank, Seal};

/// Columns that only tables show: the texts of a pickled column's values.
pub const TEXT_SUFFIX: &str = "\x1ftext";
/// Columns that tell which rows have the parameter at all, where some lack it.
pub const GIVEN_SUFFIX: &str = "\x1fgiven";
/// The metadata of a column whose values are pickles.
const PICKLED: &str = "pickled";

/// One definition call's parameters in memory.
#[derive(Debug)]
pub struct Segment {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// First row of each batch.
    starts: Vec<usize>,
    /// Indices of the columns that jobs receive.
    parameters: Vec<usize>,
    /// For each of them the column of its keys, and the one that tells which rows have it.
    beside: Vec<(Option<usize>, Option<usize>)>,
}

fn is_beside(name: &str) -> bool {
    [TEXT_SUFFIX, KEY_SUFFIX, GIVEN_SUFFIX].iter().any(|suffix| name.ends_with(suffix))
}

impl Segment {
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        for field in schema.fields().iter().filter(|field| !field.name().ends_with(TEXT_SUFFIX)) {
            refuse_type(field)?;
        }
        let mut starts = Vec::with_capacity(batches.len());
        let mut rows = 0;
        for batch in &batches {
            starts.push(rows);
            rows += batch.num_rows();
        }
        let fields = schema.fields().iter().enumerate();
        let given = fields.filter(|(_, f)| !is_beside(f.name()));
        let parameters: Vec<usize> = given.map(|(index, _)| index).collect();
        let beside = parameters.iter().map(|index| {
            let name = schema.field(*index).name();
            let column = |suffix| schema.index_of(&format!("{name}{suffix}")).ok();
            (column(KEY_SUFFIX), column(GIVEN_SUFFIX))
        });
        let beside = beside.collect();
        Ok(Self { schema, batches, starts, parameters, beside })
    }

    /// One row without parameters.
    pub fn empty_row() -> Self {
        let schema = SchemaRef::new(arrow_schema::Schema::empty());
        let one = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
        let batch = RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &one);
        Self::new(schema, vec![batch.expect("no column is wrong")]).expect("no type is refused")
    }

    /// These rows alone, in one batch.
    pub fn taken(&self, rows: &[u32]) -> Result<Self> {
        let all = arrow_select::concat::concat_batches(&self.schema, &self.batches);
        let rows = arrow_array::UInt32Array::from(rows.to_vec());
        let taken = all.and_then(|all| arrow_select::take::take_record_batch(&all, &rows));
        Self::new(self.schema.clone(), vec![taken.map_err(|e| failed(&e))?])
    }

    /// The names of the parameters, and which are pickled.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, bool)> {
        self.parameters.iter().map(|index| {
            let field = self.schema.field(*index);
            (field.name().as_str(), field.metadata().contains_key(PICKLED))
        })
    }

    /// Whether some rows lack a parameter that others have.
    pub fn is_ragged(&self) -> bool {
        self.beside.iter().any(|(_, given)| given.is_some())
    }

    /// What identifies each row, under a name.
    pub fn keys(&self, name: &str) -> Vec<u128> {
        let named = |at: &usize| self.schema.field(self.parameters[*at]).name();
        let mut order: Vec<usize> = (0..self.parameters.len()).collect();
        order.sort_unstable_by_key(|at| named(at));
        let mut found = Vec::with_capacity(self.rows());
        for batch in &self.batches {
            for row in 0..batch.num_rows() {
                let parameters = order.iter().filter_map(|at| {
                    let (key, given) = self.beside[*at];
                    if !is_given(batch, given, row) {
                        return None;
                    }
                    let key = match key.map(|index| plain(batch.column(index), row)) {
                        Some(Plain::Bytes(bytes)) => bytes.try_into().ok()?,
                        _ => keys::of_value(&plain(batch.column(self.parameters[*at]), row)),
                    };
                    Some((named(at).as_str(), key))
                });
                found.push(keys::of_row(name, parameters));
            }
        }
        found
    }

    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The Arrow IPC file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = FileWriter::try_new(&mut bytes, &self.schema).map_err(|e| failed(&e))?;
        self.batches.iter().try_for_each(|b| writer.write(b)).map_err(|e| failed(&e))?;
        let blank = Blank::draw();
        writer.write_metadata(seal::KEY, blank.text());
        writer.finish().map_err(|e| failed(&e))?;
        drop(writer);
        blank.fill(&mut bytes);
        Ok(bytes)
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        if seal::check(&bytes) == Seal::Broken {
            let what = "parameters do not match their checksum";
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        let reader =
            FileReader::try_new(std::io::Cursor::new(bytes), None).map_err(|e| failed(&e))?;
        let schema = RecordBatchReader::schema(&reader);
        let batches =
            reader.collect::<std::result::Result<Vec<_>, ArrowError>>().map_err(|e| failed(&e))?;
        Self::new(schema, batches)
    }

    /// The pickled tuple of a row's parameters.
    pub fn pickle_row(&self, row: usize) -> Result<Vec<u8>> {
        pickle::tuple(self.values(row)?.into_iter()).map_err(too_far)
    }

    /// A row's parameters. One that it lacks is an empty tuple, which no parameter is.
    pub(crate) fn values(&self, row: usize) -> Result<Vec<Plain<'_>>> {
        let batch = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        let (columns, row) = match (self.batches.get(batch), self.starts.get(batch)) {
            (Some(batch), Some(start)) if row - start < batch.num_rows() => (batch, row - start),
            _ => return Err(Error::new(ErrorKind::UnknownJob, format!("there is no row {row}"))),
        };
        let value = |(index, (_, given)): (&usize, &(Option<usize>, Option<usize>))| {
            if !is_given(columns, *given, row) {
                return Plain::Tuple(Vec::new());
            }
            plain(columns.column(*index), row)
        };
        Ok(self.parameters.iter().zip(&self.beside).map(value).collect())
    }
}

/// Whether a row has a parameter, by the column that tells it.
fn is_given(batch: &RecordBatch, given: Option<usize>, row: usize) -> bool {
    given.is_none_or(|index| plain(batch.column(index), row) == Plain::Bool(true))
}

pub(crate) fn too_far(OutOfRange(days): OutOfRange) -> Error {
    let what = format!("day {days} after 1970 is beyond Python's datetime (years 1 to 9999)");
    Error::new(ErrorKind::Invalid, what).hint("give such times as text or numbers")
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
