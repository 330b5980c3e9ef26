//! A process that ends at any moment, and the next one on its folder and catalog.

mod owners;
mod simulation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freshet_segment::catalog::{AccountRow, Accounting, Counts, Publication, PublishId, StreamRange};
use freshet_segment::timeline::Timeline;

use crate::error::ErrorKind;
use crate::ingest::tests::{column, options, request, rows};
use crate::ingest::{Ingest, IngestOptions};
use crate::sealing::SealOptions;
use crate::source::push::{Acknowledge, PushRequest};
use crate::supervisor::tests::{FakeStream, assert_each_once, eventually, fake, fake_spec};
use crate::supervisor::{DetailedState, State};

const SOON: Duration = Duration::from_secs(30);

/// Options for the next life on the same folder and catalog.
fn next_life(options: &IngestOptions) -> IngestOptions {
    IngestOptions { timeline: Arc::new(Timeline::new()), ..options.clone() }
}

fn sealed_rows(ingest: &Ingest, table: &str) -> u64 {
    let view = ingest.timeline().reading().table(table).expect("there");
    view.segments().filter(|e| e.segment.is_sealed()).map(|e| e.segment.rows() as u64).sum()
}

/// The process ends without warning.
async fn end(ingest: Arc<Ingest>) {
    tokio::task::spawn_blocking(move || ingest.crash()).await.expect("no panic");
}

