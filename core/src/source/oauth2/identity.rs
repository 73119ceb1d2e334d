//! Who asks for a token, and how it proves that.

use std::{fmt, path::PathBuf, sync::Arc};

use http::header::AUTHORIZATION;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    answer::Rejects,
    assertion::{Algorithm, Claims, SigningKey},
    form::{basic, form},
};
use crate::{
    clock::Clock,
    credential::Credential,
    error::{Error, ErrorKind},
    secret::Secret,
    source::{
        LentKeys, Loan, LogIn, Reply,
        bootstrap::{Bootstrap, Form},
        lent::nothing_lent,
        store_client::{Answer, Question, StoreClient},
    },
};

/// The pieces of a lent key that are taken for the secret of a client, and for its private key.
const SECRET: &[&str] = &["client_secret", "key", "secret"];
const PRIVATE_KEY: &[&str] = &["private_key", "key"];

/// A client, as a token endpoint knows it.
#[derive(Clone, Default)]
pub(super) struct Identity {
    pub(super) client_id: Option<Box<str>>,
    pub(super) proof: Proof,
    pub(super) in_body: bool,
    /// Whom assertions are for: the token endpoint unless this says otherwise.
    pub(super) assertion_audience: Option<Box<str>>,
    /// Whether a certificate is shown, too.
    pub(super) certificate: bool,
    /// The first thing that was said and is not valid.
    pub(super) fault: Option<Error>,
}

/// What it proves that with.
#[derive(Clone, Default)]
pub(super) enum Proof {
    /// A certificate, or nothing.
    #[default]
    None,
    Secret(Kept),
    PrivateKey {
        kept: Kept,
        kid: Option<Box<str>>,
        algorithm: Algorithm,
    },
}

/// Where a secret is kept.
#[derive(Clone)]
pub(super) enum Kept {
    Here(Arc<Bootstrap>),
    Lent(LentKeys),
}

impl Kept {
    pub(super) fn given(secret: Secret) -> Self {
        Self::Here(Arc::new(Bootstrap::fixed(secret)))
    }

    pub(super) fn file(path: PathBuf) -> Self {
        Self::Here(Arc::new(Bootstrap::file(path)))
    }
}

impl Identity {
    pub(super) fn private_key(&mut self, kept: Kept, kid: Option<&str>, algorithm: &str) {
        match Algorithm::named(algorithm) {
            Ok(algorithm) => {
                let kid = kid.map(Box::from);
                self.proof = Proof::PrivateKey { kept, kid, algorithm };
            }
            Err(error) => self.faulty(error),
        }
    }

    /// The same, with a key that can be looked at now.
    pub(super) fn given_private_key(&mut self, kid: &str, pem: Secret, algorithm: &str) {
        let read = Algorithm::named(algorithm)
            .and_then(|algorithm| SigningKey::read(pem.reveal(), algorithm));
        match read {
            Ok(_) => self.private_key(Kept::given(pem), Some(kid), algorithm),
            Err(error) => self.faulty(error),
        }
    }

    fn faulty(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }

    /// Whether all that was said is valid, and enough. A client that has nothing to prove itself with may not ask for
    /// tokens of its own.
    pub(super) fn check(&self, is_public: bool) -> Result<(), Error> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if self.client_id.is_none() && self.lender().is_none() {
            return Err(invalid("the client has no id: pass the option `client_id`"));
        }
        if matches!(self.proof, Proof::None) && !self.certificate && !is_public {
            return Err(invalid(
                "the client has nothing to prove itself with: pass a secret, a private key or a certificate",
            ));
        }
        Ok(())
    }

    /// Whose keys it logs in with, if they are lent.
    pub(super) fn lender(&self) -> Option<&LentKeys> {
        match &self.proof {
            Proof::Secret(Kept::Lent(keys)) | Proof::PrivateKey { kept: Kept::Lent(keys), .. } => {
                Some(keys)
            }
            _ => None,
        }
    }

    /// A log-in begins.
    pub(super) fn begin<'a>(&'a self, client: &'a StoreClient) -> Result<Showing<'a>, Error> {
        let (kept, pieces) = match &self.proof {
            Proof::None => return Ok(Showing::Nothing(false)),
            Proof::Secret(kept) => (kept, SECRET),
            Proof::PrivateKey { kept, .. } => (kept, PRIVATE_KEY),
        };
        Ok(match kept {
            Kept::Here(place) => Showing::Kept { place, origin: client.origin(), shown: None },
            Kept::Lent(keys) => {
                let log_in = LogIn {
                    url: client.base(),
                    plain_http: client.allows_plain_http(),
                    time: client.timeout(),
                    pieces,
                };
                let loan = keys.lend(&log_in).map_err(|error| nothing_lent(&error))?;
                Showing::Lent { loan, pieces, asked: false }
            }
        })
    }

    /// The question for a token by this grant, as this client.
    pub(super) fn question(
        &self,
        client: &StoreClient,
        shown: &Shown,
        grant: &[(&str, &str)],
    ) -> Result<Prepared, Error> {
        let id = match (&self.client_id, &shown.client_id) {
            (Some(id), _) | (None, Some(id)) => &**id,
            (None, None) => {
                return Err(invalid(
                    "the client has no id: pass the option `client_id`, or have it beside the secret as `client_id`",
                ));
            }
        };
        let assertion;
        let mut pairs = grant.to_vec();
        let mut authorization = None;
        match (&self.proof, &shown.secret) {
            (Proof::Secret(_), Some(secret)) if self.in_body => {
                pairs.extend([("client_id", id), ("client_secret", secret.reveal())]);
            }
            (Proof::Secret(_), Some(secret)) => authorization = Some(basic(id, secret.reveal())),
            (Proof::PrivateKey { kid, algorithm, .. }, Some(key)) => {
                let key = SigningKey::read(key.reveal(), *algorithm)?;
                let claims = Claims {
                    client_id: id,
                    audience: self.assertion_audience.as_deref().unwrap_or(client.base().as_str()),
                    now: Clock::system().now().wall / 1000,
                };
                assertion = key.assertion(kid.as_deref().or(shown.kid.as_deref()), &claims)?;
                pairs.extend([
                    ("client_id", id),
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", assertion.as_str()),
                ]);
            }
            _ => pairs.push(("client_id", id)),
        }
        Ok(Prepared { authorization, body: form(&pairs) })
    }
}

