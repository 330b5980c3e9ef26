use super::*;
use crate::growing::GrowingSegment;
use crate::id::{TableName, Version};
use crate::schema::{Column, ColumnType};
use crate::selection::Part;
use crate::time::Granularity;
use crate::timeline::{Unit, VisibleSegment};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use proptest::prelude::*;

use crate::growing::tests as model;
use crate::predicate::{CompareOp, Value, reference};
use crate::schema::TIME_COLUMN;
use crate::selection::Selection;

/// A folder with staging and deep storage, and a runtime to drive the storage.
struct Place {
    folder: tempfile::TempDir,
    storage: Arc<DeepStorage>,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let storage = DeepStorage::folder(folder.path().join("deep"), runtime.handle().clone()).expect("a folder");
        std::fs::create_dir(folder.path().join("staging")).expect("a folder");
        Self { folder, storage, runtime }
    }

    fn seal(&self, sealing: &Sealing<'_>) -> Arc<SealedSegment> {
        let sealed = sealing.write(&self.folder.path().join("staging")).expect("sealed");
        let stored = self.runtime.block_on(self.storage.put(&sealed)).expect("stored");
        self.open(stored.new_segment().clone())
    }

    fn open(&self, row: NewSegment) -> Arc<SealedSegment> {
        SealedSegment::lazy(row, Arc::clone(&self.storage), &self.folder.path().join("cache"))
    }
}

const SMALL: Layout = Layout { unit_rows: 64, units_per_group: 2, page_rows: 16, zstd_level: 3, bloom_values_min: 8 };

fn id(number: u32) -> SegmentId {
    let t = Timestamp::from_millis(0);
    let table: TableName = "t".parse().expect("a name");
    SegmentId { table, interval: Granularity::All.bucket(t), version: Version::at(t), number }
}

fn schema() -> Arc<TableSchema> {
    let columns = vec![Column::dimension("n", ColumnType::Long), Column::dimension("s", ColumnType::String)];
    Arc::new(TableSchema::new(columns).expect("a schema"))
}

/// Rows whose number is `n`, at these times.
fn growing(times: &[i64]) -> VisibleSegment {
    let mut segment = GrowingSegment::new(id(1), schema());
    let count = i64::try_from(times.len()).expect("few");
    let columns: [(&str, ArrayRef); 3] = [
        ("__time", Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"))),
        ("n", Arc::new(Int64Array::from_iter_values(0..count))),
        ("s", Arc::new((0..count).map(|n| (n % 5 > 0).then(|| format!("v{}", n % 7))).collect::<StringArray>())),
    ];
    let rows: Vec<u32> = (0..u32::try_from(times.len()).expect("few")).collect();
    segment.append(&RecordBatch::try_from_iter(columns).expect("a batch"), &rows).expect("fits");
    VisibleSegment::Growing(segment.snapshot())
}

fn sealing<'a>(sources: &'a [VisibleSegment], cluster_by: &[&str]) -> Sealing<'a> {
    Sealing {
        id: id(1),
        sources,
        schema: schema(),
        cluster_by: cluster_by.iter().map(|c| Arc::from(*c)).collect(),
        attempt: AttemptId(7),
        layout: SMALL,
    }
}

fn rows_of(segment: &VisibleSegment) -> Vec<(i64, i64, Option<String>)> {
    let schema = schema();
    let mut out = Vec::new();
    for unit in segment.units(None).expect("readable") {
        let read = |column: usize| unit.read(&schema.columns()[column], &Part::Run(0..unit.rows())).expect("readable");
        let (times, numbers, texts) = (read(0), read(1), read(2));
        let times = times.as_primitive::<TimestampMillisecondType>().values().iter();
        let numbers = numbers.as_primitive::<Int64Type>().values().iter();
        let texts = texts.as_string_view().iter().map(|t| t.map(str::to_owned));
        out.extend(times.zip(numbers).zip(texts).map(|((t, n), s)| (*t, *n, s)));
    }
    out
}

