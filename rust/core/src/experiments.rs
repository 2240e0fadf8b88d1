//! Experiments as blocks: two lists of design rows, the rule that combines them and a range of
//! replications. Ten million of them cost what the rows cost.
//!
//! The cells of a block are numbered from 1, by pair of rows and then by replication. Ids go to
//! the cells that are made, without gaps, so that a job's id is its cell's rank among them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::ids::{IdSet, JobId};

/// The rows of one design, a file of their own; epoch 0: one row without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DesignRef {
    /// `defs/<epoch>-<number>.arrow`.
    pub epoch: u64,
    pub number: u32,
    pub rows: u32,
}

impl DesignRef {
    pub const NONE: Self = Self { epoch: 0, number: 0, rows: 1 };
}

/// How rows of two designs meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// Each with each, the problem's rows slowest.
    Crossprod,
    /// Row by row, the shorter one again from its start.
    Bind,
}

/// Rows and replications that are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub combine: Combine,
    pub problems: u32,
    pub algorithms: u32,
    pub first_repl: u32,
    pub last_repl: u32,
}

/// One experiment of a block, by the rows it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub problem: u32,
    pub algorithm: u32,
    pub repl: u32,
}

impl Shape {
    pub fn pairs(&self) -> u64 {
        let (problems, algorithms) = (u64::from(self.problems), u64::from(self.algorithms));
        match self.combine {
            Combine::Crossprod => problems * algorithms,
            Combine::Bind => problems.max(algorithms),
        }
    }

    pub fn repls(&self) -> u32 {
        self.last_repl - self.first_repl + 1
    }

    /// None where ids could not number them.
    pub fn cells(&self) -> Option<u32> {
        u32::try_from(self.pairs().checked_mul(u64::from(self.repls()))?).ok()
    }

    /// The rows of the pair with this number, from 0.
    pub fn rows(&self, pair: u32) -> (u32, u32) {
        match self.combine {
            Combine::Crossprod => (pair / self.algorithms, pair % self.algorithms),
            Combine::Bind => (pair % self.problems, pair % self.algorithms),
        }
    }

    pub fn cell(&self, number: u32) -> Cell {
        let (pair, repl) = ((number - 1) / self.repls(), (number - 1) % self.repls());
        let (problem, algorithm) = self.rows(pair);
        Cell { problem, algorithm, repl: self.first_repl + repl }
    }

    /// The cells of some replications of a pair, first and last.
    pub fn span(&self, pair: u32, first_repl: u32, last_repl: u32) -> (u32, u32) {
        let before = pair * self.repls() + 1;
        (before + first_repl - self.first_repl, before + last_repl - self.first_repl)
    }
}

/// Experiments of one problem and one algorithm that one call has added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub first: JobId,
    pub count: u32,
    pub problem: String,
    pub algorithm: String,
    pub problem_design: DesignRef,
    pub algorithm_design: DesignRef,
    pub shape: Shape,
    /// Cells that were not made: known before, or equal to others of the call.
    pub never: IdSet,
}

impl Block {
    pub fn last(&self) -> JobId {
        self.first + self.count - 1
    }

    pub fn ids(&self) -> IdSet {
        IdSet::range(self.first, self.last())
    }

    fn cells(&self) -> u32 {
        self.shape.cells().unwrap_or(u32::MAX)
    }

    /// All cells that have an id.
    pub fn made(&self) -> IdSet {
        IdSet::range(1, self.cells()).difference(&self.never)
    }

    /// How many cells up to this one have an id.
    fn made_up_to(&self, cell: u32) -> u32 {
        cell - self.never.rank(cell)
    }

    /// The ids of the cells from `first` to `last`, which are a range themselves.
    pub fn ids_of(&self, (first, last): (u32, u32)) -> Option<(JobId, JobId)> {
        let (before, up_to) = (self.made_up_to(first - 1), self.made_up_to(last));
        (before < up_to).then(|| (self.first + before, self.first + up_to - 1))
    }

    /// The cell of one job.
    pub fn cell_of(&self, job: JobId) -> Cell {
        self.shape.cell(self.number_of(job))
    }

