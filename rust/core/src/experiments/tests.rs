//! Blocks against a plain list of their cells.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What identifies an experiment: the keys of its rows, and its replication.
type Experiment = (u128, u128, u32);

#[derive(Clone, Debug)]
struct Call {
    combine: Combine,
    problems: Vec<u128>,
    algorithms: Vec<u128>,
    repls: u32,
    /// Positions among the jobs that exist afterwards, which are removed.
    removed: Vec<u32>,
}

fn call() -> impl Strategy<Value = Call> {
    let rows = || prop::collection::vec(0u128..6, 1..6);
    let combine = prop_oneof![Just(Combine::Crossprod), Just(Combine::Bind)];
    let removed = prop_oneof![Just(Vec::new()), prop::collection::vec(0u32..40, 1..8)];
    (combine, rows(), rows(), 1u32..5, removed).prop_map(
        |(combine, problems, algorithms, repls, removed)| Call {
            combine,
            problems,
            algorithms,
            repls,
            removed,
        },
    )
}

fn distinct(rows: &[u128]) -> Vec<u128> {
    let mut seen = BTreeSet::new();
    rows.iter().copied().filter(|row| seen.insert(*row)).collect()
}

impl Call {
    /// In the order of the ids, equal ones once.
    fn experiments(&self) -> Vec<Experiment> {
        let mut pairs = Vec::new();
        match self.combine {
            Combine::Crossprod => {
                for problem in distinct(&self.problems) {
                    pairs.extend(distinct(&self.algorithms).iter().map(|a| (problem, *a)));
                }
            }
            Combine::Bind => {
                let count = self.problems.len().max(self.algorithms.len());
                let problems = self.problems.iter().cycle();
                let both = problems.zip(self.algorithms.iter().cycle()).take(count);
                let mut seen = BTreeSet::new();
                pairs.extend(both.map(|(p, a)| (*p, *a)).filter(|pair| seen.insert(*pair)));
            }
        }
        let repls = |(p, a): (u128, u128)| (1..=self.repls).map(move |repl| (p, a, repl));
        pairs.into_iter().flat_map(repls).collect()
    }

    /// As the registry keeps them: of a product's equal rows the first.
    fn keys(&self) -> (Keys, Keys) {
        match self.combine {
            Combine::Crossprod => {
                (Keys::new(distinct(&self.problems)), Keys::new(distinct(&self.algorithms)))
            }
            Combine::Bind => (Keys::new(self.problems.clone()), Keys::new(self.algorithms.clone())),
        }
    }
}

#[derive(Default)]
struct Model {
    /// One an id; none where removed.
    jobs: Vec<Option<Experiment>>,
    blocks: Vec<(Block, Keys, Keys)>,
    removed: IdSet,
}

impl Model {
    fn add(&mut self, call: &Call) {
        let (problems, algorithms) = call.keys();
        let asked = Asked {
            combine: call.combine,
            problems: &problems,
            algorithms: &algorithms,
            repls: call.repls,
        };
        let existing: Vec<Existing<'_>> = self
            .blocks
            .iter()
            .map(|(block, problems, algorithms)| Existing { block, problems, algorithms })
            .collect();
        let addition = asked.addition(&existing, &self.removed).unwrap();
        let known: BTreeSet<Experiment> = self.jobs.iter().flatten().copied().collect();
        let new: Vec<Experiment> =
            call.experiments().into_iter().filter(|e| !known.contains(e)).collect();
        assert_eq!(addition.count as usize, new.len());
        assert_eq!(addition.known as usize, call.experiments().len() - new.len());
        if addition.count > 0 {
            let design =
                |keys: &Keys| DesignRef { epoch: 1, number: 0, rows: keys.keys.len() as u32 };
            let block = Block {
                first: self.jobs.len() as u32 + 1,
                count: addition.count,
                problem: "p".into(),
                algorithm: "a".into(),
                problem_design: design(&problems),
                algorithm_design: design(&algorithms),
                shape: addition.shape,
                never: addition.never,
            };
            self.jobs.extend(new.into_iter().map(Some));
            self.blocks.push((block, problems, algorithms));
        }
        for place in &call.removed {
            if (*place as usize) < self.jobs.len() {
                self.jobs[*place as usize] = None;
                self.removed.insert(place + 1);
            }
        }
    }