#[test]
fn rows_come_back_sorted_by_time_and_then_as_asked() {
    let place = Place::new();
    let times: Vec<i64> = (0..300).map(|i| (i * 37) % 10 - 5).collect();
    let source = [growing(&times)];
    let mut expected = rows_of(&source[0]);
    expected.sort_by_key(|row| row.0);
    let sealed = place.seal(&sealing(&source, &[]));
    assert_eq!(
        (sealed.rows(), sealed.time_range()),
        (300, Some((Timestamp::from_millis(-5), Timestamp::from_millis(4))))
    );
    assert_eq!(rows_of(&VisibleSegment::Sealed(Arc::clone(&sealed))), expected, "stable within a time");
    sealed.verify().expect("whole");

    let clustered = Sealing { attempt: AttemptId(8), ..sealing(&source, &["s"]) };
    expected.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
    assert_eq!(rows_of(&VisibleSegment::Sealed(place.seal(&clustered))), expected, "nulls first");
}

#[test]
fn parts_of_a_unit_are_read_from_the_pages_that_hold_them() {
    let place = Place::new();
    let sealed = place.seal(&sealing(&[growing(&(0..200).collect::<Vec<_>>())], &[]));
    let schema = schema();
    let units = sealed.units(None).expect("readable");
    assert_eq!(units.iter().map(SealedUnit::rows).collect::<Vec<_>>(), [64, 64, 64, 8]);
    let numbers = |unit: &SealedUnit, part: Part<'_>| {
        let array = unit.read(&schema.columns()[1], &part).expect("readable");
        array.as_primitive::<Int64Type>().values().to_vec()
    };
    assert_eq!(numbers(&units[1], Part::Run(10..35)), (74..99).collect::<Vec<_>>());
    assert_eq!(numbers(&units[1], Part::Rows(&[0, 15, 16, 63])), [64, 79, 80, 127]);
    assert_eq!(numbers(&units[2], Part::Rows(&[33, 40])), [161, 168]);
    assert_eq!(numbers(&units[3], Part::Run(7..8)), [199]);
    let missing = Column::dimension("nosuch", ColumnType::Double);
    assert_eq!(units[0].read(&missing, &Part::Run(0..3)).expect("nulls").null_count(), 3);
    let wider = Column::dimension("n", ColumnType::String);
    let texts = Unit::Sealed(units[3].clone()).read(&wider, &Part::Run(0..1)).expect("cast");
    assert_eq!(texts.as_string_view().value(0), "192");
}

#[test]
fn time_bounds_leave_out_units_and_far_years_are_kept() {
    let place = Place::new();
    let mut times: Vec<i64> = (0..100).collect();
    times.extend([Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis() - 1, i64::MIN, i64::MAX]);
    let sealed = place.seal(&sealing(&[growing(&times)], &[]));
    let all = rows_of(&VisibleSegment::Sealed(Arc::clone(&sealed)));
    assert_eq!((all[0].0, all[1].0, all[103].0), (i64::MIN, Timestamp::MIN.as_millis(), i64::MAX));
    let late = Interval::new(Timestamp::from_millis(95), Timestamp::MAX).expect("an interval");
    assert_eq!(sealed.units(Some(late)).expect("readable").len(), 1);
}

#[test]
fn several_segments_become_one() {
    let place = Place::new();
    let (even, odd): (Vec<i64>, Vec<i64>) = (0..200).partition(|t| t % 2 == 0);
    let parts = [growing(&even), growing(&odd)];
    let first = place.seal(&sealing(&parts[..1], &[]));
    let second = place.seal(&Sealing { id: id(2), ..sealing(&parts[1..], &[]) });
    let sums = first.row().content_sum.wrapping_add(second.row().content_sum);
    let sources = [VisibleSegment::Sealed(first), VisibleSegment::Sealed(second)];
    let merged = place.seal(&Sealing { id: id(3), ..sealing(&sources, &[]) });
    assert_eq!(merged.row().content_sum, sums, "sums add up");
    let mut expected: Vec<_> = parts.iter().flat_map(rows_of).collect();
    expected.sort_by_key(|row| row.0);
    assert_eq!(rows_of(&VisibleSegment::Sealed(merged)), expected);
}

