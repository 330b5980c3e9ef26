use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freshet_segment::catalog::{Catalog as _, Commit, CommitCause, DedupKey, MemoryCatalog, PublishId, Replacement};
use freshet_segment::clock::Clock as _;
use freshet_segment::error::ErrorKind;
use freshet_segment::id::SegmentId;
use freshet_segment::schema::ColumnType;
use freshet_segment::sealed::{AttemptId, Layout, Sealing};
use freshet_segment::time::{Granularity, Interval, Timestamp};
use freshet_segment::timeline::Reading;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::testing::{DAY, DAY_MS, Place, Written, numbers, total};
use super::*;

fn day_of(place: &Place, day: i64) -> Interval {
    let start = (place.clock.now().as_millis() / DAY_MS + day) * DAY_MS;
    Granularity::DAY.bucket(Timestamp::from_millis(start))
}

/// The rows 1..=count, in so many segments of one day.
fn publish_all(place: &Place, table: &Written, day: i64, count: i64, segments: i64) {
    let each = count / segments;
    for segment in 0..segments {
        let rows: Vec<i64> = (segment * each + 1..=(segment + 1) * each).collect();
        place.publish(table, day, &rows);
    }
}

fn segments(place: &Place, table: &str) -> usize {
    place.timeline.reading().table(table).unwrap().segments().count()
}

#[test]
fn merged_segments_hold_the_same_rows_for_every_reader_at_every_moment() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -2, 4_000, 20);
    publish_all(&place, &table, -1, 900, 9);
    let expected = (4_900, 4_000 * 4_001 / 2 + 900 * 901 / 2);
    let stop = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0u32;
                    while !stop.load(Ordering::Relaxed) || reads == 0 {
                        let reading = place.timeline.reading();
                        assert_eq!(total(&reading, "t"), expected);
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let facts = place.run(Duty::Compact);
        assert_eq!((facts["segments"].as_u64(), facts["dropped"].as_u64()), (Some(29), Some(0)), "{facts:?}");
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u32>()
    });
    assert!(reads >= 3);
    assert_eq!((segments(&place, "t"), total(&place.timeline.reading(), "t")), (2, expected));
    assert_eq!(place.runtime.block_on(place.catalog.check()).unwrap(), Vec::<String>::new());
    let commits = place.runtime.block_on(place.catalog.commits_since(29, 10)).unwrap();
    assert!(!commits.is_empty() && commits.iter().all(|c| c.cause == CommitCause::Compact && c.opened.len() == 1));
    assert_eq!(std::fs::read_dir(place.folder.path().join("staging")).unwrap().count(), 0);
}

#[test]
fn a_day_that_may_be_written_is_left_alone_until_it_has_four_segments() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, 0, 30, 3);
    place.run(Duty::Compact);
    assert_eq!(segments(&place, "t"), 3);
    place.publish(&table, 0, &(31..=40).collect::<Vec<i64>>());
    // Growing rows of the same day are nobody's to merge.
    place.grow(&table, 0, &[41, 42], &table.row.schema);
    place.run(Duty::Compact);
    assert_eq!((segments(&place, "t"), total(&place.timeline.reading(), "t")), (2, (42, 42 * 43 / 2)));
}