async fn ready(ingest: &Ingest, table: &str) {
    let unready = || ingest.timeline().reading().table(table).map(|view| view.unready.clone());
    let begun = std::time::Instant::now();
    while unready() != Some(None) {
        assert!(begun.elapsed() < Duration::from_secs(90), "table {table} is never ready: {:?}", unready());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_rows_are_there_after_a_crash_published_or_not() {
    let options = options(256 << 20);
    let first = Ingest::new(options.clone());
    first.push(request("t", "{\"ts\":1,\"n\":0}\n{\"ts\":86400001,\"n\":1,\"s\":\"x\"}")).await.expect("stored");
    first.publish("t", SOON).await.expect("published");
    assert_eq!(sealed_rows(&first, "t"), 2);
    assert_eq!(first.memory().used, 0, "sealed rows take no memory of the budget");
    first.push(request("t", "{\"ts\":2,\"n\":2}\n{\"ts\":3,\"n\":3}")).await.expect("stored");
    assert_eq!(column(&first, "t", "n"), ["0", "1", "2", "3"]);
    end(first).await;

    for life in 0..2 {
        let again = Ingest::new(next_life(&options));
        let recovered = again.recover().await.expect("recovered");
        assert_eq!((recovered.tables, recovered.segments, recovered.rows, recovered.journals), (1, 2, 2, 1), "{life}");
        ready(&again, "t").await;
        assert_eq!(column(&again, "t", "n"), ["0", "1", "2", "3"], "life {life}");
        assert_eq!(column(&again, "t", "s"), ["-", "-", "-", "x"]);
        assert_eq!(again.table_counts("t").stored, 4, "what was published and what was replayed");
        end(again).await;
    }
    let last = Ingest::new(next_life(&options));
    last.recover().await.expect("recovered");
    ready(&last, "t").await;
    last.push(request("t", "{\"ts\":2,\"n\":4}")).await.expect("stored");
    last.publish("t", SOON).await.expect("published");
    assert_eq!((sealed_rows(&last, "t"), rows(&last, "t")), (5, 5));
    assert_eq!(column(&last, "t", "n"), ["0", "1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_letters_and_the_time_column_are_those_of_before() {
    let options = options(256 << 20);
    let first = Ingest::new(options.clone());
    let body = |n: u32| format!("{{\"when\":{n},\"ts\":0,\"n\":{n}}}\nbad {n}\n{{\"n\":{n}}}");
    let skip = |n| PushRequest { on_error: crate::source::push::OnError::Skip, ..request("t", body(n)) };
    first.push(PushRequest { time_column: Some("when".to_owned()), ..skip(1) }).await.expect("stored");
    first.publish("t", SOON).await.expect("published");
    first.push(skip(2)).await.expect("stored");
    let (counts, letters) = (first.table_counts("t"), first.dead_letters("t", 9).await.expect("read"));
    assert_eq!((counts.read, counts.stored, counts.rejected), (6, 2, 4));
    let places = |letters: &crate::dead_letter::DeadLetters| {
        let mut places: Vec<_> = letters.letters.iter().map(|l| (l.offset, l.row, l.raw_text())).collect();
        places.sort();
        places
    };
    let (bad, none) = ("bad 1".to_owned(), "{\"n\":1}".to_owned());
    assert_eq!(places(&letters)[..2], [(0, 1, bad), (0, 2, none)]);
    assert_eq!((letters.total, letters.kept, places(&letters).len()), (4, 4, 4));
    let status = first.push_status("t").expect("pushed");
    assert_eq!((status.counts, status.unpublished.read, status.cause), (counts, 3, None));
    end(first).await;

    for life in 0..3 {
        let again = Ingest::new(next_life(&options));
        again.recover().await.expect("recovered");
        ready(&again, "t").await;
        assert_eq!(again.table_counts("t"), counts, "life {life}");
        let kept = again.dead_letters("t", 9).await.expect("read");
        assert_eq!((kept.total, kept.kept, places(&kept)), (4, 4, places(&letters)), "life {life}");
        assert_eq!(again.push_status("t").expect("pushed").time_column.as_deref(), Some("when"));
        if life == 1 {
            again.publish("t", SOON).await.expect("published");
        }
        end(again).await;
    }
    let last = Ingest::new(next_life(&options));
    last.recover().await.expect("recovered");
    ready(&last, "t").await;
    assert_eq!(last.push_status("t").expect("pushed").unpublished, Counts::default());
    last.push(request("t", "{\"when\":9,\"n\":9}")).await.expect("its time is where it was");
    assert_eq!(column(&last, "t", "n"), ["1", "2", "9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stores_once_before_and_after_publishing_and_in_the_next_life() {
    let options = options(256 << 20);
    let keyed = |body: &str, key: &str| PushRequest { key: Some(key.to_owned()), ..request("t", body.to_owned()) };
    let first = Ingest::new(options.clone());
    let reply = first.push(keyed("{\"ts\":1,\"n\":1}", "a")).await.expect("stored");
    assert_eq!(first.push(keyed("{\"ts\":1,\"n\":1}", "a")).await.expect("the first answer"), reply);
    let reused = first.push(keyed("{\"ts\":1,\"n\":2}", "a")).await.expect_err("another body");
    assert_eq!((reused.kind(), reused.hint().is_some()), (ErrorKind::Invalid, true));
    first.publish("t", SOON).await.expect("published");
    first.push(keyed("{\"ts\":1,\"n\":3}", "b")).await.expect("stored");
    end(first).await;

    let again = Ingest::new(next_life(&options));
    again.recover().await.expect("recovered");
    ready(&again, "t").await;
    for (key, n) in [("a", 1), ("b", 3)] {
        let body = format!("{{\"ts\":1,\"n\":{n}}}");
        assert_eq!(again.push(keyed(&body, key)).await.expect("the first answer"), reply, "key {key}");
        assert!(again.push(keyed("{\"ts\":1}", key)).await.is_err(), "key {key} stays taken");
    }
    assert_eq!(column(&again, "t", "n"), ["1", "3"]);
    for bad in [String::new(), "k".repeat(300)] {
        assert_eq!(again.push(keyed("{\"ts\":1}", &bad)).await.expect_err("no key").kind(), ErrorKind::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_retries_of_few_keys_at_once_store_each_key_once() {
    let ingest = Ingest::new(options(256 << 20));
    let pushes: Vec<_> = (0..64)
        .map(|n| {
            let ingest = Arc::clone(&ingest);
            let key = n % 8;
            let body = format!("{{\"ts\":1,\"n\":{key}}}");
            let request = PushRequest { key: Some(format!("key {key}")), ..request("t", body) };
            tokio::spawn(async move { ingest.push(request).await })
        })
        .collect();
    for push in pushes {
        assert_eq!(push.await.expect("no panic").expect("stored or answered").accepted, 1);
    }
    assert_eq!(column(&ingest, "t", "n"), ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(ingest.table_counts("t").stored, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_of_a_stream_is_stored_once_through_lives_that_end_anywhere() {
    let options = options(256 << 20);
    let stream = FakeStream::with(3);
    let mut sent = 0;
    for life in 0..5u64 {
        let ingest = fake(&stream, next_life(&options));
        ingest.recover().await.expect("recovered");
        ingest.restore(fake_spec("t")).await.expect("restored");
        stream.numbers(3, sent..sent + 200);
        sent += 200;
        eventually("most records", || rows(&ingest, "t") >= sent as u64 - 50).await;
        match life % 3 {
            // Published to the end, in the middle, or not at all.
            0 => {
                ingest.publish("t", SOON).await.expect("published");
                stream.numbers(3, sent..sent + 30);
                sent += 30;
            }
            1 => {
                stream.numbers(3, sent..sent + 100);
                sent += 100;
                ingest.publish("t", SOON).await.expect("published");
            }
            _ => {}
        }
        ready(&ingest, "t").await;
        eventually("all records", || rows(&ingest, "t") >= sent as u64).await;
        assert_each_once(&ingest, "t", sent);
        if life % 2 == 0 {
            ingest.shutdown(SOON).await;
            assert_eq!(sealed_rows(&ingest, "t"), sent as u64, "a stop publishes what streams have brought");
        } else {
            end(ingest).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_all_the_time_shows_every_row_once_at_every_moment() {
    let seal = SealOptions { rows_max: 40, ..SealOptions::default() };
    let options = IngestOptions { seal, ..options(256 << 20) };
    let stream = FakeStream::with(2);
    let ingest = fake(&stream, options);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (ingest, done) = (Arc::clone(&ingest), Arc::clone(&done));
        std::thread::spawn(move || {
            let (mut last, mut looks) = (0, 0);
            while !done.load(Ordering::Acquire) {
                let now = rows(&ingest, "t");
                assert!(now >= last, "the count fell from {last} to {now}");
                last = now;
                looks += 1;
            }
            looks
        })
    };
    for n in 0..20 {
        stream.numbers(2, n * 50..n * 50 + 50);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eventually("all records", || rows(&ingest, "t") >= 1_000).await;
    assert_each_once(&ingest, "t", 1_000);
    eventually("nearly all are sealed", || sealed_rows(&ingest, "t") >= 960).await;
    done.store(true, Ordering::Release);
    assert!(reader.join().expect("the count never fell") > 0);
    ingest.publish("t", SOON).await.expect("published");
    assert_each_once(&ingest, "t", 1_000);
    let status = ingest.status("t").expect("there");
    assert!(status.counts.is_balanced());
    assert_eq!(status.counts.stored, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_stays_visible_and_is_published_once_it_can() {
    let options = options(256 << 20);
    let staging = options.storage.folder.join("staging");
    std::fs::write(&staging, "in the way").expect("written");
    let stream = FakeStream::with(1);
    stream.numbers(1, 0..50);
    let ingest = fake(&stream, options);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("fifty", || rows(&ingest, "t") == 50).await;
    let late = ingest.publish("t", Duration::from_millis(300)).await.expect_err("nothing can be written");
    assert_eq!((late.kind(), late.hint().is_some()), (ErrorKind::Unavailable, true));
    let status = || ingest.status("t").expect("there");
    eventually("it says so", || status().detailed_state == DetailedState::WaitingToPublish).await;
    assert_eq!((rows(&ingest, "t"), sealed_rows(&ingest, "t"), status().state), (50, 0, State::Running));
    stream.numbers(1, 50..80);
    eventually("reading goes on", || rows(&ingest, "t") == 80).await;
    std::fs::remove_file(&staging).expect("removed");
    eventually("published by itself", || sealed_rows(&ingest, "t") == 50).await;
    ingest.publish("t", SOON).await.expect("published");
    assert_each_once(&ingest, "t", 80);
    assert_eq!(sealed_rows(&ingest, "t"), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_overtaken_gives_up_its_rows_and_reads_on_from_the_checkpoint() {
    let options = options(256 << 20);
    let stream = FakeStream::with(1);
    stream.numbers(1, 0..50);
    let ingest = fake(&stream, options.clone());
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("fifty", || rows(&ingest, "t") == 50).await;
    ingest.publish("t", SOON).await.expect("published");
    stream.numbers(1, 50..80);
    eventually("eighty", || rows(&ingest, "t") == 80).await;

    // Another process takes over and moves the checkpoint by ten records, which it leaves out.
    let catalog = &options.catalog;
    let table = catalog.table("t").await.expect("catalog").expect("there").id;
    let group = "supervisor/t";
    let lease = catalog.seize_lease(group, "another", Duration::from_millis(1)).await.expect("seized");
    let stream_name: Arc<str> = Arc::from("kafka:t:topic");
    let range = StreamRange { stream: stream_name, partition: 0, topic_id: Arc::from(""), from: 50, to: 60 };
    let left_out = Counts { read: 10, filtered: 10, ..Counts::default() };
    let publication = Publication {
        id: PublishId(7),
        table,
        lease: freshet_segment::catalog::LeaseRef { group: Arc::from(group), epoch: lease.epoch },
        ranges: vec![range],
        segments: Vec::new(),
        dedup: Vec::new(),
        accounting: Accounting {
            counts: vec![AccountRow { stream: Arc::from("kafka:t:topic"), partition: 0, counts: left_out }],
            ..Accounting::default()
        },
    };
    catalog.publish(publication).await.expect("published");

    let _overtaken = ingest.publish("t", Duration::from_secs(5)).await;
    eventually("the rest is read again", || rows(&ingest, "t") == 70).await;
    ingest.publish("t", SOON).await.expect("published");
    let numbers: Vec<String> = column(&ingest, "t", "n");
    assert_eq!(numbers.len(), 70);
    assert!(!numbers.contains(&"55".to_owned()) && numbers.contains(&"60".to_owned()));
    let errors = ingest.status("t").expect("there").recent_errors;
    assert!(!errors.is_empty(), "it says what happened");
    let counts = ingest.status("t").expect("there").counts;
    assert_eq!((counts.read, counts.stored, counts.filtered), (80, 70, 10), "what both have counted, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_leaves_no_journal_and_no_rows_for_the_next_life() {
    let options = options(256 << 20);
    let ingest = Ingest::new(options.clone());
    ingest.push(request("t", "{\"ts\":1,\"n\":1}")).await.expect("stored");
    ingest.publish("t", SOON).await.expect("published");
    ingest.push(request("t", "{\"ts\":1,\"n\":2}")).await.expect("stored");
    ingest.drop_table("t").await.expect("dropped");
    ingest.push(request("t", "{\"ts\":1,\"n\":3}")).await.expect("another table of this name");
    end(ingest).await;
    let again = Ingest::new(next_life(&options));
    again.recover().await.expect("recovered");
    ready(&again, "t").await;
    assert_eq!(column(&again, "t", "n"), ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_can_wait_until_it_is_published_or_not_even_for_the_disk() {
    let ingest = Ingest::new(options(256 << 20));
    let asked = |n: u32, acknowledge| PushRequest { acknowledge, ..request("t", format!("{{\"ts\":1,\"n\":{n}}}")) };
    ingest.push(asked(1, Acknowledge::Published)).await.expect("published");
    assert_eq!(sealed_rows(&ingest, "t"), 1);
    ingest.push(asked(2, Acknowledge::Memory)).await.expect("visible");
    assert_eq!((sealed_rows(&ingest, "t"), rows(&ingest, "t")), (1, 2));
}