    fn number_of(&self, job: JobId) -> u32 {
        let place = job - self.first;
        if self.never.is_empty() {
            return place + 1;
        }
        // The made cells up to it are one more than its place; their number grows with the cell.
        let (mut low, mut high) = (place + 1, self.cells());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.made_up_to(middle) > place {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// The cells of those of `ids` that lie in the block, ascending.
    pub fn cells_of(&self, ids: &IdSet, mut each: impl FnMut(u32)) {
        let made = (!self.never.is_empty()).then(|| self.made());
        for (first, last) in ids.ranges_within(self.first, self.last()) {
            let (place, count) = (first - self.first, last - first + 1);
            match &made {
                None => (place + 1..=place + count).for_each(&mut each),
                Some(made) => {
                    let Some(start) = made.select(place) else { return };
                    made.iter_from(start).take(count as usize).for_each(&mut each);
                }
            }
        }
    }

    /// Cells whose jobs exist; none if that is all of them.
    fn live(&self, removed: &IdSet) -> Option<IdSet> {
        let gone = removed.intersection(&self.ids());
        if gone.is_empty() {
            return (!self.never.is_empty()).then(|| self.made());
        }
        let mut cells = Vec::with_capacity(gone.len() as usize);
        self.cells_of(&gone, |cell| cells.push(cell));
        Some(self.made().difference(&IdSet::from_ascending(cells)))
    }

    /// The ids of all cells whose rows and replication are wanted; none stands for all.
    pub fn select(&self, wanted: &Wanted<'_>) -> IdSet {
        let mut found = Ascending::default();
        let whole = (self.shape.first_repl, self.shape.last_repl);
        if u64::from(self.count) * 8 < u64::from(self.cells()) {
            return self.select_singly(wanted);
        }
        let repls: Vec<(u32, u32)> = match wanted.repls {
            None => vec![whole],
            Some(repls) => repls.ranges_within(whole.0, whole.1).collect(),
        };
        let is_whole = repls == [whole];
        let mut add = |first: u32, last: u32| {
            if is_whole {
                let cells = (self.shape.span(first, whole.0, whole.0).0, {
                    self.shape.span(last, whole.1, whole.1).1
                });
                found.push(self.ids_of(cells));
                return;
            }
            for pair in first..=last {
                for (from, to) in &repls {
                    found.push(self.ids_of(self.shape.span(pair, *from, *to)));
                }
            }
        };
        self.wanted_pairs(wanted, &mut add);
        found.finish()
    }

    /// The same, job by job: where few cells are made, ranges of cells say little.
    fn select_singly(&self, wanted: &Wanted<'_>) -> IdSet {
        let fits = |mask: Option<&[bool]>, row: u32| mask.is_none_or(|mask| mask[row as usize]);
        let mut found = Ascending::default();
        let mut job = self.first;
        self.cells_of(&self.ids(), |number| {
            let cell = self.shape.cell(number);
            let is_wanted = fits(wanted.problems, cell.problem)
                && fits(wanted.algorithms, cell.algorithm)
                && fits(wanted.pairs, (number - 1) / self.shape.repls())
                && wanted.repls.is_none_or(|repls| repls.contains(cell.repl));
            found.push(is_wanted.then_some((job, job)));
            job += 1;
        });
        found.finish()
    }

    /// Runs of wanted pairs, ascending.
    fn wanted_pairs(&self, wanted: &Wanted<'_>, add: &mut impl FnMut(u32, u32)) {
        let fits = |mask: Option<&[bool]>, row: u32| mask.is_none_or(|mask| mask[row as usize]);
        if self.shape.combine == Combine::Bind || wanted.pairs.is_some() {
            let is_wanted = |pair: u32| {
                let (problem, algorithm) = self.shape.rows(pair);
                fits(wanted.problems, problem)
                    && fits(wanted.algorithms, algorithm)
                    && fits(wanted.pairs, pair)
            };
            return runs(self.shape.pairs() as u32, is_wanted).for_each(|(a, b)| add(a, b));
        }
        let columns: Vec<_> =
            runs(self.shape.algorithms, |row| fits(wanted.algorithms, row)).collect();
        for problem in (0..self.shape.problems).filter(|row| fits(wanted.problems, *row)) {
            let start = problem * self.shape.algorithms;
            for (first, last) in &columns {
                add(start + first, start + last);
            }
        }
    }
}

/// Groups of experiments: a code a row of each design, and whether replications are apart.
#[derive(Clone, Copy, Debug)]
pub struct Grouping<'a> {
    pub problems: &'a [u32],
    pub algorithms: &'a [u32],
    pub by_repl: bool,
}

/// One group of a block that has experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub problem: u32,
    pub algorithm: u32,
    /// 0 where replications are not apart.
    pub repl: u32,
    pub count: u64,
    /// Its first job.
    pub first: JobId,
}