/// A question, as it is sent.
pub(super) struct Prepared {
    authorization: Option<Zeroizing<String>>,
    body: Zeroizing<String>,
}

impl Prepared {
    pub(super) async fn ask(&self, client: &StoreClient) -> Result<Answer, Error> {
        let question = Question::new(http::Method::POST, client.base().clone());
        let question = question.form(self.body.as_bytes());
        let question = match &self.authorization {
            Some(value) => question.sensitive(AUTHORIZATION, value),
            None => question,
        };
        client.ask(question).await
    }
}

/// What is shown in one question.
#[derive(Default)]
pub(super) struct Shown {
    secret: Option<Secret>,
    /// What stands beside a secret that is lent.
    client_id: Option<Box<str>>,
    kid: Option<Box<str>>,
}

/// A log-in on its way: what is shown next, while what was shown is rejected.
pub(super) enum Showing<'a> {
    /// And whether that was tried.
    Nothing(bool),
    Kept {
        place: &'a Bootstrap,
        origin: &'a str,
        shown: Option<Secret>,
    },
    Lent {
        loan: Box<dyn Loan>,
        pieces: &'static [&'static str],
        asked: bool,
    },
}

impl Showing<'_> {
    /// What to show next. None if there is nothing else.
    pub(super) async fn next(&mut self) -> Result<Option<Shown>, Error> {
        match self {
            Self::Nothing(tried) => Ok((!std::mem::replace(tried, true)).then(Shown::default)),
            Self::Kept { place, origin, shown } => {
                // The form is one in which anything may stand, line breaks too.
                let secret = match shown {
                    None => place.get(&Form::Basic, origin).await.map_err(|error| {
                        match error.kind() {
                            ErrorKind::InvalidConfig => {
                                invalid("the client's secret or private key is empty")
                            }
                            _ => error,
                        }
                    })?,
                    Some(rejected) => place.reload(rejected, &Form::Basic, origin).await,
                };
                if secret.is_none() {
                    place.forget();
                }
                *shown = secret.clone();
                Ok(secret.map(|secret| Shown { secret: Some(secret), ..Shown::default() }))
            }
            Self::Lent { loan, pieces, asked } => {
                let key = match loan.next().await {
                    Ok(Some(key)) => key,
                    Err(error) if !*asked => return Err(nothing_lent(&error)),
                    // What the server said of those that there are is more than that there is no other.
                    Ok(None) | Err(_) => return Ok(None),
                };
                *asked = true;
                Ok(Some(Shown::of(&key, pieces)))
            }
        }
    }

    /// What there is cannot be shown. Whether there may be something else.
    pub(super) fn unfit(&mut self, why: &Error) -> bool {
        let Self::Lent { loan, .. } = self else { return false };
        loan.unfit(why.clone());
        true
    }

    /// What was shown was answered.
    pub(super) fn answered(&mut self, answer: &Answer, rejects: Option<Rejects>) {
        if let Self::Lent { loan, .. } = self {
            let reply = match rejects {
                None => Reply::Accepted,
                Some(Rejects::Client) => Reply::Rejected,
                Some(_) => Reply::Other,
            };
            loan.answered(answer.status, &answer.headers, Some(reply));
        }
    }
}

impl Shown {
    fn of(key: &Credential, pieces: &[&str]) -> Self {
        let secret = pieces.iter().find_map(|name| key.material().get(name)).cloned();
        Self {
            secret,
            client_id: key.reveal("client_id").map(Box::from),
            kid: Some(key.reveal("kid").unwrap_or(key.id()).into()),
        }
    }
}

