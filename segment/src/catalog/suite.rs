//! What every catalog owes, as tests over any of them.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Catalog, SupervisorRow};
use crate::error::ErrorKind;
use crate::id::TableName;
use crate::schema::{Column, ColumnRole, ColumnType, Observed, TableSchema};

/// Runs a future that is ready without waiting for anything outside.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::thread::yield_now();
    }
}

fn name(text: &str) -> TableName {
    text.parse().expect("a good name")
}

fn schema() -> TableSchema {
    TableSchema::new(vec![Column::dimension("a", ColumnType::Long)]).expect("a schema")
}

pub(crate) fn run(catalog: &dyn Catalog) {
    tables(catalog);
    schemas_widen(catalog);
    numbers_are_given_once(catalog);
    supervisors(catalog);
}

fn tables(catalog: &dyn Catalog) {
    let first = ready(catalog.create_table(&name("t"), schema())).expect("made");
    let again = ready(catalog.create_table(&name("t"), schema())).expect_err("taken");
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(ready(catalog.table("t")).expect("read").map(|t| t.id), Some(first.id));
    assert!(ready(catalog.table("nope")).expect("read").is_none());
    ready(catalog.drop_table(first.id)).expect("dropped");
    assert_eq!(ready(catalog.drop_table(first.id)).expect_err("gone").kind(), ErrorKind::NotFound);
    let second = ready(catalog.create_table(&name("t"), schema())).expect("made again");
    assert_ne!(first.id, second.id, "a name made again is another table");
    assert_eq!(ready(catalog.tables()).expect("read").len(), 1);
}

fn schemas_widen(catalog: &dyn Catalog) {
    let table = ready(catalog.create_table(&name("w"), schema())).expect("made");
    let seen = |n: &str, column_type| Observed {
        name: Arc::from(n),
        column_type,
        role: ColumnRole::Dimension,
        multi_value: false,
    };
    let same = ready(catalog.widen_schema(table.id, &[seen("a", ColumnType::Long)])).expect("fits");
    assert_eq!(same.version(), 1);
    let wide = ready(catalog.widen_schema(table.id, &[seen("a", ColumnType::String), seen("b", ColumnType::Double)]));
    let wide = wide.expect("fits");
    assert_eq!(wide.column("a").map(|c| c.column_type), Some(ColumnType::String));
    let kept = ready(catalog.table("w")).expect("read").expect("there");
    assert_eq!(kept.schema.version(), wide.version());
}

fn numbers_are_given_once(catalog: &dyn Catalog) {
    let table = ready(catalog.create_table(&name("n"), schema())).expect("made");
    let first = ready(catalog.lease_numbers(table.id, 16)).expect("numbers");
    let second = ready(catalog.lease_numbers(table.id, 16)).expect("numbers");
    assert_eq!((first.start, first.len(), second.start, second.len()), (1, 16, 17, 16));
}

fn supervisors(catalog: &dyn Catalog) {
    let row = |suspended| SupervisorRow { id: "s".into(), table: name("t"), spec: "{}".into(), suspended };
    ready(catalog.put_supervisor(row(false))).expect("stored");
    ready(catalog.put_supervisor(row(true))).expect("stored");
    assert_eq!(ready(catalog.supervisors()).expect("read"), vec![row(true)]);
    ready(catalog.delete_supervisor("s")).expect("deleted");
    assert_eq!(ready(catalog.delete_supervisor("s")).expect_err("gone").kind(), ErrorKind::NotFound);
}
