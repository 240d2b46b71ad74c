//! The gRPC services: unpack, call, map errors.

pub(crate) mod artifact;
pub(crate) mod coordinator;
pub(crate) mod ledger;

use std::pin::Pin;

use colearn_records::convert::BadField;
use tokio_stream::Stream;
use tonic::Status;

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn bad_field(error: BadField) -> Status {
    Status::invalid_argument(error.to_string())
}