#[test]
fn a_missing_file_names_the_segment_and_is_tried_again() {
    let place = Place::new();
    let sealed = place.seal(&sealing(&[growing(&[1, 2, 3])], &[]));
    let path = place.folder.path().join("deep").join(&sealed.row().files.parquet.path);
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).expect("moved");
    let error = sealed.units(None).expect_err("the rows are away");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().starts_with(&format!("segment {} cannot be read: ", sealed.id())), "{error}");
    std::fs::rename(&away, &path).expect("moved");
    assert!(sealed.units(None).is_err(), "the failure is remembered for a while");
    assert_eq!(place.open(sealed.row().clone()).units(None).expect("readable").len(), 1);
}

/// The rows of a segment that a filter selects, read through the selection: whole rows as text.
fn selected(segment: &VisibleSegment, wanted: &Predicate, schema: &TableSchema, part: usize) -> Vec<String> {
    let filter = segment.filter(wanted, schema).expect("kinds fit");
    let mut out = Vec::new();
    for unit in segment.units(wanted.time_bounds()).expect("readable") {
        let selection = filter.select_unit(&unit).expect("selects");
        if let Selection::Rows(rows) = &selection {
            assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|row| *row < unit.rows()), "{rows:?}");
        }
        for part in selection.parts(part) {
            let columns: Vec<ArrayRef> =
                schema.columns().iter().map(|c| unit.read(c, &part).expect("readable")).collect();
            assert!(columns.iter().all(|c| c.len() == part.len()));
            out.extend((0..part.len()).map(|row| columns.iter().map(|c| cell(c, row)).collect::<Vec<_>>().join("|")));
        }
    }
    out
}

/// A value with all its bits.
fn cell(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "-".to_owned();
    }
    match array.data_type() {
        arrow::datatypes::DataType::Float64 => {
            format!("{:x}", array.as_primitive::<Float64Type>().value(row).to_bits())
        }
        arrow::datatypes::DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        arrow::datatypes::DataType::Utf8View => format!("{:?}", array.as_string_view().value(row)),
        _ => array.as_primitive::<TimestampMillisecondType>().value(row).to_string(),
    }
}

fn expected(row: &model::Row) -> String {
    let text = |v: &Option<String>| v.as_ref().map_or("-".to_owned(), |v| format!("{v:?}"));
    [
        row.time.to_string(),
        row.long.map_or("-".to_owned(), |v| v.to_string()),
        row.double.map_or("-".to_owned(), |v| format!("{:x}", v.to_bits())),
        text(&row.text),
        text(&row.rare),
        text(&row.widening.map(|v| v.to_string())),
    ]
    .join("|")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(24)))]
    #[test]
    fn growing_and_sealed_give_what_the_reference_gives(
        narrow in model::rows(0..150), wide in model::rows(1..150), step in 1usize..80,
        wanted in prop::collection::vec(model::predicate(), 8), part in 1usize..70,
    ) {
        let (mut growing, schema) = model::grow(&narrow, &wide, step);
        let schema = Arc::new(schema);
        let growing = VisibleSegment::Growing(growing.snapshot());
        let place = Place::new();
        let sealing = Sealing { schema: Arc::clone(&schema), ..sealing(std::slice::from_ref(&growing), &[]) };
        let sealed = VisibleSegment::Sealed(place.seal(&sealing));
        let mut rows: Vec<model::Row> = narrow.into_iter().chain(wide).collect();
        prop_assert_eq!((sealed.rows(), sealed.time_range()), (rows.len(), growing.time_range()));
        for wanted in &wanted {
            let fits = |row: &&model::Row| reference::wants(wanted, &|c| model::value(row, c));
            let in_order: Vec<String> = rows.iter().filter(fits).map(expected).collect();
            prop_assert_eq!(selected(&growing, wanted, &schema, part), in_order);
        }
        rows.sort_by_key(|row| row.time);
        for wanted in &wanted {
            let fits = |row: &&model::Row| reference::wants(wanted, &|c| model::value(row, c));
            let by_time: Vec<String> = rows.iter().filter(fits).map(expected).collect();
            prop_assert_eq!(selected(&sealed, wanted, &schema, part), by_time);
        }
    }

    #[test]
    fn a_merge_of_any_parts_is_one_pass_over_all(
        parts in prop::collection::vec(model::rows(1..60), 1..5), wanted in model::predicate(), pick in any::<u8>(),
    ) {
        let place = Place::new();
        let mut sources = Vec::new();
        let mut schema = None;
        for (index, rows) in parts.iter().enumerate() {
            let (mut growing, wide) = model::grow(&[], rows, 20);
            let wide = Arc::new(wide);
            let growing = VisibleSegment::Growing(growing.snapshot());
            let number = u32::try_from(index).expect("few") + 2;
            let one = Sealing { id: id(number), schema: Arc::clone(&wide), ..sealing(std::slice::from_ref(&growing), &[]) };
            let is_sealed = pick >> index & 1 == 1;
            sources.push(if is_sealed { VisibleSegment::Sealed(place.seal(&one)) } else { growing.clone() });
            schema = Some(wide);
        }
        let schema = schema.expect("some part");
        let merged = place.seal(&Sealing { schema: Arc::clone(&schema), ..sealing(&sources, &[]) });
        let mut rows: Vec<model::Row> = parts.concat();
        rows.sort_by_key(|row| row.time);
        let fits = |row: &&model::Row| reference::wants(&wanted, &|c| model::value(row, c));
        let expected: Vec<String> = rows.iter().filter(fits).map(expected).collect();
        let mut found = selected(&VisibleSegment::Sealed(merged), &wanted, &schema, 50);
        // Within one time the order is the sources': sealed ones come sorted, growing ones as they were.
        let mut expected = expected;
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}