    /// The experiment that a block's arithmetic finds for a job.
    fn found(&self, job: JobId) -> Experiment {
        let (block, problems, algorithms) = self
            .blocks
            .iter()
            .find(|(block, ..)| (block.first..=block.last()).contains(&job))
            .unwrap();
        let cell = block.cell_of(job);
        let problem = problems.keys[cell.problem as usize];
        (problem, algorithms.keys[cell.algorithm as usize], cell.repl)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn blocks_are_what_a_list_of_cells_is(calls in prop::collection::vec(call(), 1..5)) {
        let mut model = Model::default();
        for call in &calls {
            model.add(call);
            for (job, experiment) in (1..).zip(&model.jobs) {
                if let Some(experiment) = experiment {
                    prop_assert_eq!(model.found(job), *experiment);
                }
            }
        }
        for (block, ..) in &model.blocks {
            let mut cells = Vec::new();
            block.cells_of(&block.ids(), |cell| cells.push(cell));
            prop_assert_eq!(cells.len() as u32, block.count);
            for (job, cell) in (block.first..).zip(cells) {
                prop_assert_eq!(block.shape.cell(cell), block.cell_of(job));
                prop_assert_eq!(block.ids_of((cell, cell)), Some((job, job)));
            }
        }
    }

    #[test]
    fn a_selection_is_what_a_filter_gives(
        calls in prop::collection::vec(call(), 1..4),
        truths in prop::collection::vec(any::<bool>(), 40),
        repls in prop::option::of(prop::collection::btree_set(1u32..5, 0..4)),
        which in 0u8..8,
    ) {
        let mut model = Model::default();
        for call in &calls {
            model.add(call);
        }
        let repls: Option<IdSet> = repls.map(IdSet::from_ascending);
        for (block, ..) in &model.blocks {
            let (p, a) = (block.shape.problems as usize, block.shape.algorithms as usize);
            let pairs = block.shape.pairs() as usize;
            let wanted = Wanted {
                problems: (which & 1 > 0).then(|| &truths[..p]),
                algorithms: (which & 2 > 0).then(|| &truths[p..p + a]),
                pairs: (which & 4 > 0).then(|| &truths[..pairs]),
                repls: repls.as_ref(),
            };
            let fits = |job: &JobId| {
                let pair = (0..pairs as u32).find(|pair| {
                    let (first, last) = block.shape.span(
                        *pair, block.shape.first_repl, block.shape.last_repl);
                    let (from, to) = block.ids_of((first, last)).unwrap_or((1, 0));
                    (from..=to).contains(job)
                });
                let cell = block.cell_of(*job);
                wanted.problems.is_none_or(|mask| mask[cell.problem as usize])
                    && wanted.algorithms.is_none_or(|mask| mask[cell.algorithm as usize])
                    && wanted.pairs.is_none_or(|mask| mask[pair.unwrap() as usize])
                    && wanted.repls.is_none_or(|repls| repls.contains(cell.repl))
            };
            let expected: IdSet = block.ids().iter().filter(fits).collect();
            prop_assert_eq!(block.select(&wanted), expected);
        }
    }

    #[test]
    fn groups_count_what_a_list_counts(
        calls in prop::collection::vec(call(), 1..4),
        codes in prop::collection::vec(0u32..3, 12),
        by_repl in any::<bool>(),
        left_out in prop::option::of(prop::collection::btree_set(1u32..60, 0..20)),
    ) {
        let mut model = Model::default();
        for call in &calls {
            model.add(call);
        }
        for (block, ..) in &model.blocks {
            let (p, a) = (block.shape.problems as usize, block.shape.algorithms as usize);
            let grouping =
                Grouping { problems: &codes[..p], algorithms: &codes[p..p + a], by_repl };
            let ids = left_out.as_ref().map(|left_out| {
                block.ids().difference(&IdSet::from_ascending(left_out.iter().copied()))
            });
            let mut expected = BTreeMap::new();
            for job in ids.as_ref().unwrap_or(&block.ids()).iter() {
                let cell = block.cell_of(job);
                let (problem, algorithm) = (cell.problem as usize, p + cell.algorithm as usize);
                let repl = if by_repl { cell.repl } else { 0 };
                *expected.entry((codes[problem], codes[algorithm], repl)).or_insert(0) += 1;
            }
            let found = block.groups(ids.as_ref(), &grouping);
            let firsts: Vec<JobId> = found.iter().map(|group| group.first).collect();
            prop_assert!(firsts.is_sorted());
            let found: BTreeMap<_, _> = found
                .iter()
                .map(|group| ((group.problem, group.algorithm, group.repl), group.count))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn ten_million_experiments_cost_their_rows() {
    let keys = |count: u128| Keys::new((0..count).collect());
    let (problems, algorithms) = (keys(1000), keys(1000));
    let asked = |repls| Asked {
        combine: Combine::Crossprod,
        problems: &problems,
        algorithms: &algorithms,
        repls,
    };
    let first = asked(10).addition(&[], &IdSet::default()).unwrap();
    assert_eq!((first.count, first.never.len()), (10_000_000, 0));
    let design = DesignRef { epoch: 1, number: 0, rows: 1000 };
    let block = Block {
        first: 1,
        count: first.count,
        problem: "p".into(),
        algorithm: "a".into(),
        problem_design: design,
        algorithm_design: design,
        shape: first.shape,
        never: first.never,
    };
    let existing = [Existing { block: &block, problems: &problems, algorithms: &algorithms }];
    let second = asked(10).addition(&existing, &IdSet::default()).unwrap();
    assert_eq!((second.count, second.known), (0, 10_000_000));
    let third = asked(12).addition(&existing, &IdSet::default()).unwrap();
    assert_eq!((third.count, third.never.len()), (2_000_000, 0));
    assert_eq!((third.shape.first_repl, third.shape.last_repl), (11, 12));
}
