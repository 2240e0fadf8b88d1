//! Experiments: adding, removing, selecting and counting them, and what a node gets of one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use arrow_array::builder::{Int64Builder, UInt32Builder};
use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::experiments::{
    Addition, Asked, Block, Combine, DesignRef, Existing, Group, Grouping, Keys, Wanted,
};
use crate::fs::Published;
use crate::ids::{IdSet, JobId, too_many};
use crate::journal::Record;
use crate::pickle::{self, Plain};
use crate::segments::{Segment, too_far};
use crate::tables::Tables;

use super::maintenance::refuse_unknown;
use super::writing::Durability;
use super::{Inner, Registry};

/// Rows of a table of parameters that lie in one piece.
const PIECE: usize = 1 << 20;

/// The rows of one design in memory.
#[derive(Debug)]
pub struct Design {
    pub segment: Segment,
    keys: Keys,
}

impl Design {
    fn new(name: &str, segment: Segment) -> Self {
        let keys = Keys::new(segment.keys(name));
        Self { segment, keys }
    }

    /// Without rows that equal an earlier one.
    fn distinct(self, name: &str) -> Result<Self> {
        let rows = self.keys.distinct();
        if rows.len() == self.segment.rows() {
            return Ok(self);
        }
        Ok(Self::new(name, self.segment.taken(&rows)?))
    }

    fn is_none(&self) -> bool {
        self.segment.parameters().next().is_none()
    }
}

/// A design that a call names; no table is one row without parameters.
#[derive(Debug)]
pub struct Given {
    pub name: String,
    pub table: Option<Segment>,
}

/// What became of one pair of designs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub problem: String,
    pub algorithm: String,
    pub count: u32,
    pub known: u64,
    /// Experiments that equal others of the same call.
    pub equal: u64,
}

/// A design of a call on its way to disk.
struct Coming {
    name: String,
    design: Arc<Design>,
    /// Rows as they were given.
    rows: u64,
    stored: Option<DesignRef>,
}

/// A block with the rows of its designs.
#[derive(Debug)]
pub(super) struct Rows {
    block: Block,
    problem: Arc<Design>,
    algorithm: Arc<Design>,
}

impl Rows {
    pub(super) fn pickle(&self, job: JobId) -> Result<Vec<u8>> {
        let cell = self.block.cell_of(job);
        let problem = self.problem.segment.values(cell.problem as usize)?;
        let algorithm = self.algorithm.segment.values(cell.algorithm as usize)?;
        let values =
            [Plain::Tuple(problem), Plain::Tuple(algorithm), Plain::Int(i64::from(cell.repl))];
        pickle::tuple(values.into_iter()).map_err(too_far)
    }
}

impl Registry {
    pub fn put_problem(&self, name: &str, spec: &str) -> Result<()> {
        self.write_one(Record::Problem { name: name.to_owned(), spec: Some(spec.to_owned()) })
    }

    pub fn put_algorithm(&self, name: &str, spec: &str) -> Result<()> {
        self.write_one(Record::Algorithm { name: name.to_owned(), spec: Some(spec.to_owned()) })
    }

    /// Takes problems and algorithms away, with all their experiments. Returns those.
    pub fn remove_named(&self, problems: &[String], algorithms: &[String]) -> Result<IdSet> {
        let mut inner = self.lock_to_write()?;
        let uses = |block: &&Block| {
            problems.contains(&block.problem) || algorithms.contains(&block.algorithm)
        };
        let blocks = inner.tables.blocks.iter().filter(uses);
        let ids = blocks.fold(IdSet::default(), |all, block| all.union(&block.ids()));
        let ids = ids.difference(&inner.tables.removed);
        refuse_busy(&inner.tables, &ids)?;
        let mut records = vec![Record::Removed(ids.clone())];
        let gone = |name: &String| Record::Problem { name: name.clone(), spec: None };
        records.extend(problems.iter().map(gone));
        let gone = |name: &String| Record::Algorithm { name: name.clone(), spec: None };
        records.extend(algorithms.iter().map(gone));
        self.write(&mut inner, &records, Durability::Now)?;
        self.save_if_due(&mut inner);
        Ok(ids)
    }

