//! AWS, signature version 4, and what its services answer.

use http::{HeaderMap, HeaderName, header};
use ring::hmac;
use zeroize::Zeroizing;

use super::{
    codes::Member,
    crypto::{hex, hmac_of, sha256},
    hmac::host,
    text::{compact, decode, encode},
};
use crate::{
    credential::Credential,
    engine::verdict::{Classifier, DefaultClassifier, ResponseFilter, Verdict},
    error::Error,
    response_view::ResponseView,
    scheme::{Patch, Scheme, Sign, Unsigned, material},
};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const DIGEST: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What is not signed: what somebody on the way may change, and what this sets itself.
const UNSIGNED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::EXPECT,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    HeaderName::from_static("x-amzn-trace-id"),
    DATE,
];

#[derive(Debug)]
struct SigV4 {
    service: Box<str>,
    region: Box<str>,
    /// Whether the path is signed as it is. Other services than S3 tidy and encode it once more.
    plain_path: bool,
    /// Whether the digest of the body is sent, too.
    sends_digest: bool,
}

impl Scheme {
    /// AWS signature version 4 for a service in a region, in the header `Authorization`. The key is the access key's
    /// id, the secret its secret; a third piece, `session_token`, belongs to temporary ones.
    pub fn aws_sigv4(service: &str, region: &str) -> Self {
        let is_s3 = service.starts_with("s3");
        Self::signing(SigV4 {
            service: service.into(),
            region: region.into(),
            plain_path: is_s3,
            sends_digest: is_s3,
        })
    }
}

impl SigV4 {
    fn path(&self, request: &Unsigned<'_>) -> String {
        let sent = request.url.path();
        let mut path = String::with_capacity(sent.len());
        if self.plain_path {
            encode(&decode(sent.as_bytes(), false), true, &mut path);
            return path;
        }
        encode(sent.as_bytes(), true, &mut path);
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    }
}

fn query(request: &Unsigned<'_>) -> String {
    let encoded = |text: &str| {
        let mut out = String::with_capacity(text.len());
        encode(&decode(text.as_bytes(), true), false, &mut out);
        out
    };
    let pairs = request.query().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (encoded(name), encoded(value))).collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// The values of a header in one line, spaces within them made one.
fn value(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

impl Sign for SigV4 {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let key = material(credential, "key")?;
        let secret = material(credential, "secret")?;
        let token = credential.reveal("session_token");
        let now = compact(request.now);
        let day = &now[..8];
        let digest = hex(sha256(request.body.unwrap_or(b"")));

        let own = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = own.map_or_else(|| host(request), str::to_owned);
        let mut headers = vec![(header::HOST, host), (DATE, now.clone())];
        headers.extend(self.sends_digest.then(|| (DIGEST, digest.clone())));
        headers.extend(token.map(|token| (TOKEN, token.to_owned())));
        for name in request.headers.keys().filter(|name| !UNSIGNED.contains(name)) {
            if headers.iter().all(|(known, _)| known != name) {
                headers.push((name.clone(), value(request.headers, name)));
            }
        }
        headers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");

        let mut canonical =
            format!("{}\n{}\n{}\n", request.method, self.path(request), query(request));
        for (name, value) in &headers {
            canonical.extend([name.as_str(), ":", value, "\n"]);
        }
        canonical.extend(["\n", &names, "\n", &digest]);
        let Self { region, service, .. } = self;
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let hashed = hex(sha256(canonical.as_bytes()));
        let signed = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}");

        let first = Zeroizing::new(format!("AWS4{secret}"));
        let step = |key: &[u8], part: &str| hmac_of(hmac::HMAC_SHA256, key, &[part.as_bytes()]);
        let mut derived = step(first.as_bytes(), day);
        for part in [&**region, service, "aws4_request"] {
            derived = step(derived.as_ref(), part);
        }
        let signature = hex(step(derived.as_ref(), &signed));

        patch.add_plain_header(DATE, &now, credential)?;
        if self.sends_digest {
            patch.add_plain_header(DIGEST, &digest, credential)?;
        }
        if let Some(token) = token {
            patch.add_header(TOKEN, token, credential)?;
        }
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        patch.add_header(header::AUTHORIZATION, &value, credential)
    }

    fn needs_body(&self) -> bool {
        true
    }
}

const REJECTED: [&str; 9] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
const SKEWED: [&str; 4] = [
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "RequestTimeTooSkewedException",
];
const THROTTLED: [&str; 7] = [
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
];

/// What services of AWS answer, in JSON or in XML. They say a bad key with 400 and with 403, and a missing
/// permission as well: only the code tells.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AwsErrors;

impl Classifier for AwsErrors {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        if !matches!(response.status().as_u16(), 400 | 401 | 403) {
            return DefaultClassifier.classify(response);
        }
        let told = response.headers().get("x-amzn-errortype").and_then(|it| it.to_str().ok());
        let code = match (told, response.body()) {
            (Some(code), _) => Some(code),
            (None, Some(body)) => code(body),
            (None, None) => return Verdict::NeedBody,
        };
        let Some(code) = code else { return Verdict::Other };
        // `com.amazon.coral.service#UnrecognizedClientException:http://...`
        let code = code.rsplit('#').next().unwrap_or(code);
        let code = code.split(':').next().unwrap_or(code);
        match code {
            _ if REJECTED.contains(&code) => Verdict::Rejected,
            _ if SKEWED.contains(&code) => Verdict::Skewed { server_time: None },
            _ if THROTTLED.contains(&code) => Verdict::Throttled,
            _ => Verdict::Other,
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([400, 401, 403]).with_body_limit(4_096)
    }
}

fn code(body: &[u8]) -> Option<&str> {
    let in_json = ["__type", "code", "Code"].into_iter().find_map(|name| Member::find(body, name));
    if let Some(member) = in_json {
        return member.text();
    }
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

#[cfg(test)]
mod tests;