#[test]
fn segments_are_merged_over_new_columns_and_not_over_changed_types() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -1, 20, 2);
    let with_column = place.widen(&table, "other", ColumnType::String);
    for n in [21, 31] {
        place.publish_with(&table, -1, &(n..n + 10).collect::<Vec<i64>>(), &with_column, Vec::new());
    }
    place.run(Duty::Compact);
    assert_eq!((segments(&place, "t"), total(&place.timeline.reading(), "t")), (1, (40, 820)));
    let double = place.widen(&table, "n", ColumnType::Double);
    place.publish_with(&table, -1, &[23], &double, Vec::new());
    place.publish_with(&table, -1, &[24], &double, Vec::new());
    let facts = place.run(Duty::Compact);
    assert_eq!((segments(&place, "t"), facts["merges"].as_u64()), (2, Some(1)));
    assert_eq!(place.runtime.block_on(place.catalog.check()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_merge_whose_sources_are_dropped_meanwhile_comes_to_nothing() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -1, 20, 2);
    let merge = place.coordinator.next_merge().unwrap();
    let day = day_of(&place, -1);
    let dropped = place.runtime.block_on(place.coordinator.drop_interval("t", day)).unwrap();
    assert_eq!(dropped.rows, 20);
    let error = place.coordinator.merge(&merge).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(total(&place.timeline.reading(), "t"), (0, 0));
    drop(merge);
    // Its files are orphans, and go a day later.
    assert_eq!(place.files().len(), 9);
    place.run(Duty::CatalogCopy);
    place.clock.advance(DAY * 2);
    place.run(Duty::Cleanup);
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn files_go_a_day_after_their_segment_and_not_while_a_query_reads_it() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -1, 40, 4);
    let before = place.timeline.reading();
    before.table("t").unwrap();
    place.run(Duty::CatalogCopy);
    place.run(Duty::Compact);
    assert_eq!(place.files().len(), 15);
    place.clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(place.run(Duty::Cleanup)["segments"].as_u64(), Some(0));
    assert_eq!(place.files().len(), 15);
    place.clock.advance(Duration::from_secs(2));
    let facts = place.run(Duty::Cleanup);
    assert_eq!((facts["segments"].as_u64(), facts["pinned"].as_u64()), (Some(0), Some(4)), "{facts:?}");
    assert_eq!(total(&before, "t"), (40, 820), "the query's files are all there");
    drop(before);
    let facts = place.run(Duty::Cleanup);
    assert_eq!((facts["segments"].as_u64(), facts["pinned"].as_u64()), (Some(4), Some(0)), "{facts:?}");
    assert_eq!(place.files(), place.open_files(&table));
    assert_eq!(total(&place.timeline.reading(), "t"), (40, 820));
    assert_eq!(place.runtime.block_on(place.catalog.check()).unwrap(), Vec::<String>::new());
}

#[test]
fn files_of_a_dropped_table_go_like_others() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -1, 40, 2);
    let before = place.timeline.reading();
    let view = before.table("t").unwrap();
    drop(before);
    place.runtime.block_on(place.catalog.drop_table(table.row.id)).unwrap();
    place.timeline.drop_table(&table.row.name);
    drop(table);
    place.clock.advance(DAY * 2);
    let facts = place.run(Duty::Cleanup);
    assert_eq!((facts["segments"].as_u64(), facts["pinned"].as_u64()), (Some(0), Some(2)), "{facts:?}");
    drop(view);
    place.run(Duty::Cleanup);
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn stored_files_of_a_publication_that_is_stuck_are_kept() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    let (id, growing) = place.grow(&table, 0, &[1, 2, 3], &table.row.schema);
    let sources = [growing];
    let seal = |number: u32| {
        let sealing = Sealing {
            id: SegmentId { number, ..id.clone() },
            sources: &sources,
            schema: Arc::clone(&table.row.schema),
            cluster_by: Vec::new(),
            attempt: AttemptId(rand::random()),
            layout: Layout::default(),
        };
        let sealed = sealing.write(&place.folder.path().join("staging")).unwrap();
        place.runtime.block_on(place.storage.put(&sealed)).unwrap()
    };
    let stuck = seal(id.number);
    seal(99);
    place.run(Duty::CatalogCopy);
    place.run(Duty::Cleanup);
    assert_eq!(place.files().len(), 6, "nothing is a day old");
    place.clock.advance(DAY * 2);
    assert_eq!(place.run(Duty::Cleanup)["orphans"].as_u64(), Some(3));
    let mut kept: Vec<String> = stuck.new_segment().files.each().map(|file| file.path.clone()).to_vec();
    kept.sort();
    assert_eq!(place.files(), kept);
}

