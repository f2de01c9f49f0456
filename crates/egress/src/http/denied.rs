//! HTTP responses that creel itself sends.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::version::Version;
use crate::refusal::Refusal;
use crate::reply;

/// A request that creel refuses: the status of the response, and the reason.
pub struct Denied {
    pub status: StatusCode,
    pub refusal: Refusal,
    pub after: After,
}

/// Whether the client's connection stays open after a refusal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Denied {
        Denied {
            status: reply::status(&refusal),
            refusal,
            after: After::Keep,
        }
    }
}

impl Denied {
    /// 400 for a malformed or ambiguous request; closes the connection.
    pub fn unread(why: String) -> Denied {
        Denied {
            status: StatusCode::BAD_REQUEST,
            refusal: Refusal::Request(why),
            after: After::Close,
        }
    }

    pub fn closing(refusal: Refusal) -> Denied {
        Denied {
            after: After::Close,
            ..Denied::from(refusal)
        }
    }

    /// 502 in place of a host's response; closes the connection.
    pub fn gateway(refusal: Refusal) -> Denied {
        Denied {
            status: StatusCode::BAD_GATEWAY,
            refusal,
            after: After::Close,
        }
    }

    pub fn answer(self, version: Version) -> Response<Body> {
        let why = reply::line(&self.refusal.to_string());
        let text = Bytes::from(format!("creel: {why}\n"));
        let mut response = Response::new(Body::Own(Some(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain");
        headers.insert(header::CONTENT_TYPE, plain);
        if let Ok(why) = HeaderValue::try_from(why) {
            headers.insert(reply::DENIED, why);
        }
        if (self.after, version) == (After::Close, Version::One) {
            let close = HeaderValue::from_static("close");
            headers.insert(header::CONNECTION, close);
        }
        response
    }
}
