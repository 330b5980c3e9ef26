//! The id that Kafka gives a topic when it is made: the name outlives a deletion, the id does not.
//!
//! The client library asks for it (`DescribeTopics`), its Rust wrapper does not, so this module calls the library itself.
//! It is the one module of the crate with `unsafe`. Its promises: every object made here is destroyed once, after its
//! last use; the client outlives the call, because it is borrowed; what an answer points to is read while the answer
//! lives, and copied. An answer that comes after the wait falls into a queue that nobody holds and is freed with it.
#![expect(unsafe_code, reason = "calls the client library; see the module's promises")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::{RDKafkaAdminOp, RDKafkaRespErr};

/// The library gives up first; this is for a library that does not.
const SLACK: Duration = Duration::from_millis(500);
/// Room for the library's words about an option that it refuses.
const WORDS_MAX: usize = 256;

/// Why there is no id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The brokers know no such question.
    Unsupported,
    /// Nothing came in time.
    TimedOut,
    /// The brokers, or the library, in their words.
    Refused(String),
}

/// Asks for the id of a topic, in the form that Kafka's own tools print; `None` from brokers older than topic ids. Asks this
/// broker, or without one the cluster's controller. Takes no longer than `timeout` and a moment.
pub(super) fn ask<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    broker: Option<i32>,
    timeout: Duration,
) -> Result<Option<String>, NoAnswer> {
    let name = CString::new(topic).map_err(|_| refused("its name holds a zero byte"))?;
    let client = client.native_ptr();
    // SAFETY: `client` is a live handle: it is borrowed for the whole call. A queue is destroyed by its own function.
    let queue = unsafe { Owned::new(native::rd_kafka_queue_new(client), native::rd_kafka_queue_destroy) }?;
    let operation = RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: as above, for options.
    let options = unsafe {
        Owned::new(native::rd_kafka_AdminOptions_new(client, operation), native::rd_kafka_AdminOptions_destroy)
    }?;
    let millis = millis(timeout);
    set(|words, size| {
        // SAFETY: the options live; `words` has room for `size` bytes.
        unsafe { native::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), millis, words, size) }
    })?;
    if let Some(broker) = broker {
        set(|words, size| {
            // SAFETY: as above.
            unsafe { native::rd_kafka_AdminOptions_set_broker(options.as_ptr(), broker, words, size) }
        })?;
    }
    let mut names = [name.as_ptr()];
    // SAFETY: one name, ended by zero, is copied out of an array of one. The collection has its own destroy function.
    let topics = unsafe {
        Owned::new(
            native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            native::rd_kafka_TopicCollection_destroy,
        )
    }?;
    // SAFETY: all four live; the library copies topics and options and keeps a reference of its own to the queue.
    unsafe { native::rd_kafka_DescribeTopics(client, topics.as_ptr(), options.as_ptr(), queue.as_ptr()) };
    let wait = self::millis(timeout + SLACK);
    // SAFETY: the queue lives; the event, if one came, is ours to destroy.
    let event = unsafe {
        Owned::new(native::rd_kafka_queue_poll(queue.as_ptr(), wait), native::rd_kafka_event_destroy)
            .map_err(|_| NoAnswer::TimedOut)
    }?;
    read(&event)
}

fn read(event: &Owned<native::rd_kafka_event_t>) -> Result<Option<String>, NoAnswer> {
    // SAFETY: the event lives, and nothing else uses it.
    match unsafe { native::rd_kafka_event_error(event.as_ptr()) } {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT | RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT => {
            return Err(NoAnswer::TimedOut);
        }
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION => return Err(NoAnswer::Unsupported),
        _ => {
            // SAFETY: the text is the event's, which lives, or the library's own.
            return Err(NoAnswer::Refused(unsafe { text(native::rd_kafka_event_error_string(event.as_ptr())) }));
        }
    }
    // SAFETY: the event lives; an event of another kind gives a null pointer.
    let result = unsafe { native::rd_kafka_event_DescribeTopics_result(event.as_ptr()) };
    if result.is_null() {
        return Err(refused("the answer is of another kind"));
    }
    let mut count = 0;
    // SAFETY: `result` is the event itself, of the right kind; `count` is written.
    let described = unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
    if described.is_null() || count == 0 {
        return Err(refused("the answer holds no topic"));
    }
    // SAFETY: an array of `count` pointers, at least one, which lives as long as the event.
    let topic = unsafe { *described };
    if topic.is_null() {
        return Err(refused("the answer leaves the topic out"));
    }
    // SAFETY: the description lives as long as the event, and so do its error and that error's text.
    let error = unsafe { native::rd_kafka_TopicDescription_error(topic) };
    if !error.is_null() {
        // SAFETY: as above.
        return Err(NoAnswer::Refused(unsafe { text(native::rd_kafka_error_string(error)) }));
    }
    // SAFETY: the id is a part of the description.
    let id = unsafe { native::rd_kafka_TopicDescription_topic_id(topic) };
    if id.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    let (high, low) =
        unsafe { (native::rd_kafka_Uuid_most_significant_bits(id), native::rd_kafka_Uuid_least_significant_bits(id)) };
    Ok(written(high, low))
}

/// An id as Kafka writes it; the zero id stands for none.
fn written(high: i64, low: i64) -> Option<String> {
    if (high, low) == (0, 0) {
        return None;
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Sets an option; a refusal becomes an error with the library's words.
fn set(option: impl FnOnce(*mut c_char, usize) -> RDKafkaRespErr) -> Result<(), NoAnswer> {
    let mut words = [0_u8; WORDS_MAX];
    if option(words.as_mut_ptr().cast(), words.len()) == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let words = CStr::from_bytes_until_nul(&words).map(CStr::to_string_lossy).unwrap_or_default();
    Err(NoAnswer::Refused(words.into_owned()))
}

fn refused(why: &str) -> NoAnswer {
    NoAnswer::Refused(why.to_owned())
}

fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

/// Copies a text of the library.
///
/// # Safety
/// A null pointer, or a text that ends with zero and does not change meanwhile.
unsafe fn text(words: *const c_char) -> String {
    if words.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}

/// An object of the library that is destroyed with its holder.
struct Owned<T> {
    object: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `object` is null, or `destroy` destroys it and nobody else does.
    unsafe fn new(object: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, NoAnswer> {
        NonNull::new(object)
            .map(|object| Self { object, destroy })
            .ok_or_else(|| refused("the client library made no request"))
    }

    fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was promised that this is the way to destroy it, and that nobody else does.
        unsafe { (self.destroy)(self.object.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // The first is the id of Kafka's own metadata topic.
        assert_eq!(written(0, 1).as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
        assert_eq!(written(0, 2).as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAg"));
        // All bits set: where the alphabets of Base64 differ.
        assert_eq!(written(-1, -1).as_deref(), Some("_____________________w"));
        assert_eq!(written(0, 0), None);
    }
}