fn cases(default: u32) -> u32 {
    std::env::var("FRESHET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn index_and_pages_agree_on_many_rows_of_the_usual_layout() {
    let place = Place::new();
    let rows = model::big(80_000);
    let (mut growing, schema) = model::grow(&rows, &[], 10_000);
    let growing = VisibleSegment::Growing(growing.snapshot());
    let schema = Arc::new(schema);
    let sealing = Sealing {
        schema: Arc::clone(&schema),
        layout: Layout::default(),
        ..sealing(std::slice::from_ref(&growing), &[])
    };
    let sealed = VisibleSegment::Sealed(place.seal(&sealing));
    assert_eq!((sealed.units(None).expect("readable").len(), sealed.unit_count()), (2, 2));
    assert_eq!(sealed.cardinality("text"), Some(100));
    assert_eq!((sealed.cardinality("rare"), sealed.cardinality("nosuch")), (Some(16), Some(0)));
    let compare = |column: &str, op, value| Predicate::Compare { column: Arc::from(column), op, value };
    let text = |s: &str| Value::String(Arc::from(s));
    for wanted in [
        compare("text", CompareOp::Eq, text("v7")),
        compare("text", CompareOp::Ne, text("v7")),
        compare("text", CompareOp::Eq, text("none")),
        compare("text", CompareOp::Gt, text("v5")),
        compare("rare", CompareOp::Ge, text("a")),
        compare("long", CompareOp::Gt, Value::Long(70_000)),
        compare("double", CompareOp::Lt, Value::Long(3)),
        compare("widening", CompareOp::Eq, text("3")),
        compare(TIME_COLUMN, CompareOp::Ge, Value::Timestamp(Timestamp::from_millis(79_999))),
        compare("text", CompareOp::Eq, text("v7")).and(compare("long", CompareOp::Lt, Value::Long(500))),
    ] {
        let fits = |row: &&model::Row| reference::wants(&wanted, &|c| model::value(row, c));
        let expected = rows.iter().filter(fits).count();
        assert_eq!(selected(&sealed, &wanted, &schema, 8_192).len(), expected, "{wanted:?}");
        assert_eq!(selected(&growing, &wanted, &schema, 8_192).len(), expected, "{wanted:?}");
    }
}

/// Everything that can be asked of a small table, as text; or the failure.
fn ask(segment: &Arc<SealedSegment>, schema: &TableSchema) -> Result<String> {
    let visible = VisibleSegment::Sealed(Arc::clone(segment));
    let text = |s: &str| Value::String(Arc::from(s));
    let compare = |column: &str, value| Predicate::Compare { column: Arc::from(column), op: CompareOp::Gt, value };
    let wanted = [
        Predicate::True,
        compare("n", Value::Long(150)),
        compare("s", text("v4")),
        Predicate::IsNull { column: Arc::from("s"), negated: false },
    ];
    let mut answer = format!("{:?}", visible.cardinality("s"));
    for wanted in wanted {
        let filter = visible.filter(&wanted, schema)?;
        for unit in visible.units(None)? {
            for part in filter.select_unit(&unit)?.parts(20) {
                for column in schema.columns() {
                    let array = unit.read(column, &part)?;
                    answer.extend((0..array.len()).map(|row| cell(&array, row) + ","));
                }
            }
        }
    }
    Ok(answer)
}

#[test]
fn a_changed_byte_in_any_file_is_found_or_harmless() {
    use rand::{RngExt, SeedableRng};
    let seed = std::env::var("FRESHET_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(11u64);
    eprintln!("FRESHET_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let place = Place::new();
    let schema = schema();
    let sealed = place.seal(&sealing(&[growing(&(0..300).collect::<Vec<_>>())], &[]));
    let right = ask(&sealed, &schema).expect("whole");
    let mut found = 0;
    for _ in 0..cases(150) {
        for file in sealed.row().files.each() {
            let path = place.folder.path().join("deep").join(&file.path);
            let good = std::fs::read(&path).expect("there");
            let mut bad = good.clone();
            let at = random.random_range(0..bad.len());
            if random.random_range(0..10) == 0 {
                bad.truncate(at);
            } else {
                bad[at] ^= 1 << random.random_range(0..8);
            }
            std::fs::write(&path, &bad).expect("damaged");
            let again = place.open(sealed.row().clone());
            match ask(&again, &schema) {
                Ok(answer) => assert!(answer == right, "byte {at} of {} gave another answer", file.path),
                Err(error) => {
                    found += 1;
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(error.to_string().contains(&sealed.id().to_string()), "{error}");
                }
            }
            assert!(again.verify().is_err(), "a scrub finds byte {at} of {}", file.path);
            std::fs::write(&path, &good).expect("mended");
        }
    }
    assert!(found > 0, "damage is found by queries too");
    assert_eq!(ask(&place.open(sealed.row().clone()), &schema).expect("whole"), right);
}

/// Damage below the checksums: what the decoders make of bytes that nobody vouches for. Their checksums are made to match.
#[test]
fn decoders_of_damaged_bytes_fail_and_do_not_panic() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let place = Place::new();
    let schema = schema();
    let sealed = place.seal(&sealing(&[growing(&(0..300).collect::<Vec<_>>())], &[]));
    let path = |file: &StoredFile| place.folder.path().join("deep").join(&file.path);
    let files = &sealed.row().files;
    for turn in 0..cases(100) {
        let mut row = sealed.row().clone();
        let mut told = meta::Meta::parse(&std::fs::read(path(&files.meta)).expect("there"), &row.id).expect("sound");
        let index = turn % 2 == 1;
        let damaged = if index { &mut row.files.index } else { &mut row.files.parquet };
        let good = std::fs::read(path(damaged)).expect("there");
        let mut bad = good.clone();
        let at = random.random_range(0..bad.len());
        bad[at] = random.random();
        let (sums, sha256) = meta::Sums::of(&bad);
        damaged.path.push_str(".bad");
        damaged.sha256 = sha256;
        std::fs::write(path(damaged), &bad).expect("written");
        *(if index { &mut told.index } else { &mut told.parquet }) = sums;
        let text = told.to_bytes();
        row.files.meta.path.push_str(".bad");
        row.files.meta.bytes = text.len() as u64;
        row.files.meta.sha256 = sha256_of(&text);
        std::fs::write(path(&row.files.meta), &text).expect("written");
        if let Err(error) = ask(&place.open(row), &schema) {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
}

#[test]
fn copies_of_files_that_are_elsewhere_stay_within_their_bound_and_those_a_query_holds_stay() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let storage = DeepStorage::memory(runtime.handle().clone());
    let cache = place.folder.path().join("cache");
    let segments: Vec<Arc<SealedSegment>> = (0..4)
        .map(|_| {
            let source = [growing(&(0..300).collect::<Vec<_>>())];
            let sealing = Sealing { attempt: AttemptId(rand::random()), ..sealing(&source, &[]) };
            let sealed = sealing.write(&place.folder.path().join("staging")).expect("sealed");
            let stored = runtime.block_on(storage.put(&sealed)).expect("stored");
            SealedSegment::lazy(stored.new_segment().clone(), Arc::clone(&storage), &cache)
        })
        .collect();
    let bytes = segments[0].stored_bytes();
    assert!(segments.iter().all(|segment| segment.stored_bytes().abs_diff(bytes) < bytes / 10), "about alike");
    let there =
        |n: usize| cache.join(segments[n].row().files.parquet.path.rsplit('/').next().expect("a name")).exists();
    let are_there = || (0..4).map(there).collect::<Vec<_>>();
    let read = |n: usize| ask(&segments[n], &schema()).expect("whole");
    let expected = read(0);
    storage.limit_copies(bytes * 5 / 2);
    // The order of uses is by milliseconds.
    let next_ms = || {
        let now = deep_storage::now_ms();
        while deep_storage::now_ms() <= now {
            std::thread::yield_now();
        }
    };
    for n in [1, 0, 2] {
        next_ms();
        assert_eq!(read(n), expected);
    }
    assert_eq!(are_there(), [true, false, true, false], "the one that was not asked for the longest has gone");
    next_ms();
    let held = segments[0].units(None).expect("open");
    next_ms();
    read(2);
    next_ms();
    assert_eq!(read(3), expected);
    assert_eq!(are_there(), [true, false, false, true], "one whose units are held stays, though it is older");
    let held_too = segments[3].units(None).expect("open");
    let third = segments[1].units(None).expect("more than may be, because all are held");
    assert_eq!(are_there(), [true, true, false, true]);
    assert_eq!(storage.trim_copies(&cache).expect("looked"), 0);
    drop((held, held_too, third));
    assert_eq!(storage.trim_copies(&cache).expect("looked"), 1);
    assert_eq!((are_there(), storage.copies_evicted()), (vec![false, true, false, true], 3));
    for n in 0..4 {
        assert_eq!(read(n), expected, "what was evicted comes again");
    }
    // Copies that a former process left count as well.
    drop(segments);
    storage.limit_copies(0);
    storage.trim_copies(&cache).expect("looked");
    assert_eq!(std::fs::read_dir(&cache).expect("a folder").count(), 0);
}

#[test]
fn files_that_are_elsewhere_are_fetched_once_and_again_when_the_copy_is_damaged() {
    let place = Place::new();
    let schema = schema();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let storage = DeepStorage::memory(runtime.handle().clone());
    let source = [growing(&(0..300).collect::<Vec<_>>())];
    let sealed = sealing(&source, &[]).write(&place.folder.path().join("staging")).expect("sealed");
    let stored = runtime.block_on(storage.put(&sealed)).expect("stored");
    let cache = place.folder.path().join("cache");
    let open = || SealedSegment::lazy(stored.new_segment().clone(), Arc::clone(&storage), &cache);
    let right = ask(&open(), &schema).expect("whole");
    assert_eq!(std::fs::read_dir(&cache).expect("a folder").count(), 3, "three copies and nothing else");

    for file in stored.new_segment().files.each() {
        let copy = cache.join(file.path.rsplit('/').next().expect("a name"));
        let good = std::fs::read(&copy).expect("a copy");
        // Damaged while it is open, and before it is opened.
        let held = open();
        held.units(None).expect("open");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x10;
        std::fs::write(&copy, &bad).expect("damaged");
        assert_eq!(ask(&open(), &schema).or_else(|_| ask(&open(), &schema)).expect("fetched again"), right);
        let _ = ask(&held, &schema);
        assert_eq!(ask(&held, &schema).expect("repaired by itself"), right);
    }
    runtime.block_on(storage.delete(&stored.new_segment().files.parquet.path)).expect("deleted");
    ask(&open(), &schema).expect("the copy is enough");
    std::fs::remove_dir_all(&cache).expect("removed");
    let error = ask(&open(), &schema).expect_err("gone everywhere");
    assert!(error.to_string().contains(&sealed.id.to_string()), "{error}");
}
