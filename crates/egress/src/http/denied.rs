//! The HTTP answers that creel itself gives to a client.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::Version;
use super::body::Body;
use crate::gate::Refusal;
use crate::reply;

/// Why a request is answered by creel.
pub struct Denied {
    pub status: StatusCode,
    pub refusal: Refusal,
    pub after: After,
}

/// The state of the connection after a refusal.
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
    /// A request that can be read in two ways.
    pub fn unread(why: String) -> Denied {
        Denied {
            status: StatusCode::BAD_REQUEST,
            refusal: Refusal::Spoken(why),
            after: After::Close,
        }
    }

    pub fn closing(refusal: Refusal) -> Denied {
        Denied {
            after: After::Close,
            ..Denied::from(refusal)
        }
    }

    /// An answer of the host that is not given on.
    pub fn gateway(why: &str) -> Denied {
        Denied {
            status: StatusCode::BAD_GATEWAY,
            refusal: Refusal::Spoken(why.into()),
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
