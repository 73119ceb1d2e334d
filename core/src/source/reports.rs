//! Telling a rotation endpoint which credentials are in use: `POST {set}/acks`.
//!
//! A report carries ids and counts and never material. It goes where a fetch goes, with the same bootstrap
//! credential, over the same connection rules, and follows no redirect. What it answers changes nothing.

use std::{
    fmt::Write,
    process,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde::Serialize;
use url::Url;

use super::{
    BoxFuture, Endpoint,
    endpoint_client::{EndpointClient, EndpointRequest, ResponseHead},
};
use crate::{
    error::{Error, ErrorKind},
    report::Report,
};

/// What the endpoint is told that it speaks with.
const SDK: &str = concat!("keyswap/", env!("CARGO_PKG_VERSION"));

/// Who reports to an endpoint.
#[derive(Default)]
pub(super) struct ReportSender {
    app: Option<Box<str>>,
    instance: Arc<Mutex<Option<(u32, String)>>>,
}

impl Endpoint {
    /// What the provider's operators see this program as, such as `bot/2.1`: a name, and no secret. It is
    /// told with the reports of what is in use, where the endpoint takes them.
    ///
    /// ```
    /// use keyswap::source::Endpoint;
    /// let endpoint = Endpoint::new("https://keys.example.com/v1/sets/trading-eu")?.app("bot/2.1");
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    pub fn app(mut self, app: &str) -> Self {
        self.reports.app = Some(app.into());
        self
    }

    /// The report as it is sent, if the set says that the endpoint takes one.
    pub(super) fn send_report(
        &self,
        report: &Report,
    ) -> Option<BoxFuture<'static, Result<(), Error>>> {
        if !report.announced {
            return None;
        }
        let (client, document) = (self.client.clone(), self.reports.document(report));
        Some(Box::pin(async move { post(&client, &document?).await }))
    }
}

impl ReportSender {
    /// Reports as the same instance as another one does: what it is told of, both are.
    pub(super) fn report_as(&mut self, other: &ReportSender) {
        self.instance = other.instance.clone();
        self.app = self.app.take().or_else(|| other.app.clone());
    }

    fn document(&self, report: &Report) -> Result<Vec<u8>, Error> {
        let observations = report.observations.iter().map(|it| Observed {
            credential: &it.credential,
            status: it.status.name(),
            last_used_at: it.last_used_at,
            ok: it.ok,
            rejected: it.rejected,
        });
        let document = Document {
            instance: self.instance().ok_or_else(no_randomness)?,
            app: self.app.as_deref(),
            sdk: SDK,
            // Whole seconds, and none only for the last report.
            lease_seconds: report.lease.as_secs_f64().ceil() as u64,
            generation: report.generation,
            observations: observations.collect(),
        };
        serde_json::to_vec(&document)
            .map_err(|_| Error::new(ErrorKind::Malformed, "a report cannot be written"))
    }

    /// What tells this handle from all others: 128 random bits, made anew in a forked child, which is
    /// another program that may use another key. Two handles of one process may use different keys too,
    /// and one of them may end before the other.
    fn instance(&self) -> Option<String> {
        let process = process::id();
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        if instance.as_ref().is_none_or(|(of, _)| *of != process) {
            *instance = Some((process, random()?));
        }
        instance.as_ref().map(|(_, name)| name.clone())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    sdk: &'static str,
    lease_seconds: u64,
    generation: u64,
    observations: Vec<Observed<'a>>,
}

#[derive(Serialize)]
struct Observed<'a> {
    credential: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    ok: u64,
    rejected: u64,
}

async fn post(client: &EndpointClient, document: &[u8]) -> Result<(), Error> {
    let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let headers = HeaderMap::from_iter([json]);
    let request = EndpointRequest {
        method: Method::POST,
        url: &reports_url(&client.url),
        accept: "application/json",
        validator: None,
        is_fresh: false,
        headers: Some(&headers),
        body: Some(document),
        timeout: Some(client.timeout()),
    };
    let response = client.send(&request).await?;
    let status = response.status();
    match status {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(()),
        // It is there, and its reports are not taken: there is no such level.
        StatusCode::METHOD_NOT_ALLOWED => {
            let what = format!("{} takes no reports (405)", client.origin);
            Err(Error::new(ErrorKind::UnknownSet, what).with_status(405))
        }
        _ => Err(client.refusal(status, &ResponseHead::read(response.headers()), false)),
    }
}

/// Where the reports of this set go.
fn reports_url(set: &Url) -> Url {
    let mut url = set.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("acks");
    }
    url
}

/// 128 bits of the operating system's, as hexadecimal digits. A generator in this process would go on in
/// a forked child as in its parent.
fn random() -> Option<String> {
    let mut bits = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bits).ok()?;
    Some(bits.iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}

fn no_randomness() -> Error {
    Error::new(ErrorKind::Unavailable, "the operating system gives no random numbers")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::{Observation, ReportedStatus};

    fn report() -> Report {
        let observation = Observation {
            credential: "k_43".into(),
            status: ReportedStatus::Active,
            last_used_at: Some("2026-11-23T18:00:00Z".parse().expect("a time")),
            ok: 1201,
            rejected: 0,
        };
        Report {
            generation: 43,
            lease: Duration::from_secs(900),
            announced: true,
            observations: vec![observation],
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint::new("https://keys.example.com/v1/sets/trading-eu").expect("an endpoint")
    }

    #[test]
    fn a_report_is_what_the_protocol_shows() {
        let endpoint = endpoint().app("bot/2.1").bootstrap("s3cr3t");
        let text = written(&endpoint);
        let instance = endpoint.reports.instance().expect("an instance");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text,
            format!(
                r#"{{"instance":"{instance}","app":"bot/2.1","sdk":"keyswap/{version}","lease_seconds":900,"generation":43,"observations":[{{"credential":"k_43","status":"active","last_used_at":"2026-11-23T18:00:00Z","ok":1201,"rejected":0}}]}}"#
            )
        );
        let without = written(&self::endpoint());
        assert!(!without.contains("app"), "{without}");
    }

    fn written(endpoint: &Endpoint) -> String {
        let document = endpoint.reports.document(&report()).expect("a document");
        String::from_utf8(document).expect("UTF-8")
    }

    #[test]
    fn a_handle_has_one_instance_until_its_process_is_another() {
        let sender = ReportSender::default();
        let instance = sender.instance().expect("an instance");
        assert_eq!(instance.len(), 32);
        assert!(instance.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(sender.instance().as_ref(), Some(&instance));
        assert_ne!(ReportSender::default().instance().as_ref(), Some(&instance));
        // As a forked child finds it.
        *sender.instance.lock().expect("a lock") = Some((process::id() + 1, instance.clone()));
        assert_ne!(sender.instance().as_ref(), Some(&instance));
    }

    #[test]
    fn reports_go_below_the_set_and_only_where_they_are_wanted() {
        let reports_url = |url: &str| reports_url(&Url::parse(url).expect("a URL")).to_string();
        assert_eq!(
            reports_url("https://k.example/v1/sets/eu"),
            "https://k.example/v1/sets/eu/acks"
        );
        assert_eq!(
            reports_url("https://k.example/sets/eu/?code=7"),
            "https://k.example/sets/eu/acks?code=7"
        );
        assert!(endpoint().send_report(&report()).is_some());
        let unwanted = Report { announced: false, ..report() };
        assert!(endpoint().send_report(&unwanted).is_none());
    }
}