#[test]
fn idempotency_keys_are_kept_for_a_day_and_then_for_their_number() {
    let place = Place::new(Settings { keys_max: 3, ..Settings::default() });
    let table = place.table("t");
    let keys = |from: u32, count: u32| -> Vec<DedupKey> {
        let at = place.clock.now();
        let key = |n: u32| DedupKey { key: format!("k{n}").into(), body_sha256: [0; 32], answer: "{}".to_owned(), at };
        (from..from + count).map(key).collect()
    };
    place.publish_with(&table, 0, &[1], &table.row.schema, keys(0, 5));
    place.clock.advance(DAY / 2);
    place.publish_with(&table, 0, &[2], &table.row.schema, keys(5, 2));
    assert_eq!(place.run(Duty::Cleanup)["keys"].as_u64(), Some(0));
    place.clock.advance(DAY * 2 / 3);
    assert_eq!(place.run(Duty::Cleanup)["keys"].as_u64(), Some(4));
    let left = place.runtime.block_on(place.catalog.dedup_since(table.row.id, Timestamp::MIN, 10)).unwrap();
    let left: Vec<&str> = left.iter().map(|key| &*key.key).collect();
    assert_eq!(left.len(), 3);
    assert!(left.ends_with(&["k5", "k6"]), "{left:?}");
}

#[test]
fn a_flipped_byte_is_found_and_the_query_fails_and_names_the_segment() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    let ids: Vec<SegmentId> = (0..3).map(|n| place.publish(&table, -1, &[n, n + 10])).collect();
    let facts = place.run(Duty::Scrub);
    assert_eq!((facts["read"].as_u64(), facts["damaged"].as_u64()), (Some(3), Some(0)));
    let reading = place.runtime.block_on(place.catalog.reading(table.row.id)).unwrap();
    let row = reading.segments.iter().find(|row| row.segment.id == ids[1]).unwrap();
    for (kind, file) in ["parquet", "index", "meta"].into_iter().zip(row.segment.files.each()) {
        let path = place.folder.path().join("deep").join(&file.path);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let facts = place.run(Duty::Scrub);
        assert_eq!(facts["damaged"].as_u64(), Some(1), "{kind}");
        let described = place.coordinator.describe();
        assert_eq!(described["damaged"][0]["segment"], serde_json::json!(ids[1].to_string()), "{kind}: {described}");
        let mut metrics = String::new();
        place.coordinator.render(&mut metrics);
        assert!(metrics.contains("\nfreshet_scrub_damaged 1\n"), "{metrics}");
        std::fs::write(&path, &good).unwrap();
        assert_eq!(place.run(Duty::Scrub)["damaged"].as_u64(), Some(0), "{kind} is well again");
    }
    let path = place.folder.path().join("deep").join(&row.segment.files.parquet.path);
    let mut bad = std::fs::read(&path).unwrap();
    let middle = bad.len() / 3;
    bad[middle] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let view = place.timeline.reading().table("t").unwrap();
    let failures: Vec<String> = view
        .segments()
        .filter_map(|entry| {
            let column = view.schema.column("n").unwrap();
            let read = entry.segment.units(None).and_then(|units| {
                let part = |rows| freshet_segment::selection::Part::Run(0..rows);
                units.iter().map(|unit| unit.read(column, &part(unit.rows()))).collect::<Result<Vec<_>, _>>()
            });
            read.err().map(|error| error.to_string())
        })
        .collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains(&ids[1].to_string()), "{failures:?}");
}

#[test]
fn a_scrub_takes_a_few_segments_and_all_within_the_time() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    (0..12).for_each(|n| drop(place.publish(&table, -1, &[n])));
    let read = |run: LastRun| run.outcome.unwrap()["read"].as_u64().unwrap();
    // A run in the background takes its share, not all; the rests between are cut short by asking the thread to stop resting.
    let mut seen = 0;
    let mut runs = 0;
    while seen < 12 {
        let part = read(place.coordinator.perform(Duty::Scrub));
        assert!(part <= 4, "{part} at once");
        seen += part;
        runs += 1;
        assert!(runs < 10);
    }
    assert_eq!(read(place.coordinator.perform(Duty::Scrub)), 0, "each once");
    place.clock.advance(DAY * 4);
    assert_eq!(read(place.coordinator.perform(Duty::Scrub)), 4);
}