    /// The jobs must exist and not be on the system.
    pub fn remove_experiments(&self, ids: &IdSet) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        refuse_unknown(&inner.tables, ids)?;
        refuse_busy(&inner.tables, ids)?;
        self.write(&mut inner, &[Record::Removed(ids.clone())], Durability::Now)?;
        self.save_if_due(&mut inner);
        Ok(())
    }

    /// Adds what is new of all pairs of designs, in this order; all of it or nothing. Each
    /// problem comes with its number of replications. Returns the first id and what became of
    /// each pair.
    pub fn add_experiments(
        &self,
        problems: Vec<(Given, u32)>,
        algorithms: Vec<Given>,
        combine: Combine,
    ) -> Result<(JobId, Vec<Added>)> {
        let (problems, repls): (Vec<Given>, Vec<u32>) = problems.into_iter().unzip();
        let mut problems = coming(problems, combine)?;
        let mut algorithms = coming(algorithms, combine)?;
        let mut inner = self.lock_to_write()?;
        let by_name = blocks_by_name(&inner.tables);
        let first = inner.tables.n_jobs() + 1;
        let mut next = u64::from(first);
        let mut new: Vec<(usize, usize, Addition, JobId)> = Vec::new();
        let mut added = Vec::with_capacity(problems.len() * algorithms.len());
        for (p, (problem, repls)) in problems.iter().zip(&repls).enumerate() {
            for (a, algorithm) in algorithms.iter().enumerate() {
                let names = (problem.name.as_str(), algorithm.name.as_str());
                let places = by_name.get(&names).map_or(&[][..], Vec::as_slice);
                let found =
                    self.addition(&inner.tables, places, (problem, algorithm), combine, *repls)?;
                added.push(found.1);
                let count = u64::from(found.0.count);
                if count > 0 {
                    new.push((p, a, found.0, next as JobId));
                }
                next += count;
                if next > u64::from(u32::MAX) {
                    return Err(too_many((next - u64::from(first)) as usize));
                }
            }
        }
        drop(by_name);
        let mut blocks = Vec::with_capacity(new.len());
        for (p, a, addition, id) in new {
            blocks.push(Block {
                first: id,
                count: addition.count,
                problem: problems[p].name.clone(),
                algorithm: algorithms[a].name.clone(),
                problem_design: self.store_design(&mut inner, &mut problems[p])?,
                algorithm_design: self.store_design(&mut inner, &mut algorithms[a])?,
                shape: addition.shape,
                never: addition.never,
            });
        }
        if !blocks.is_empty() {
            self.write(&mut inner, &[Record::Experiments(blocks)], Durability::Now)?;
            self.save_if_due(&mut inner);
        }
        Ok((first, added))
    }

    fn addition(
        &self,
        tables: &Tables,
        places: &[usize],
        (problem, algorithm): (&Coming, &Coming),
        combine: Combine,
        repls: u32,
    ) -> Result<(Addition, Added)> {
        let rows: Vec<Rows> =
            places.iter().map(|place| self.rows_of(tables, *place)).collect::<Result<_>>()?;
        let existing: Vec<Existing<'_>> = rows
            .iter()
            .map(|rows| Existing {
                block: &rows.block,
                problems: &rows.problem.keys,
                algorithms: &rows.algorithm.keys,
            })
            .collect();
        let asked = Asked {
            combine,
            problems: &problem.design.keys,
            algorithms: &algorithm.design.keys,
            repls,
        };
        let addition = asked
            .addition(&existing, &tables.removed)
            .ok_or_else(|| too_many(u32::MAX as usize))?;
        let given = match combine {
            Combine::Crossprod => problem.rows * algorithm.rows,
            Combine::Bind => problem.rows.max(algorithm.rows),
        };
        let distinct = addition.known + u64::from(addition.count);
        let added = Added {
            problem: problem.name.clone(),
            algorithm: algorithm.name.clone(),
            count: addition.count,
            known: addition.known,
            equal: given * u64::from(repls) - distinct,
        };
        Ok((addition, added))
    }

    /// Publishes a design that has no file yet.
    fn store_design(&self, inner: &mut Inner, coming: &mut Coming) -> Result<DesignRef> {
        if let Some(stored) = coming.stored {
            return Ok(stored);
        }
        let mut stored = DesignRef::NONE;
        if !coming.design.is_none() {
            let epoch = inner.epoch;
            let writer = inner.writer()?;
            let number = writer.next_definition;
            writer.next_definition += 1;
            let path = self.layout.definition(epoch, number);
            let bytes = coming.design.segment.to_bytes()?;
            if self.fs.publish(&path, &bytes)? == Published::Lost {
                let what = format!("`{}` is there already", path.display());
                return Err(Error::new(ErrorKind::OwnershipLost, what));
            }
            stored = DesignRef { epoch, number, rows: coming.design.segment.rows() as u32 };
        }
        let mut designs = self.designs.lock().unwrap_or_else(PoisonError::into_inner);
        if stored != DesignRef::NONE {
            designs.insert(stored, coming.design.clone());
        }
        coming.stored = Some(stored);
        Ok(stored)
    }

    /// The rows of a design, read once.
    fn design(&self, name: &str, stored: DesignRef) -> Result<Arc<Design>> {
        if stored == DesignRef::NONE {
            return Ok(Arc::new(Design::new(name, Segment::empty_row())));
        }
        let mut designs = self.designs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(design) = designs.get(&stored) {
            return Ok(design.clone());
        }
        let path = self.layout.definition(stored.epoch, stored.number);
        let segment = Segment::from_bytes(self.fs.tail(&path, 0)?)
            .map_err(|error| Error::corrupt(&path, 0, error))?;
        if segment.rows() != stored.rows as usize {
            let what = format!("{} rows instead of {}", segment.rows(), stored.rows);
            return Err(Error::corrupt(&path, 0, what));
        }
        let design = Arc::new(Design::new(name, segment));
        designs.insert(stored, design.clone());
        Ok(design)
    }

    pub(super) fn rows_of(&self, tables: &Tables, place: usize) -> Result<Rows> {
        let block = tables.blocks.get(place).ok_or_else(|| no_block(place))?;
        Ok(Rows {
            problem: self.design(&block.problem, block.problem_design)?,
            algorithm: self.design(&block.algorithm, block.algorithm_design)?,
            block: block.clone(),
        })
    }

    /// A block with its designs.
    fn rows(&self, place: usize) -> Result<Rows> {
        self.rows_of(&self.lock().tables, place)
    }

    /// The rows of a block's designs, the problem's and the algorithm's.
    pub fn designs_of(&self, place: usize) -> Result<(Arc<Design>, Arc<Design>)> {
        let rows = self.rows(place)?;
        Ok((rows.problem, rows.algorithm))
    }

    /// What the node is told about the experiments of a block, as JSON.
    pub(super) fn call_of(&self, tables: &Tables, place: usize) -> Result<Value> {
        let rows = self.rows_of(tables, place)?;
        let problem = tables.problems.get(&rows.block.problem);
        let algorithm = tables.algorithms.get(&rows.block.algorithm);
        Ok(json!({
            "kind": "experiment",
            "problem": side(&rows.block.problem, problem, &rows.problem.segment)?,
            "algorithm": side(&rows.block.algorithm, algorithm, &rows.algorithm.segment)?,
        }))
    }

    /// The jobs of a block that fit, among `ids` if given.
    pub fn select_experiments(
        &self,
        place: usize,
        wanted: &Wanted<'_>,
        ids: Option<&IdSet>,
    ) -> Result<IdSet> {
        let inner = self.lock();
        let block = inner.tables.blocks.get(place).ok_or_else(|| no_block(place))?;
        let (rows, given) = (&block.shape, |mask: Option<&[bool]>| mask.map(<[bool]>::len));
        let fits = given(wanted.problems).is_none_or(|n| n == rows.problems as usize)
            && given(wanted.algorithms).is_none_or(|n| n == rows.algorithms as usize)
            && given(wanted.pairs).is_none_or(|n| n as u64 == rows.pairs());
        if !fits {
            return Err(Error::new(ErrorKind::Invalid, "a mask has the wrong number of rows"));
        }
        let found = block.select(wanted).difference(&inner.tables.removed);
        Ok(ids.map_or(found.clone(), |ids| found.intersection(ids)))
    }

    /// The groups of a block's jobs, among `ids` if given: `problem`, `algorithm` (the codes
    /// given for the rows), `repl`, `count` and `first`.
    pub fn group_experiments(
        &self,
        place: usize,
        grouping: &Grouping<'_>,
        ids: Option<&IdSet>,
    ) -> Result<RecordBatch> {
        let inner = self.lock();
        let block = inner.tables.blocks.get(place).ok_or_else(|| no_block(place))?;
        let fits = grouping.problems.len() == block.shape.problems as usize
            && grouping.algorithms.len() == block.shape.algorithms as usize;
        if !fits {
            return Err(Error::new(ErrorKind::Invalid, "not one code for each row"));
        }
        let all = block.ids();
        let removed = &inner.tables.removed;
        let chosen = match ids {
            None if removed.is_disjoint(&all) => None,
            None => Some(all.difference(removed)),
            Some(ids) if all.is_subset(ids) && removed.is_disjoint(&all) => None,
            Some(ids) => Some(all.intersection(ids).difference(removed)),
        };
        Ok(groups_table(&block.groups(chosen.as_ref(), grouping)))
    }

    /// The parameters of a block's jobs, a row each: `job_id`, `problem`, `algorithm`, `repl`,
    /// then the columns of both designs with `prob_pars.` and `algo_pars.` before their names.
    pub fn experiment_table(
        &self,
        place: usize,
        ids: Option<&IdSet>,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let rows = self.rows(place)?;
        let all = rows.block.ids();
        let ids = ids.map_or(all.clone(), |ids| all.intersection(ids));
        let schema = expanded_schema(&rows);
        let designs = [&rows.problem.segment, &rows.algorithm.segment].map(whole);
        let [problem, algorithm] = designs;
        let (problem, algorithm) = (problem?, algorithm?);
        let mut piece = Piece::default();
        let mut jobs = ids.iter();
        let mut batches = Vec::new();
        let mut failure = None;
        let mut flush = |piece: &mut Piece| match piece.batch(&rows, &schema, &problem, &algorithm)
        {
            Ok(batch) => batches.push(batch),
            Err(error) => failure = failure.take().or(Some(error)),
        };
        rows.block.cells_of(&ids, |number| {
            let cell = rows.block.shape.cell(number);
            piece.jobs.push(i64::from(jobs.next().unwrap_or_default()));
            piece.problems.push(cell.problem);
            piece.algorithms.push(cell.algorithm);
            piece.repls.push(i64::from(cell.repl));
            if piece.jobs.len() == PIECE {
                flush(&mut piece);
            }
        });
        if !piece.jobs.is_empty() {
            flush(&mut piece);
        }
        match failure {
            Some(error) => Err(error),
            None => Ok((schema, batches)),
        }
    }
}

