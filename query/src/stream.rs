//! An answer as it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::columns::OutputColumn;
use crate::context::LeftOut;
use crate::error::{QueryError, Result};
use crate::request::{Missing, ReadingInfo};
use crate::sql::Settings;

/// What a query's task says.
#[derive(Debug)]
pub(crate) enum Message {
    /// Rows.
    Batch(RecordBatch),
    /// There are no more, and nothing is missing.
    End,
}

/// The batches of one query. Dropping it ends the query. An error is the last item.
#[derive(Debug)]
pub struct ResultStream {
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
    reading: ReadingInfo,
    settings: Settings,
    left_out: Arc<LeftOut>,
    messages: Option<mpsc::Receiver<Result<Message>>>,
    _query: DropGuard,
}

impl ResultStream {
    pub(crate) fn new(
        columns: Vec<OutputColumn>,
        schema: SchemaRef,
        reading: ReadingInfo,
        settings: Settings,
        left_out: Arc<LeftOut>,
        messages: mpsc::Receiver<Result<Message>>,
        query: DropGuard,
    ) -> Self {
        Self { columns, schema, reading, settings, left_out, messages: Some(messages), _query: query }
    }

    /// Names and types of the columns; known before the first batch.
    pub fn columns(&self) -> &[OutputColumn] {
        &self.columns
    }

    /// The schema of every batch, under the columns' names; names may come twice.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the query saw.
    pub fn reading_info(&self) -> &ReadingInfo {
        &self.reading
    }

    /// What the answer lacks, where the query allows that. Complete once the first batch, or the end, has come.
    pub fn missing(&self) -> Vec<Missing> {
        self.left_out.all()
    }

    /// Context keys of the text's leading SET statements; they win over those of the request.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Stream for ResultStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(None) };
        let Poll::Ready(message) = messages.poll_recv(cx) else { return Poll::Pending };
        let item = match message {
            Some(Ok(Message::Batch(batch))) => return Poll::Ready(Some(Ok(batch))),
            Some(Ok(Message::End)) => None,
            Some(Err(error)) => Some(Err(error)),
            // The task is gone without its end mark: a panic, or the runtime going down.
            None => Some(Err(QueryError::internal("the query ended before its answer did"))),
        };
        self.messages = None;
        Poll::Ready(item)
    }
}