#[test]
fn a_drop_and_its_undo_and_the_undo_of_that() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -2, 100, 4);
    place.publish(&table, -1, &[1_000]);
    let all = (101, 5_050 + 1_000);
    let day = day_of(&place, -2);
    let coordinator = &place.coordinator;
    let dropped = place.runtime.block_on(coordinator.drop_interval("t", day)).unwrap();
    assert_eq!(total(&place.timeline.reading(), "t"), (1, 1_000));
    assert_eq!(dropped.rows, 100);
    let again = place.runtime.block_on(coordinator.drop_interval("t", day)).unwrap();
    assert_eq!((again.commit, again.rows), (None, 0));

    let id = dropped.commit.unwrap().publish;
    let undone = place.runtime.block_on(coordinator.undo("t", id)).unwrap();
    assert_eq!((undone.opened.len(), total(&place.timeline.reading(), "t")), (4, all));
    let twice = place.runtime.block_on(coordinator.undo("t", undone.publish)).unwrap();
    assert_eq!(total(&place.timeline.reading(), "t"), (1, 1_000));
    let back = place.runtime.block_on(coordinator.undo("t", twice.publish)).unwrap();
    assert_eq!(total(&place.timeline.reading(), "t"), all);
    // The rows are files like any others: they can be merged, kept and read after the delay.
    place.run(Duty::Compact);
    let error = place.runtime.block_on(coordinator.undo("t", back.publish)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "what it opened was merged since: {error}");
    place.clock.advance(DAY * 3);
    place.run(Duty::Cleanup);
    assert_eq!((place.files(), total(&place.timeline.reading(), "t")), (place.open_files(&table), all));
    assert_eq!(place.runtime.block_on(place.catalog.check()).unwrap(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_dropped_or_undone_is_refused_with_its_reason() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    let id = place.publish(&table, -1, &[1]);
    let coordinator = &place.coordinator;
    let whole = day_of(&place, -1);
    let half = Interval::new(whole.start(), Timestamp::from_millis(whole.start().as_millis() + 1)).unwrap();
    let error = place.runtime.block_on(coordinator.drop_interval("t", half)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(&id.to_string()), "{error}");
    let kind = |result: Result<Commit>| result.unwrap_err().kind();
    assert_eq!(kind(place.runtime.block_on(coordinator.undo("t", PublishId(7)))), ErrorKind::NotFound);
    assert_eq!(kind(place.runtime.block_on(coordinator.undo("nope", PublishId(7)))), ErrorKind::NotFound);
    let published = place.runtime.block_on(place.catalog.commits_since(0, 1)).unwrap()[0].publish;
    assert_eq!(kind(place.runtime.block_on(coordinator.undo("t", published))), ErrorKind::Invalid);
    let dropped = place.runtime.block_on(coordinator.drop_interval("t", whole)).unwrap().commit.unwrap();
    place.table("other");
    assert_eq!(kind(place.runtime.block_on(coordinator.undo("other", dropped.publish))), ErrorKind::NotFound);
    place.clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(kind(place.runtime.block_on(coordinator.undo("t", dropped.publish))), ErrorKind::Invalid);
    assert_eq!(total(&place.timeline.reading(), "t"), (0, 0));
}

#[test]
fn a_commit_whose_outcome_was_lost_is_shown_before_anything_else() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    let gone = place.publish(&table, -1, &[1]);
    let kept = place.publish(&table, -1, &[2]);
    let (growing, _) = place.grow(&table, 0, &[4], &table.row.schema);
    let replacement = Replacement {
        id: PublishId(1),
        table: table.row.id,
        lease: None,
        close: vec![gone.clone()],
        open: Vec::new(),
        cause: CommitCause::Drop,
    };
    place.runtime.block_on(place.catalog.replace(replacement)).unwrap();
    place.coordinator.unsettled.lock().insert(table.row.id);
    assert_eq!(total(&place.timeline.reading(), "t"), (3, 7));
    place.run(Duty::Cleanup);
    assert_eq!(total(&place.timeline.reading(), "t"), (2, 6));
    let view = place.timeline.reading().table("t").unwrap();
    let ids: BTreeSet<SegmentId> = view.segments().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids, BTreeSet::from([kept, growing]));
    assert!(place.coordinator.unsettled.lock().is_empty());
}