impl Block {
    /// The groups of those of `ids` that lie in the block, by their first job; none: of all.
    pub fn groups(&self, ids: Option<&IdSet>, grouping: &Grouping<'_>) -> Vec<Group> {
        let ids = ids.map(|ids| ids.intersection(&self.ids()));
        let mut groups = Groups::default();
        let is_product = self.never.is_empty() && self.shape.combine == Combine::Crossprod;
        match &ids {
            None if is_product => self.group_product(grouping, &mut groups),
            None => self.group_jobs(&self.ids(), grouping, &mut groups),
            // What is left out may be much less than what is left.
            Some(ids) if is_product && u64::from(self.count) - ids.len() < ids.len() => {
                let mut others = Groups::default();
                self.group_product(grouping, &mut groups);
                self.group_jobs(&self.ids().difference(ids), grouping, &mut others);
                groups.retain(|codes, (count, _)| {
                    *count -= others.get(codes).map_or(0, |(others, _)| *others);
                    *count > 0
                });
            }
            Some(ids) => self.group_jobs(ids, grouping, &mut groups),
        }
        let group = |((problem, algorithm, repl), (count, first))| Group {
            problem,
            algorithm,
            repl,
            count,
            first,
        };
        let mut found: Vec<Group> = groups.into_iter().map(group).collect();
        found.sort_unstable_by_key(|group| group.first);
        found
    }

    /// Job by job. Neighbours are mostly of one group, which is looked up once.
    fn group_jobs(&self, ids: &IdSet, grouping: &Grouping<'_>, groups: &mut Groups) {
        let jobs = ids.ranges_within(self.first, self.last()).flat_map(|(a, b)| a..=b);
        let mut jobs = jobs.fuse();
        let mut held: Option<(Codes, (u64, JobId))> = None;
        let mut keep = |(codes, (count, first))| {
            groups.entry(codes).or_insert((0, first)).0 += count;
        };
        self.cells_of(ids, |number| {
            let cell = self.shape.cell(number);
            let job = jobs.next().unwrap_or_default();
            let codes = (
                grouping.problems[cell.problem as usize],
                grouping.algorithms[cell.algorithm as usize],
                if grouping.by_repl { cell.repl } else { 0 },
            );
            match &mut held {
                Some((same, (count, _))) if *same == codes => *count += 1,
                held => {
                    held.replace((codes, (1, job))).map(&mut keep);
                }
            }
        });
        held.map(keep);
    }

    /// Of a product without gaps, from the rows alone.
    fn group_product(&self, grouping: &Grouping<'_>, groups: &mut Groups) {
        let (problems, algorithms) = (counted(grouping.problems), counted(grouping.algorithms));
        for (problem, first_problem, problem_rows) in &problems {
            for (algorithm, first_algorithm, algorithm_rows) in &algorithms {
                let pairs = problem_rows * algorithm_rows;
                let pair = first_problem * self.shape.algorithms + first_algorithm;
                let first = self.first + pair * self.shape.repls();
                if !grouping.by_repl {
                    let count = pairs * u64::from(self.shape.repls());
                    groups.insert((*problem, *algorithm, 0), (count, first));
                    continue;
                }
                for (repl, job) in (self.shape.first_repl..=self.shape.last_repl).zip(first..) {
                    groups.insert((*problem, *algorithm, repl), (pairs, job));
                }
            }
        }
    }
}

/// Of a problem's row, of an algorithm's row, and a replication.
type Codes = (u32, u32, u32);

/// Codes to count and first job.
type Groups = HashMap<Codes, (u64, JobId)>;

