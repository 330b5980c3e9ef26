//! One runner: looks at its table each tick, evaluates when something changed, and sends to all who are ready.
//!
//! What to do is decided by `Track`, which has no clock and no channel of its own: it is told the time and what the timeline
//! says, and answers what its subscribers may lack.
//!
//! A view is taken *before* the evaluation, which then sees at least as much. So what counts as seen is never too much, and a
//! change that comes in between is evaluated once more rather than lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use freshet_segment::id::TableId;
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::{Changed, TableView};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::frame::{Frame, Kind};
use super::hub::{Subject, Subscriber};
use super::template::{Range, Wanted};
use crate::http::encode::{Format, Shape};
use crate::http::reply::Problem;
use crate::http::tables;
use crate::node::Node;
use crate::queries;

/// Largest frame: a chart or a leaderboard is a thousandth of this.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// A live query that takes longer is of no use to its page.
const TIMEOUT: Duration = Duration::from_secs(30);
const TABLES_EVERY: Duration = Duration::from_secs(1);
/// Refusals for lack of a place in a row before clients hear of them.
const QUIET_REFUSALS: u32 = 5;

/// What a subscriber lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Rows at or after this may have changed.
    From(Timestamp),
    Everything,
}

impl Need {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, need) | (need, Self::Nothing) => need,
            (Self::From(a), Self::From(b)) => Self::From(a.min(b)),
            _ => Self::Everything,
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The table is not there.
    Missing,
    /// What all subscribers lack in addition.
    Lack(Need),
    /// Only the clock moved: rows may have left the range. Worth an evaluation, sent if it differs.
    Moved,
}

/// What was seen of the table at the last look.
#[derive(Debug, Default)]
struct Track {
    last: Option<(TableId, u64, Range)>,
}

impl Track {
    fn look(&mut self, wanted: &Wanted, view: Option<&TableView>, now: Timestamp) -> Seen {
        let range = wanted.range(now);
        let Some(view) = view else {
            self.last = None;
            return Seen::Missing;
        };
        let Some((table, seq, before)) = self.last.replace((view.table_id, view.seq, range)) else {
            return Seen::Lack(Need::Everything);
        };
        if table != view.table_id {
            return Seen::Lack(Need::Everything);
        }
        let changed = match view.changed_since(seq) {
            Changed::Nothing => Need::Nothing,
            Changed::From(at) => Need::From(at),
            Changed::Everything => Need::Everything,
        };
        let times = view.time_range();
        // Rows with a time after the end of the last range come into it as the clock moves on.
        let arrived = match times {
            Some((_, last)) if range.to > before.to && last >= before.to => Need::From(before.to),
            _ => Need::Nothing,
        };
        let need = match changed.and(arrived) {
            // Nothing of it is visible: neither before the range nor after it.
            Need::From(at) if at >= range.to => Need::Nothing,
            need => need,
        };
        if need != Need::Nothing {
            return Seen::Lack(if wanted.is_bucketed() { need } else { Need::Everything });
        }
        // With buckets the client drops what leaves the range; without, sums change.
        let left = matches!(times, Some((_, last)) if last >= before.from) && range.from > before.from;
        if left && !wanted.is_bucketed() { Seen::Moved } else { Seen::Lack(Need::Nothing) }
    }
}

struct Follower {
    subscriber: Subscriber,
    need: Need,
}

/// Runs until nobody follows any more.
pub async fn run(node: Arc<Node>, key: String, subject: Subject, joins: mpsc::Receiver<Subscriber>) {
    let every = match &subject {
        Subject::Tables => TABLES_EVERY,
        Subject::Query(wanted) => wanted.refresh,
    };
    let mut runner = Runner {
        node,
        key,
        followers: Vec::new(),
        seq: 0,
        track: Track::default(),
        sent: Bytes::new(),
        complaint: None,
        refusals: 0,
    };
    runner.follow(&subject, joins, every).await;
}

struct Runner {
    node: Arc<Node>,
    key: String,
    followers: Vec<Follower>,
    seq: u64,
    track: Track,
    /// Rows of the last whole evaluation, without the schema.
    sent: Bytes,
    complaint: Option<String>,
    refusals: u32,
}