#[test]
fn a_catalog_is_made_again_from_what_stands_beside_the_data() {
    let place = Place::new(Settings { exports_kept: 2, ..Settings::default() });
    let table = place.table("t");
    publish_all(&place, &table, -1, 40, 4);
    place.run(Duty::CatalogCopy);
    place.run(Duty::Compact);
    place.publish(&table, 0, &[41]);
    // Without being asked only the log is written: the night is not over.
    let facts = place.coordinator.perform(Duty::CatalogCopy).outcome.unwrap();
    assert_eq!((facts["entries"].as_u64(), facts.get("exported")), (Some(2), None));
    let again = MemoryCatalog::new();
    let rebuilt = place.runtime.block_on(rebuild(&place.storage, &again)).unwrap();
    assert_eq!((rebuilt.entries, rebuilt.last_commit, rebuilt.passed_over.len()), (2, 6, 0));
    let row = place.runtime.block_on(again.table("t")).unwrap().unwrap();
    let rows = |catalog: &MemoryCatalog, id| {
        let reading = place.runtime.block_on(catalog.reading(id)).unwrap();
        reading.segments.into_iter().map(|row| row.segment).collect::<Vec<_>>()
    };
    assert_eq!(rows(&again, row.id), rows(&place.catalog, table.row.id));
    assert_eq!(rows(&again, row.id).iter().map(|segment| segment.rows).sum::<u64>(), 41);

    // Copies beyond the number kept go, and entries that all kept ones hold.
    place.publish(&table, 0, &[42]);
    place.run(Duty::CatalogCopy);
    place.run(Duty::CatalogCopy);
    let objects = place.runtime.block_on(place.storage.list("_catalog")).unwrap();
    assert_eq!(objects.len(), 2, "{objects:?}");
    // The newest copy is damaged: the one before is used.
    let newest = place.folder.path().join("deep").join(&objects[1].path);
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let third = MemoryCatalog::new();
    let rebuilt = place.runtime.block_on(rebuild(&place.storage, &third)).unwrap();
    assert_eq!((rebuilt.last_commit, rebuilt.passed_over.len()), (7, 1));
    let taken = place.runtime.block_on(rebuild(&place.storage, &third)).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
}

#[test]
fn an_empty_catalog_on_full_storage_deletes_nothing() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -1, 40, 4);
    place.run(Duty::CatalogCopy);
    let files = place.files();
    let other = Place::new(Settings::default());
    let options = CoordinatorOptions { storage: Arc::clone(&place.storage), ..other.coordinator.parts.clone() };
    let other_coordinator = Coordinator::new(options);
    let run = |duty: Duty| {
        let _answer = other_coordinator.run_now(duty);
        other_coordinator.perform(duty).outcome
    };
    other.clock.advance(DAY * 3);
    assert_eq!(run(Duty::Cleanup).unwrap()["orphans"].as_u64(), Some(0), "before the log was compared");
    let refused = run(Duty::CatalogCopy).unwrap_err();
    assert!(refused.contains("another catalog") && refused.contains("freshet catalog rebuild"), "{refused}");
    // Also when it has made as many commits of its own.
    let theirs = other.table("t");
    publish_all(&other, &theirs, -1, 5, 5);
    assert!(run(Duty::CatalogCopy).is_err());
    assert_eq!(run(Duty::Cleanup).unwrap()["orphans"].as_u64(), Some(0));
    assert_eq!(place.files(), files);
}

