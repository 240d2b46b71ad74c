//! Refusals, in the manner in which it was asked.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tonic::{Code, Status};

/// Whether it is asked as gRPC.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(|it| it.as_bytes());
    kind.is_some_and(|it| it.starts_with(b"application/grpc"))
}

/// A refusal.
pub(crate) fn refused(status: Status, is_grpc: bool) -> Response {
    match is_grpc {
        true => status.into_http(),
        false => (http_status(status.code()), format!("{}\n", status.message())).into_response(),
    }
}

/// What plain HTTP says for a code of gRPC.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Aborted => StatusCode::REQUEST_TIMEOUT,
        Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
