//! Tables, schemas, numbers, supervisors.

use super::*;
use crate::schema::{ColumnRole, Observed};

pub(super) async fn all(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    tables(catalog).await;
    schemas_widen(catalog).await;
    numbers_are_given_once(catalog).await;
    supervisors(catalog).await;
    a_dropped_table_keeps_its_rows_for_deletion(catalog).await;
}

async fn tables(catalog: &dyn Catalog) {
    let first = catalog.create_table(&name("t"), schema()).await.expect("made");
    let again = catalog.create_table(&name("t"), schema()).await.expect_err("taken");
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(catalog.table("t").await.expect("read").map(|t| t.id), Some(first.id));
    assert!(catalog.table("nope").await.expect("read").is_none());
    catalog.drop_table(first.id).await.expect("dropped");
    assert_eq!(catalog.drop_table(first.id).await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(catalog.lease_numbers(first.id, 1).await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(catalog.reading(first.id).await.expect_err("gone").kind(), ErrorKind::NotFound);
    let second = catalog.create_table(&name("t"), schema()).await.expect("made again");
    assert_ne!(first.id, second.id, "a name made again is another table");
    let names: Vec<String> = catalog.tables().await.expect("read").iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["t"]);
}

async fn schemas_widen(catalog: &dyn Catalog) {
    let table = catalog.create_table(&name("w"), schema()).await.expect("made");
    let seen = |n: &str, column_type| Observed {
        name: Arc::from(n),
        column_type,
        role: ColumnRole::Dimension,
        multi_value: false,
    };
    let same = catalog.widen_schema(table.id, &[seen("a", ColumnType::Long)]).await.expect("fits");
    assert_eq!(same.version(), 1);
    let wide = [seen("a", ColumnType::String), seen("b", ColumnType::Double)];
    let wide = catalog.widen_schema(table.id, &wide).await.expect("fits");
    assert_eq!(wide.column("a").map(|c| c.column_type), Some(ColumnType::String));
    let kept = catalog.table("w").await.expect("read").expect("there");
    assert_eq!(kept.schema.version(), wide.version());
    assert_eq!(kept.schema.columns(), wide.columns());
}

async fn numbers_are_given_once(catalog: &dyn Catalog) {
    let table = catalog.create_table(&name("n"), schema()).await.expect("made");
    let first = catalog.lease_numbers(table.id, 16).await.expect("numbers");
    let second = catalog.lease_numbers(table.id, 16).await.expect("numbers");
    assert_eq!((first.start, first.len(), second.start, second.len()), (1, 16, 17, 16));
    let full = catalog.lease_numbers(table.id, u32::MAX).await.expect_err("no more");
    assert_eq!(full.kind(), ErrorKind::Exhausted);
    assert_eq!(catalog.lease_numbers(table.id, 1).await.expect("a refusal takes none").start, 33);
}

async fn supervisors(catalog: &dyn Catalog) {
    let row = |suspended| SupervisorRow { id: "s".into(), table: name("t"), spec: "{}".into(), suspended };
    catalog.put_supervisor(row(false)).await.expect("stored");
    catalog.put_supervisor(row(true)).await.expect("stored");
    assert_eq!(catalog.supervisors().await.expect("read"), vec![row(true)]);
    catalog.delete_supervisor("s").await.expect("deleted");
    assert_eq!(catalog.delete_supervisor("s").await.expect_err("gone").kind(), ErrorKind::NotFound);
    catalog.put_supervisor(row(false)).await.expect("stored again");
}

async fn a_dropped_table_keeps_its_rows_for_deletion(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "dropped").await;
    let segment = bench.segment(0, 3, 30).await;
    let commit = bench.publish(0, 3, &[&segment]).await;
    catalog.drop_table(bench.table.id).await.expect("dropped");
    let rows = catalog.segments(bench.table.id, None).await.expect("read");
    assert_eq!(rows.len(), 1);
    assert!(!rows[0].is_open() && rows[0].is_visible(commit.seq) && rows[0].closed_at.is_some());
    let dropped = catalog.commits_since(commit.seq, 10).await.expect("read");
    assert_eq!(dropped.len(), 1);
    assert_eq!((dropped[0].cause, &dropped[0].closed), (CommitCause::Drop, &vec![segment.id.clone()]));
    assert!(catalog.checkpoints(bench.table.id, "push").await.expect("read").is_empty());
    let late = catalog.publish(bench.publication(3, 4, vec![])).await.expect_err("no table");
    assert_eq!(late.kind(), ErrorKind::NotFound);
    bench.is_sound().await;
}
