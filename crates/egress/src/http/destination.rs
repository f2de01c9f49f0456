//! The destination of a request: the one granted to its connection or, at the proxy, the one that it names.
//! A target and a `Host` that name different destinations are refused.

use std::rc::Rc;

use hyper::Method;
use hyper::header;
use hyper::http::request::Parts;
use hyper::http::uri::Scheme as UriScheme;

use super::denied::Denied;
use super::upstream::Upstream;
use super::version::Version;
use super::{Front, Session, fields, path_of};
use crate::Way;
use crate::refusal::Refusal;
use crate::target::Target;

impl Session {
    /// The destination of a request, and its authority as it is sent on: the granted one or, at the proxy,
    /// the one that the request names, after a decision on it.
    pub(super) async fn destination(
        &self,
        parts: &Parts,
    ) -> Result<(Rc<Upstream>, Target), Denied> {
        if parts.method == Method::CONNECT {
            let why = "CONNECT must be the first request of a connection to the proxy";
            return Err(self.unread(parts, why.into()));
        }
        match &self.front {
            Front::One(upstream) => {
                let pass = &upstream.pass;
                let written = self.named(parts).map_err(|why| self.unread(parts, why))?;
                let port = written.port.unwrap_or(self.scheme.port());
                if (&written.host, port) == (&pass.host, pass.port) {
                    return Ok((Rc::clone(upstream), written));
                }
                let (host, own) = (&pass.host, pass.port);
                let why = format!("its Host is {written}, and {host}:{own} was granted");
                let refusal = Refusal::OtherHost(why);
                let _ = pass.request(parts.method.as_str(), path_of(&parts.uri), Some(&refusal));
                Err(Denied::closing(refusal))
            }
            Front::Any(last) => {
                if parts.uri.scheme().is_none() {
                    let why = "this is the proxy: a request to it has the whole http:// URL, or is CONNECT";
                    return Err(self.unread(parts, why.into()));
                }
                let written = self.named(parts).map_err(|why| self.unread(parts, why))?;
                let port = written.port.unwrap_or(self.scheme.port());
                let host = self.gate.meant(written.host);
                let written = Target {
                    host: host.clone(),
                    port: written.port,
                };
                if let Some(upstream) = &*last.borrow()
                    && (&host, port) == (&upstream.pass.host, upstream.pass.port)
                {
                    return Ok((Rc::clone(upstream), written));
                }
                // Closes the previous connection first: a client has one at a time.
                last.take();
                let pass = self.gate.admit(Way::Absolute, host, port).await?;
                let upstream = Upstream::new(Rc::new(pass), self.scheme, self.version, None);
                let upstream = Rc::new(upstream);
                *last.borrow_mut() = Some(Rc::clone(&upstream));
                self.turned.notify_one();
                Ok((upstream, written))
            }
        }
    }

    /// The destination that a request names. Its target and its `Host` must agree.
    fn named(&self, parts: &Parts) -> Result<Target, String> {
        if let Some(scheme) = parts.uri.scheme()
            && *scheme != self.scheme.name()
        {
            return Err(match scheme == &UriScheme::HTTPS {
                true => "https goes through the proxy with CONNECT alone".into(),
                false => format!("its scheme is {scheme}"),
            });
        }
        let read = |text: &[u8]| {
            Target::parse(text).map_err(|error| {
                let said = String::from_utf8_lossy(text);
                format!("its authority {said:?} is not valid: {error}")
            })
        };
        let authority = parts.uri.authority();
        let authority = authority.map(|a| read(a.as_str().as_bytes())).transpose()?;
        let host = match (self.version, &authority) {
            // HTTP/2 has its authority in the target.
            (Version::Two, Some(_)) if !parts.headers.contains_key(header::HOST) => None,
            _ => Some(read(fields::host(&parts.headers)?.as_bytes())?),
        };
        match (authority, host) {
            (Some(authority), Some(host)) => {
                let port = |target: &Target| target.port.unwrap_or(self.scheme.port());
                let same = authority.host == host.host && port(&authority) == port(&host);
                same.then_some(authority)
                    .ok_or_else(|| "its target and its Host name different destinations".into())
            }
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Err("the request has no Host".into()),
        }
    }

    /// Records and refuses a request whose destination cannot be determined.
    fn unread(&self, parts: &Parts, why: String) -> Denied {
        let denied = Denied::unread(why);
        match &self.front {
            Front::One(upstream) => {
                let refusal = Some(&denied.refusal);
                let path = path_of(&parts.uri);
                let _ = upstream.pass.request(parts.method.as_str(), path, refusal);
            }
            Front::Any(_) => {
                let authority = parts.uri.authority();
                let said = authority.map_or("", |authority| authority.as_str());
                let refusal = &denied.refusal;
                self.gate.refuse(Way::Absolute, said, 0, refusal);
            }
        }
        denied
    }
}