/// Each code with the first row that has it, and how many have it.
fn counted(codes: &[u32]) -> Vec<(u32, u32, u64)> {
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut found: Vec<(u32, u32, u64)> = Vec::new();
    for (row, code) in (0..).zip(codes) {
        let place = *places.entry(*code).or_insert(found.len());
        match found.get_mut(place) {
            Some((.., count)) => *count += 1,
            None => found.push((*code, row, 1)),
        }
    }
    found
}

/// Which experiments of a block are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// One truth a row of the problem's design.
    pub problems: Option<&'a [bool]>,
    pub algorithms: Option<&'a [bool]>,
    /// One truth a pair of rows.
    pub pairs: Option<&'a [bool]>,
    pub repls: Option<&'a IdSet>,
}

/// Runs of numbers below `count` that fit.
fn runs(count: u32, fits: impl Fn(u32) -> bool) -> impl Iterator<Item = (u32, u32)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let first = (next..count).find(|number| fits(*number))?;
        let end = (first..count).find(|number| !fits(*number)).unwrap_or(count);
        next = end;
        Some((first, end - 1))
    })
}

/// Collects ascending ranges, those that touch as one.
#[derive(Default)]
struct Ascending {
    held: Option<(u32, u32)>,
    ids: IdSet,
}

impl Ascending {
    fn push(&mut self, range: Option<(u32, u32)>) {
        let Some((first, last)) = range else { return };
        match &mut self.held {
            Some(held) if held.1 + 1 == first => held.1 = last,
            held => {
                if let Some((first, last)) = held.replace((first, last)) {
                    self.ids.insert_range(first, last);
                }
            }
        }
    }

    fn finish(mut self) -> IdSet {
        if let Some((first, last)) = self.held {
            self.ids.insert_range(first, last);
        }
        self.ids
    }
}

/// A design's rows as what identifies them.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    keys: Vec<u128>,
    rows: HashMap<u128, u32>,
}

impl Keys {
    pub fn new(keys: Vec<u128>) -> Self {
        let mut rows = HashMap::with_capacity(keys.len());
        for (key, row) in keys.iter().zip(0..) {
            rows.entry(*key).or_insert(row);
        }
        Self { keys, rows }
    }

    /// The first row that equals row `row` of `other`.
    fn row_of(&self, other: &Self, row: u32) -> Option<u32> {
        self.rows.get(&other.keys[row as usize]).copied()
    }

    /// The first row of each key, ascending.
    pub fn distinct(&self) -> Vec<u32> {
        let is_first = |row: &u32| self.rows.get(&self.keys[*row as usize]) == Some(row);
        (0..self.keys.len() as u32).filter(is_first).collect()
    }

    fn matched(&self, new: &Self) -> Vec<Option<u32>> {
        (0..new.keys.len() as u32).map(|row| self.row_of(new, row)).collect()
    }
}

/// What a call asks for of one problem and one algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub combine: Combine,
    pub problems: &'a Keys,
    pub algorithms: &'a Keys,
    pub repls: u32,
}

/// A block that exists, with the keys of its designs.
#[derive(Clone, Copy, Debug)]
pub struct Existing<'a> {
    pub block: &'a Block,
    pub problems: &'a Keys,
    pub algorithms: &'a Keys,
}

/// What of a call is new.
#[derive(Clone, Debug, PartialEq)]
pub struct Addition {
    pub shape: Shape,
    pub never: IdSet,
    pub count: u32,
    /// Experiments that exist already.
    pub known: u64,
    /// Those that equal others of the same call.
    pub equal: u64,
}

