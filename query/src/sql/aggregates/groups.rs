//! One aggregate written once: [`Gather`] says how the state of a group grows, travels and ends, and [`Groups`] and
//! [`Single`] are what DataFusion drives, for many groups and for one.
//!
//! A state travels as the bytes of one Binary field, so a partial answer of another thread, or node, merges like one
//! of our own. Bytes held on the heap are counted as states grow: the query's share of memory is what ends a query
//! with too many groups, not the process.

use std::fmt::Debug;
use std::mem::size_of;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray};
use datafusion::common::{Result as DfResult, ScalarValue, resources_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::sync::Arc;

/// An aggregate whose literal arguments are settled.
pub(super) trait Gather: Debug + Send + Sync + 'static {
    /// What one group has gathered.
    type State: Debug + Send + Sync;

    /// The state of a group without rows.
    fn empty(&self) -> Self::State;

    /// Adds rows; `values` are the argument columns of one batch.
    fn update(&self, states: &mut [Self::State], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()>;

    /// Adds what [`encode`](Self::encode) wrote.
    fn merge(&self, state: &mut Self::State, other: &[u8]) -> DfResult<()>;

    /// Writes a state.
    fn encode(&self, state: &Self::State, out: &mut Vec<u8>) -> DfResult<()>;

    /// The results; states stay as they are, because a window asks again and again.
    fn evaluate(&self, states: &[Self::State]) -> DfResult<ArrayRef>;

    /// Bytes that a state holds beyond its own size.
    fn heap_bytes(&self, state: &Self::State) -> usize;

    /// Takes rows out again, for a window that slides; `false` where that cannot be done.
    fn retract(&self, _state: &mut Self::State, _values: &[ArrayRef]) -> DfResult<bool> {
        Ok(false)
    }

    /// Whether [`retract`](Self::retract) works.
    fn retracts(&self) -> bool {
        false
    }
}

/// Which rows of a batch go to which group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    /// All to the one group.
    One(usize),
    /// Each to its group, unless the filter leaves it out.
    Many { groups: &'a [usize], filter: Option<&'a BooleanArray> },
}

impl Rows<'_> {
    /// Calls `add` with each row and its group.
    pub(super) fn each(self, mut add: impl FnMut(usize, usize) -> DfResult<()>) -> DfResult<()> {
        match self {
            Self::One(rows) => (0..rows).try_for_each(|row| add(row, 0)),
            Self::Many { groups, filter: None } => {
                groups.iter().enumerate().try_for_each(|(row, group)| add(row, *group))
            }
            Self::Many { groups, filter: Some(filter) } => groups
                .iter()
                .enumerate()
                .filter(|(row, _)| filter.is_valid(*row) && filter.value(*row))
                .try_for_each(|(row, group)| add(row, *group)),
        }
    }
}

/// An aggregate ready to be driven, whichever its states are.
pub(super) trait Aggregator {
    fn single(self: Box<Self>) -> Box<dyn Accumulator>;
    fn groups(self: Box<Self>) -> Box<dyn GroupsAccumulator>;
}

impl<G: Gather> Aggregator for G {
    fn single(self: Box<Self>) -> Box<dyn Accumulator> {
        let state = self.empty();
        Box::new(Single { gather: *self, state })
    }

    fn groups(self: Box<Self>) -> Box<dyn GroupsAccumulator> {
        Box::new(Groups { gather: *self, states: Vec::new(), held: Vec::new(), heap: 0 })
    }
}

#[derive(Debug)]
struct Single<G: Gather> {
    gather: G,
    state: G::State,
}

impl<G: Gather> Accumulator for Single<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let rows = values.first().map_or(0, |v| v.len());
        self.gather.update(std::slice::from_mut(&mut self.state), values, Rows::One(rows))
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let values = self.gather.evaluate(std::slice::from_ref(&self.state))?;
        ScalarValue::try_from_array(&values, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.gather.heap_bytes(&self.state)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.gather.encode(&self.state, &mut bytes)?;
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        states_of(states)?.iter().flatten().try_for_each(|bytes| self.gather.merge(&mut self.state, bytes))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if self.gather.retract(&mut self.state, values)? {
            return Ok(());
        }
        datafusion::common::internal_err!("an aggregate that cannot forget rows was asked to")
    }

    fn supports_retract_batch(&self) -> bool {
        self.gather.retracts()
    }
}

#[derive(Debug)]
struct Groups<G: Gather> {
    gather: G,
    states: Vec<G::State>,
    /// Heap bytes of each state as last counted.
    held: Vec<usize>,
    /// Their sum.
    heap: usize,
}

impl<G: Gather> Groups<G> {
    fn grow(&mut self, groups: usize) {
        if groups > self.states.len() {
            let gather = &self.gather;
            self.states.resize_with(groups, || gather.empty());
            self.held.resize(groups, 0);
        }
    }

    /// Counts anew the states that a batch touched.
    fn recount(&mut self, groups: &[usize]) {
        for &group in groups {
            let now = self.gather.heap_bytes(&self.states[group]);
            self.heap = self.heap + now - self.held[group];
            self.held[group] = now;
        }
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<G::State> {
        let gone: usize = emit_to.take_needed(&mut self.held).into_iter().sum();
        self.heap -= gone;
        emit_to.take_needed(&mut self.states)
    }
}

impl<G: Gather> GroupsAccumulator for Groups<G> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.grow(total_num_groups);
        let rows = Rows::Many { groups: group_indices, filter: opt_filter };
        self.gather.update(&mut self.states, values, rows)?;
        self.recount(group_indices);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let states = self.take(emit_to);
        self.gather.evaluate(&states)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let states = self.take(emit_to);
        Ok(vec![encode_all(&self.gather, &states)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.grow(total_num_groups);
        for (bytes, group) in states_of(values)?.iter().zip(group_indices) {
            if let Some(bytes) = bytes {
                self.gather.merge(&mut self.states[*group], bytes)?;
            }
        }
        self.recount(group_indices);
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |v| v.len());
        let groups: Vec<usize> = (0..rows).collect();
        let mut states: Vec<_> = groups.iter().map(|_| self.gather.empty()).collect();
        self.gather.update(&mut states, values, Rows::Many { groups: &groups, filter: opt_filter })?;
        Ok(vec![encode_all(&self.gather, &states)?])
    }

    fn size(&self) -> usize {
        self.heap + self.states.capacity() * size_of::<G::State>() + self.held.capacity() * size_of::<usize>()
    }
}

fn states_of(states: &[ArrayRef]) -> DfResult<&BinaryArray> {
    match states {
        [states] if *states.data_type() == arrow::datatypes::DataType::Binary => Ok(states.as_binary()),
        _ => datafusion::common::internal_err!("the state of an aggregate is one Binary column"),
    }
}

fn encode_all<G: Gather>(gather: &G, states: &[G::State]) -> DfResult<ArrayRef> {
    let mut bytes = Vec::new();
    binary(states.iter().map(|state| {
        bytes.clear();
        gather.encode(state, &mut bytes)?;
        Ok(Some(bytes.clone()))
    }))
}

/// A Binary column; its offsets end at 2 GiB, beyond which the query is told so.
pub(super) fn binary(values: impl Iterator<Item = DfResult<Option<Vec<u8>>>>) -> DfResult<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    let mut total = 0_usize;
    for value in values {
        let value = value?;
        total += value.as_ref().map_or(0, Vec::len);
        if i32::try_from(total).is_err() {
            return resources_err!("the sketches of one step take more than 2 GiB");
        }
        builder.append_option(value);
    }
    Ok(Arc::new(builder.finish()))
}