#[test]
fn the_thread_runs_what_it_is_asked_and_ends_when_told() {
    let place = Place::new(Settings::default());
    let table = place.table("t");
    publish_all(&place, &table, -1, 20, 2);
    place.coordinator.start().unwrap();
    for duty in Duty::ALL {
        let answer = place.coordinator.run_now(duty);
        let run = place.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), answer).await });
        assert!(run.unwrap().unwrap().outcome.is_ok(), "{}", duty.name());
    }
    assert_eq!(segments(&place, "t"), 1);
    let described = place.coordinator.describe();
    for (place, duty) in Duty::ALL.into_iter().enumerate() {
        let one = &described["duties"][place];
        assert_eq!((one["name"].as_str(), one["runs"].as_u64()), (Some(duty.name()), Some(1)), "{described}");
        assert!(one["last"]["error"].is_null() && one["last"]["result"].is_object(), "{described}");
    }
    let began = Instant::now();
    place.coordinator.ask_to_stop();
    place.coordinator.join();
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// What the naive model knows: which rows are there, and what each commit took or gave.
struct Model {
    present: BTreeMap<i64, i64>,
    /// Rows and whether the commit took them away.
    commits: BTreeMap<PublishId, (Vec<(i64, i64)>, bool)>,
    next: i64,
    paths: BTreeMap<SegmentId, Vec<String>>,
    closed: BTreeMap<SegmentId, Timestamp>,
    seen: u64,
    held: Vec<(Reading, (u64, i64), BTreeSet<String>)>,
}

impl Model {
    fn total(&self) -> (u64, i64) {
        (self.present.len() as u64, self.present.keys().sum())
    }

    /// Learns names and closings from the catalog: these are inputs of the cleanup, not its work.
    fn learn(&mut self, place: &Place, table: &Written) {
        let rows = place.runtime.block_on(place.catalog.segments(table.row.id, None)).unwrap();
        for row in rows {
            let paths = row.segment.files.each().map(|file| file.path.clone()).to_vec();
            self.paths.insert(row.segment.id.clone(), paths);
        }
        for commit in place.runtime.block_on(place.catalog.commits_since(self.seen, 1_000)).unwrap() {
            self.seen = commit.seq;
            self.closed.extend(commit.closed.iter().map(|id| (id.clone(), commit.at)));
        }
    }

    /// Files that must be there, and files that must not, after a cleanup at `now`.
    fn expected(&self, now: Timestamp) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut last: BTreeMap<&String, Option<Timestamp>> = BTreeMap::new();
        for (id, paths) in &self.paths {
            let closed = self.closed.get(id).copied();
            for path in paths {
                let entry = last.entry(path).or_insert(closed);
                *entry = entry.zip(closed).map(|(a, b)| a.max(b));
            }
        }
        let pinned: BTreeSet<&String> = self.held.iter().flat_map(|(_, _, paths)| paths).collect();
        let day_ago = now.as_millis() - DAY_MS;
        let (mut must, mut must_not) = (BTreeSet::new(), BTreeSet::new());
        for (path, closed) in last {
            let old = closed.is_some_and(|at| at.as_millis() < day_ago);
            if old && !pinned.contains(path) {
                must_not.insert(path.clone())
            } else {
                must.insert(path.clone())
            };
        }
        (must, must_not)
    }
}

fn drop_a_day(place: &Place, model: &mut Model, day: i64) {
    let interval = day_of(place, day);
    let dropped = place.runtime.block_on(place.coordinator.drop_interval("t", interval)).unwrap();
    let number = interval.start().as_millis() / DAY_MS;
    let gone: Vec<(i64, i64)> = model.present.iter().filter(|(_, d)| **d == number).map(|(n, d)| (*n, *d)).collect();
    assert_eq!(dropped.rows, gone.len() as u64);
    model.present.retain(|_, d| *d != number);
    if let Some(commit) = dropped.commit {
        model.commits.insert(commit.publish, (gone, true));
    }
}

fn undo_one(place: &Place, model: &mut Model, pick: usize) -> bool {
    let Some((id, (rows, taken))) = model.commits.iter().nth(pick % model.commits.len().max(1)) else { return false };
    let (id, rows, taken) = (*id, rows.clone(), *taken);
    match place.runtime.block_on(place.coordinator.undo("t", id)) {
        Ok(commit) => {
            model.commits.remove(&id);
            for (n, day) in &rows {
                if taken {
                    model.present.insert(*n, *day)
                } else {
                    model.present.remove(n)
                };
            }
            model.commits.insert(commit.publish, (rows, !taken));
            true
        }
        // Too old, or merged since: nothing may have changed then.
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Invalid), "{error}");
            false
        }
    }
}