impl Asked<'_> {
    fn shape(&self, first_repl: u32, last_repl: u32) -> Shape {
        Shape {
            combine: self.combine,
            problems: self.problems.keys.len() as u32,
            algorithms: self.algorithms.keys.len() as u32,
            first_repl,
            last_repl,
        }
    }

    /// Leaves out what is known, range by range. None if the cells are too many to number.
    pub fn addition(&self, existing: &[Existing<'_>], removed: &IdSet) -> Option<Addition> {
        let whole = self.shape(1, self.repls);
        u32::try_from(whole.pairs()).ok()?;
        let equal_pairs = self.equal_pairs(&whole);
        let distinct = whole.pairs() - equal_pairs.len();
        let asked = distinct * u64::from(self.repls);
        let overlaps: Vec<Overlap<'_>> =
            existing.iter().map(|old| Overlap::new(self, old, removed)).collect();
        let mut missing = IdSet::range(1, self.repls);
        for overlap in overlaps.iter().filter(|overlap| overlap.is_everywhere()) {
            let old = &overlap.old.block.shape;
            missing = missing.difference(&IdSet::range(old.first_repl, old.last_repl));
        }
        let equal = equal_pairs.len() * u64::from(self.repls);
        let (Some(first), Some(last)) = (missing.min(), missing.max()) else {
            let never = IdSet::default();
            return Some(Addition { shape: whole, never, count: 0, known: asked, equal });
        };
        let shape = self.shape(first, last);
        let cells = shape.cells()?;
        let mut known = Known { shape, cells: IdSet::default() };
        for pair in equal_pairs.iter() {
            known.add(pair, first, last);
        }
        for overlap in &overlaps {
            overlap.mark(&mut known);
        }
        let count = cells - known.cells.len() as u32;
        Some(Addition { shape, never: known.cells, count, known: asked - u64::from(count), equal })
    }

    /// Pairs of rows that equal an earlier pair. Rows of a product are distinct already.
    fn equal_pairs(&self, shape: &Shape) -> IdSet {
        if self.combine == Combine::Crossprod {
            return IdSet::default();
        }
        let mut seen = HashSet::new();
        let is_equal = |pair: &u32| {
            let (problem, algorithm) = shape.rows(*pair);
            let keys =
                (self.problems.keys[problem as usize], self.algorithms.keys[algorithm as usize]);
            !seen.insert(keys)
        };
        (0..shape.pairs() as u32).filter(is_equal).collect()
    }
}

/// Cells of a new block that are known; pairs count from 0.
struct Known {
    shape: Shape,
    cells: IdSet,
}

impl Known {
    fn add(&mut self, pair: u32, first_repl: u32, last_repl: u32) {
        let (first, last) = self.shape.span(pair, first_repl, last_repl);
        self.cells.insert_range(first, last);
    }
}

/// Where the rows of a call meet those of an existing block.
struct Overlap<'a> {
    asked: &'a Asked<'a>,
    old: &'a Existing<'a>,
    problems: Vec<Option<u32>>,
    algorithms: Vec<Option<u32>>,
    live: Option<IdSet>,
}

impl<'a> Overlap<'a> {
    fn new(asked: &'a Asked<'a>, old: &'a Existing<'a>, removed: &IdSet) -> Self {
        Self {
            asked,
            old,
            problems: old.problems.matched(asked.problems),
            algorithms: old.algorithms.matched(asked.algorithms),
            live: old.block.live(removed),
        }
    }

    /// Whether each pair of the call has the same replications in the old block.
    fn is_everywhere(&self) -> bool {
        self.old.block.shape.combine == Combine::Crossprod
            && self.live.is_none()
            && self.problems.iter().all(Option::is_some)
            && self.algorithms.iter().all(Option::is_some)
    }

    fn mark(&self, known: &mut Known) {
        let old = &self.old.block.shape;
        let first = known.shape.first_repl.max(old.first_repl);
        let last = known.shape.last_repl.min(old.last_repl);
        if first > last {
            return;
        }
        if known.shape.combine == Combine::Crossprod && old.combine == Combine::Crossprod {
            return self.mark_product(known, first, last);
        }
        for (pair, old_pair) in self.bound_pairs(&known.shape) {
            self.mark_pairs(known, pair, old_pair, 1, (first, last));
        }
    }

    fn mark_product(&self, known: &mut Known, first: u32, last: u32) {
        let runs = self.column_runs();
        let (width, old_width) = (known.shape.algorithms, self.old.block.shape.algorithms);
        for (problem, old_problem) in
            self.problems.iter().zip(0..).filter_map(|(old, new)| Some((new, (*old)?)))
        {
            let (start, old_start): (u32, u32) = (problem * width, old_problem * old_width);
            for (column, old_column, length) in &runs {
                let (pair, old_pair) = (start + column, old_start + old_column);
                self.mark_pairs(known, pair, old_pair, *length, (first, last));
            }
        }
    }