/// Rows of the table of parameters, by the rows of the designs.
#[derive(Default)]
struct Piece {
    jobs: Vec<i64>,
    problems: Vec<u32>,
    algorithms: Vec<u32>,
    repls: Vec<i64>,
}

impl Piece {
    fn batch(
        &mut self,
        rows: &Rows,
        schema: &SchemaRef,
        problem: &RecordBatch,
        algorithm: &RecordBatch,
    ) -> Result<RecordBatch> {
        let taken = std::mem::take(self);
        let count = taken.jobs.len();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(taken.jobs)),
            repeated(&rows.block.problem, count),
            repeated(&rows.block.algorithm, count),
            Arc::new(Int64Array::from(taken.repls)),
        ];
        for (design, places) in [(problem, taken.problems), (algorithm, taken.algorithms)] {
            let places = UInt32Array::from(places);
            for column in design.columns() {
                let taken = arrow_select::take::take(column, &places, None);
                columns.push(taken.map_err(|e| invalid(e.to_string()))?);
            }
        }
        RecordBatch::try_new(schema.clone(), columns).map_err(|e| invalid(e.to_string()))
    }
}

/// One text for all rows.
fn repeated(text: &str, count: usize) -> ArrayRef {
    let values = Arc::new(StringArray::from(vec![text]));
    let keys = Int32Array::from(vec![0; count]);
    Arc::new(DictionaryArray::new(keys, values))
}