impl Runner {
    async fn follow(&mut self, subject: &Subject, mut joins: mpsc::Receiver<Subscriber>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(subscriber) = joins.recv() => self.welcome(subscriber),
                _ = ticks.tick() => {}
                () = self.node.live.stopping.cancelled() => return,
            }
            while let Ok(subscriber) = joins.try_recv() {
                self.welcome(subscriber);
            }
            self.followers.retain(|follower| !follower.subscriber.is_over());
            if self.followers.is_empty() {
                match self.node.live.leave(&self.key, &mut joins) {
                    Some(subscriber) => self.welcome(subscriber),
                    None => return,
                }
            }
            match subject {
                Subject::Tables => self.tables(),
                Subject::Query(wanted) => self.query(wanted).await,
            }
        }
    }

    fn welcome(&mut self, subscriber: Subscriber) {
        // It hears of what is wrong even when the others have heard it before.
        self.complaint = None;
        self.followers.push(Follower { subscriber, need: Need::Everything });
    }

    fn tables(&mut self) {
        let text = Bytes::from(tables::describe_all(&self.node).to_string());
        if text != self.sent {
            self.sent = text.clone();
            self.all_need(Need::Everything);
        }
        self.seq += 1;
        let frame = Frame { kind: Kind::Status, id: 0, seq: self.seq, watermark: self.node.clock.now(), payload: text };
        for follower in &mut self.followers {
            if follower.need != Need::Nothing
                && follower.subscriber.is_ready()
                && follower.subscriber.send(frame.clone())
            {
                follower.need = Need::Nothing;
            }
        }
    }

    async fn query(&mut self, wanted: &Wanted) {
        let view = self.node.timeline.table(&wanted.table).map(|table| table.view());
        let now = self.node.clock.now();
        let moved = match self.track.look(wanted, view.as_deref(), now) {
            Seen::Missing => {
                self.all_need(Need::Everything);
                let mut problem = Problem::not_found(format!("table `{}` does not exist", wanted.table))
                    .hint("the subscription waits for it: push a row, or start the demo");
                problem.retry = true;
                self.complain(&problem);
                return;
            }
            Seen::Lack(need) => {
                self.all_need(need);
                false
            }
            Seen::Moved => true,
        };
        let ready = |follower: &Follower| follower.subscriber.is_ready() && (moved || follower.need != Need::Nothing);
        let Some(need) = self.followers.iter().filter(|f| ready(f)).map(|f| f.need).reduce(Need::and) else { return };
        let Some(view) = view else { return };
        let full = wanted.range(now);
        // What lies before the range is gone from the clients already.
        let (kind, range) = match need {
            Need::From(at) if wanted.is_bucketed() && wanted.floor(at) > full.from => {
                (Kind::Delta, Range { from: wanted.floor(at), to: full.to })
            }
            _ => (Kind::Snapshot, full),
        };
        self.node.telemetry.live_evaluations.fetch_add(1, Ordering::Relaxed);
        let (payload, watermark) = match self.evaluate(wanted, kind, range, full, view.rows()).await {
            Ok(result) => result,
            Err(problem) => {
                self.failed(problem, moved);
                return;
            }
        };
        self.complaint = None;
        self.refusals = 0;
        if kind == Kind::Snapshot {
            let rows = payload.slice(schema_bytes(&payload)..);
            if moved && need == Need::Nothing && rows == self.sent {
                return;
            }
            self.sent = rows;
            if moved {
                self.all_need(Need::Everything);
            }
        }
        self.seq += 1;
        let frame = Frame { kind, id: 0, seq: self.seq, watermark, payload };
        for follower in &mut self.followers {
            let covered = kind == Kind::Snapshot || follower.need != Need::Everything;
            if covered
                && follower.need != Need::Nothing
                && follower.subscriber.is_ready()
                && follower.subscriber.send(frame.clone())
            {
                follower.need = Need::Nothing;
            }
        }
    }

    async fn evaluate(
        &self,
        wanted: &Wanted,
        kind: Kind,
        range: Range,
        full: Range,
        rows: u64,
    ) -> Result<(Bytes, Timestamp), Problem> {
        let millis = |at: Timestamp| at.as_millis().to_string();
        let mut metadata = vec![
            ("rangeFrom".to_owned(), millis(full.from)),
            ("rangeTo".to_owned(), millis(full.to)),
            ("rows".to_owned(), rows.to_string()),
        ];
        if kind == Kind::Delta {
            metadata.push(("from".to_owned(), millis(range.from)));
        }
        let shape = Shape { metadata, produced: true, ..Shape::plain(Format::Arrow) };
        let answer = queries::open(&self.node, wanted.request(range, TIMEOUT), shape).await?;
        if wanted.is_bucketed() {
            let first = answer.columns.first();
            if first.is_none_or(|column| column.name != "t" || column.sql_type.to_string() != "TIMESTAMP") {
                return Err(Problem::invalid("with bucketMs the first column has to be ${bucket} AS \"t\"").at("/sql"));
            }
        }
        let watermark = answer.info.at;
        Ok((answer.collect(PAYLOAD_BYTES_MAX).await?, watermark))
    }

    fn all_need(&mut self, need: Need) {
        for follower in &mut self.followers {
            follower.need = follower.need.and(need);
        }
    }

    /// Tells what is wrong, once until it changes; ends the subscriptions when trying again cannot help.
    fn failed(&mut self, problem: Problem, moved: bool) {
        if moved {
            // What the evaluation would have found is still to be found.
            self.all_need(Need::Everything);
        }
        if problem.status == StatusCode::TOO_MANY_REQUESTS {
            self.refusals += 1;
            if self.refusals < QUIET_REFUSALS {
                return;
            }
        }
        self.complain(&problem);
        if !problem.retry() {
            for follower in self.followers.drain(..) {
                follower.subscriber.ended.cancel();
            }
        }
    }

    fn complain(&mut self, problem: &Problem) {
        if self.complaint.as_deref() == Some(problem.message.as_str()) {
            return;
        }
        self.complaint = Some(problem.message.clone());
        let frame = Frame::error(0, self.node.clock.now(), problem);
        for follower in &self.followers {
            follower.subscriber.tell(frame.clone());
        }
    }
}

/// Length of the first message of an Arrow stream, the schema: it holds the range, which differs each time.
fn schema_bytes(stream: &[u8]) -> usize {
    let length = stream.get(4..8).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map_or(0, u32::from_le_bytes);
    usize::try_from(length).unwrap_or(0).saturating_add(8).min(stream.len())
}

#[cfg(test)]
mod tests;