    /// Columns of the new product that follow each other in the old one as well: where each run
    /// starts in both, and how long it is.
    fn column_runs(&self) -> Vec<(u32, u32, u32)> {
        let mut runs: Vec<(u32, u32, u32)> = Vec::new();
        for (column, old) in (0..).zip(&self.algorithms) {
            let Some(old) = *old else { continue };
            match runs.last_mut() {
                Some((new_start, old_start, length))
                    if *new_start + *length == column && *old_start + *length == old =>
                {
                    *length += 1;
                }
                _ => runs.push((column, old, 1)),
            }
        }
        runs
    }

    /// Pairs of the new block with the equal pair of the old one, where one of them is bound.
    fn bound_pairs(&self, new: &Shape) -> Vec<(u32, u32)> {
        let old = &self.old.block.shape;
        if old.combine == Combine::Crossprod {
            let pairs = (0..new.pairs() as u32).filter_map(|pair| {
                let (problem, algorithm) = new.rows(pair);
                let problem = self.problems[problem as usize]?;
                Some((pair, problem * old.algorithms + self.algorithms[algorithm as usize]?))
            });
            return pairs.collect();
        }
        // The old one is bound: of equal pairs only the first has jobs.
        let mut by_keys = HashMap::new();
        for pair in 0..old.pairs() as u32 {
            let (problem, algorithm) = old.rows(pair);
            let keys = (
                self.old.problems.keys[problem as usize],
                self.old.algorithms.keys[algorithm as usize],
            );
            by_keys.entry(keys).or_insert(pair);
        }
        let (problems, algorithms) = (&self.asked.problems, &self.asked.algorithms);
        if new.combine == Combine::Bind {
            let pairs = (0..new.pairs() as u32).filter_map(|pair| {
                let (problem, algorithm) = new.rows(pair);
                let keys = (problems.keys[problem as usize], algorithms.keys[algorithm as usize]);
                Some((pair, *by_keys.get(&keys)?))
            });
            return pairs.collect();
        }
        let mut pairs: Vec<(u32, u32)> = by_keys
            .into_iter()
            .filter_map(|((problem, algorithm), old_pair)| {
                let problem = problems.rows.get(&problem)?;
                let algorithm = algorithms.rows.get(&algorithm)?;
                Some((problem * new.algorithms + algorithm, old_pair))
            })
            .collect();
        pairs.sort_unstable();
        pairs
    }

    /// `count` pairs from `pair` on are those from `old_pair` on.
    fn mark_pairs(
        &self,
        known: &mut Known,
        pair: u32,
        old_pair: u32,
        count: u32,
        repls: (u32, u32),
    ) {
        let new = known.shape;
        let old = &self.old.block.shape;
        let is_whole = repls == (new.first_repl, new.last_repl);
        if self.live.is_none() && is_whole {
            let first = new.span(pair, repls.0, repls.0).0;
            return known.cells.insert_range(first, new.span(pair + count - 1, repls.1, repls.1).1);
        }
        if let Some(live) = &self.live
            && is_whole
            && repls == (old.first_repl, old.last_repl)
        {
            let first = new.span(pair, repls.0, repls.0).0;
            let old_first = old.span(old_pair, repls.0, repls.0).0;
            return copy(live, old_first, count * new.repls(), first, &mut known.cells);
        }
        for step in 0..count {
            let first = new.span(pair + step, repls.0, repls.0).0;
            let old_first = old.span(old_pair + step, repls.0, repls.0).0;
            let length = repls.1 - repls.0 + 1;
            match &self.live {
                None => known.cells.insert_range(first, first + length - 1),
                Some(live) => copy(live, old_first, length, first, &mut known.cells),
            }
        }
    }
}

/// Copies the cells of `live` from `from` on, `length` of them, to where they are `to` on.
fn copy(live: &IdSet, from: u32, length: u32, to: u32, known: &mut IdSet) {
    for (first, last) in live.ranges_within(from, from + length - 1) {
        known.insert_range(to + (first - from), to + (last - from));
    }
}

#[cfg(test)]
mod tests;