fn whole(segment: &Segment) -> Result<RecordBatch> {
    arrow_select::concat::concat_batches(&segment.schema, &segment.batches)
        .map_err(|e| invalid(e.to_string()))
}

fn expanded_schema(rows: &Rows) -> SchemaRef {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = vec![
        Arc::new(Field::new("job_id", DataType::Int64, true)),
        Arc::new(Field::new("problem", text.clone(), true)),
        Arc::new(Field::new("algorithm", text, true)),
        Arc::new(Field::new("repl", DataType::Int64, true)),
    ];
    let sides = [("prob_pars.", &rows.problem), ("algo_pars.", &rows.algorithm)];
    for (prefix, design) in sides {
        let own = design.segment.schema.fields().iter();
        let named = own.map(|f| f.as_ref().clone().with_name(format!("{prefix}{}", f.name())));
        fields.extend(named.map(|field| Arc::new(field.with_nullable(true))));
    }
    Arc::new(Schema::new(fields))
}

fn groups_table(groups: &[Group]) -> RecordBatch {
    let mut problem = UInt32Builder::new();
    let mut algorithm = UInt32Builder::new();
    let mut repl = Int64Builder::new();
    let mut count = Int64Builder::new();
    let mut first = Int64Builder::new();
    for group in groups {
        problem.append_value(group.problem);
        algorithm.append_value(group.algorithm);
        repl.append_value(i64::from(group.repl));
        count.append_value(group.count as i64);
        first.append_value(i64::from(group.first));
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("problem", Arc::new(problem.finish())),
        ("algorithm", Arc::new(algorithm.finish())),
        ("repl", Arc::new(repl.finish())),
        ("count", Arc::new(count.finish())),
        ("first", Arc::new(first.finish())),
    ];
    RecordBatch::try_from_iter(columns).expect("all columns have one row a group")
}