/// How it proves itself, and nothing of that.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |kept: &Kept, f: &mut fmt::DebugStruct<'_, '_>| {
            match kept {
                Kept::Here(place) => f.field("kept", place),
                Kept::Lent(keys) => f.field("kept", keys),
            };
        };
        let mut f = f.debug_struct("Identity");
        f.field("client_id", &self.client_id);
        match &self.proof {
            Proof::None => {}
            Proof::Secret(it) => kept(it, f.field("proof", &"secret")),
            Proof::PrivateKey { kept: it, algorithm, .. } => kept(it, f.field("proof", algorithm)),
        }
        f.finish_non_exhaustive()
    }
}

/// The server's time of an answer; where it shows none, this machine's.
pub(super) fn time_of(answer: &Answer) -> Timestamp {
    let now = || Timestamp::from_millisecond(Clock::system().now().wall).unwrap_or_default();
    answer.head.date.unwrap_or_else(now)
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}

/// The functions of a source's builder that say who asks, and how that is proven. It must have the fields `client` and
/// `identity`, and a function `changed` that forgets what was asked for with others.
macro_rules! identity_options {
    () => {
        /// The id of the client. It may be left out where it stands beside a secret that is
        /// [lent](Self::client_secret_from), as the material `client_id`.
        pub fn client_id(mut self, id: &str) -> Self {
            self.identity.client_id = Some(id.into());
            self.changed()
        }

        /// The secret of the client.
        pub fn client_secret(mut self, secret: impl Into<crate::secret::Secret>) -> Self {
            self.identity.proof = Proof::Secret(Kept::given(secret.into()));
            self.changed()
        }

        /// The secret of the client in this file, which is read at first use, and again when it is rejected.
        pub fn client_secret_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.identity.proof = Proof::Secret(Kept::file(path.into()));
            self.changed()
        }

        /// The secret of the client is what another [`KeySwap`](crate::KeySwap) holds: its material `client_secret`,
        /// or else `key` or `secret`, with the `client_id` beside it, if there is one and none is given here. A
        /// rotation of it costs no token: a secret that is rejected is reported to that handle, and the next one that
        /// it has is shown.
        pub fn client_secret_from(mut self, keys: impl Into<crate::source::LentKeys>) -> Self {
            self.identity.proof = Proof::Secret(Kept::Lent(keys.into()));
            self.changed()
        }

        /// How the secret is shown: `basic` (in a header, which RFC 6749 wants of every server, and which is how it
        /// is unless this says otherwise) or `post` (in the body).
        pub fn auth_style(mut self, style: &str) -> Self {
            match style {
                "basic" => self.identity.in_body = false,
                "post" => self.identity.in_body = true,
                _ => {
                    let what = "the option `auth_style` must be basic or post";
                    let error =
                        crate::error::Error::new(crate::error::ErrorKind::InvalidConfig, what);
                    self.identity.fault.get_or_insert(error);
                }
            }
            self.changed()
        }

        /// The client proves itself with assertions (RFC 7523) that this private key signs: a PEM, with the algorithm
        /// `ES256`, `RS256` or `EdDSA`, and the `kid` under which the server knows the public key.
        pub fn private_key_jwt(
            mut self,
            kid: &str,
            pem: impl Into<crate::secret::Secret>,
            algorithm: &str,
        ) -> Self {
            self.identity.given_private_key(kid, pem.into(), algorithm);
            self.changed()
        }

        /// The same, with the private key in this file, which is read at first use, and again when it is rejected.
        pub fn private_key_jwt_file(
            mut self,
            kid: &str,
            path: impl Into<std::path::PathBuf>,
            algorithm: &str,
        ) -> Self {
            self.identity.private_key(Kept::file(path.into()), Some(kid), algorithm);
            self.changed()
        }

        /// The same, with the private key that another [`KeySwap`](crate::KeySwap) holds: its material `private_key`,
        /// or else `key`. Its `kid` is the material of that name, or the credential's id.
        pub fn private_key_jwt_from(
            mut self,
            keys: impl Into<crate::source::LentKeys>,
            algorithm: &str,
        ) -> Self {
            self.identity.private_key(Kept::Lent(keys.into()), None, algorithm);
            self.changed()
        }

        /// Whom assertions are for: the token URL unless this says otherwise. Some servers want their issuer.
        pub fn assertion_audience(mut self, audience: &str) -> Self {
            self.identity.assertion_audience = Some(audience.into());
            self.changed()
        }

        /// Shows this certificate, with its private key, to the server: for clients that prove themselves by it (RFC
        /// 8705), or beside a secret. As [`Endpoint`](crate::Endpoint::client_certificate).
        ///
        /// # Errors
        /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if the certificate or the key is missing or cannot be
        /// read, or they do not belong together.
        pub fn client_certificate(mut self, pem: &[u8]) -> Result<Self, crate::error::Error> {
            self.client.show(pem)?;
            self.identity.certificate = true;
            Ok(self.changed())
        }

        /// Shows the certificate in this file, which is read again when it changes.
        pub fn client_certificate_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.client.show_file(path.into());
            self.identity.certificate = true;
            self.changed()
        }
    };
}
pub(super) use identity_options;