/// One history of publishing, merging, dropping, undoing, reading and deleting. Gives undos that worked and files deleted.
fn history(seed: u64, steps: usize) -> (u32, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let place = Place::new(Settings { merge_segments_min: 2, ..Settings::default() });
    let table = place.table("t");
    let mut model = Model {
        present: BTreeMap::new(),
        commits: BTreeMap::new(),
        next: 1,
        paths: BTreeMap::new(),
        closed: BTreeMap::new(),
        seen: 0,
        held: Vec::new(),
    };
    let (mut undone, mut deleted) = (0, 0);
    place.run(Duty::CatalogCopy);
    for step in 0..steps {
        let what = random.random_range(0..100u32);
        match what {
            0..35 => {
                let day = random.random_range(-3..=0i64);
                let rows: Vec<i64> = (model.next..model.next + random.random_range(1..20i64)).collect();
                let number = day_of(&place, day).start().as_millis() / DAY_MS;
                place.publish(&table, day, &rows);
                model.next += rows.len() as i64;
                model.present.extend(rows.into_iter().map(|n| (n, number)));
            }
            35..50 => drop(place.run(Duty::Compact)),
            50..58 => drop_a_day(&place, &mut model, random.random_range(-3..=0i64)),
            58..70 => undone += u32::from(undo_one(&place, &mut model, random.random_range(0..64usize))),
            70..80 => {
                let reading = place.timeline.reading();
                let view = reading.table("t").unwrap();
                let paths = settle::sealed_of(&view)
                    .iter()
                    .flat_map(|s| s.segment.row().files.each().map(|f| f.path.clone()))
                    .collect();
                model.held.push((reading, model.total(), paths));
            }
            80..85 if !model.held.is_empty() => {
                let at = random.random_range(0..model.held.len());
                let (reading, expected, _) = model.held.remove(at);
                assert_eq!(total(&reading, "t"), expected, "seed {seed}, step {step}: a reading changed");
            }
            _ => {
                place.clock.advance(Duration::from_millis(random.random_range(0..20 * 3_600_000u64)));
                model.learn(&place, &table);
                let before = place.files().len();
                place.run(Duty::Cleanup);
                let (must, must_not) = model.expected(place.clock.now());
                let files: BTreeSet<String> = place.files().into_iter().collect();
                assert!(must.is_subset(&files), "seed {seed}, step {step}: {:?} are gone", must.difference(&files));
                let left: Vec<_> = must_not.intersection(&files).collect();
                assert!(left.is_empty(), "seed {seed}, step {step}: {left:?} are left");
                deleted += before - files.len();
                model.paths.retain(|_, paths| paths.iter().any(|path| files.contains(path)));
            }
        }
        model.learn(&place, &table);
        let seen = numbers(&place.timeline.reading(), "t");
        let expected: BTreeMap<i64, u32> = model.present.keys().map(|n| (*n, 1)).collect();
        assert_eq!(seen, expected, "seed {seed}, step {step}, deed {what}");
        assert_eq!(
            place.runtime.block_on(place.catalog.check()).unwrap(),
            Vec::<String>::new(),
            "seed {seed}, step {step}"
        );
        let files: BTreeSet<String> = place.files().into_iter().collect();
        assert!(place.open_files(&table).iter().all(|path| files.contains(path)), "seed {seed}, step {step}");
    }
    (undone, deleted)
}

#[test]
fn in_any_history_rows_are_there_once_and_files_as_long_as_they_must() {
    let asked = std::env::var("FRESHET_TEST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = asked.map_or_else(|| (1..=16).collect(), |seed| vec![seed]);
    let (mut undone, mut deleted) = (0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let (more_undone, more_deleted) = history(seed, 60);
        undone += more_undone;
        deleted += more_deleted;
    }
    // One history alone may have nothing to undo.
    assert!(
        asked.is_some() || undone > 0 && deleted > 0,
        "{undone} undone, {deleted} deleted: the histories say nothing"
    );
}