/// One side of an experiment as the node is told of it.
fn side(name: &str, spec: Option<&String>, design: &Segment) -> Result<Value> {
    let spec = spec.map_or("{}", String::as_str);
    let mut side: Value = serde_json::from_str(spec)
        .map_err(|e| invalid(format!("what is stored of `{name}` is not JSON: {e}")))?;
    let (names, pickled): (Vec<&str>, Vec<bool>) = design.parameters().unzip();
    side["name"] = json!(name);
    side["names"] = json!(names);
    side["pickled"] = json!(pickled);
    side["ragged"] = json!(design.is_ragged());
    Ok(side)
}

fn refuse_busy(tables: &Tables, ids: &IdSet) -> Result<()> {
    match ids.iter().find(|job| tables.jobs.stage_of(*job).is_unfinished()) {
        None => Ok(()),
        Some(job) => {
            let what = format!("job {job} is on the system");
            Err(Error::new(ErrorKind::JobsOnSystem, what).hint("kill_jobs first"))
        }
    }
}

fn coming(given: Vec<Given>, combine: Combine) -> Result<Vec<Coming>> {
    let one = |given: Given| {
        let segment = given.table.unwrap_or_else(Segment::empty_row);
        let rows = segment.rows() as u64;
        let design = Design::new(&given.name, segment);
        let design = match combine {
            Combine::Crossprod => design.distinct(&given.name)?,
            Combine::Bind => design,
        };
        Ok(Coming { name: given.name, design: Arc::new(design), rows, stored: None })
    };
    given.into_iter().map(one).collect()
}

fn blocks_by_name(tables: &Tables) -> HashMap<(&str, &str), Vec<usize>> {
    let mut found: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (block, place) in tables.blocks.iter().zip(0..) {
        found.entry((&block.problem, &block.algorithm)).or_default().push(place);
    }
    found
}

fn no_block(place: usize) -> Error {
    invalid(format!("there are no experiments at place {place}"))
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}
