//! The members of one etcd, and who asks them.
//!
//! Each holds the same, so a member that does not answer is passed over: the time that is left is shared out among
//! those not asked yet. A token is asked for when one is wanted, by one of those who want it, and kept until a member
//! says that it ended.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode, header};
use serde::Serialize;
use tokio::{sync::Mutex, time::timeout};
use zeroize::Zeroizing;

use super::answer::{Reason, reason, text};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    moment::millis,
    secret::Secret,
    source::{
        Terms,
        reading::Reader,
        store_client::{Answer, Question, StoreClient},
        wire::Value,
    },
};

/// The most members that can be named. Clusters have three or five.
const MOST: usize = 16;

/// One etcd. Clones share the log-in.
#[derive(Clone)]
pub(super) struct Cluster {
    members: Vec<StoreClient>,
    /// The one that answered last.
    last: Arc<AtomicUsize>,
    pub(super) user: Option<Box<str>>,
    pub(super) password: Option<Password>,
    token: Arc<Mutex<Option<Token>>>,
    clock: Clock,
}

/// Where the password is.
#[derive(Clone)]
pub(super) enum Password {
    Given(Secret),
    File(PathBuf, Reader),
}

/// What is shown with a question. None where nobody needs to log in.
type Token = Option<Secret>;

impl Cluster {
    pub(super) fn at<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let member =
            |url: S| StoreClient::at("etcd", url.as_ref(), "https://etcd-1.example.com:2379");
        let members: Vec<_> =
            endpoints.into_iter().take(MOST + 1).map(member).collect::<Result<_, _>>()?;
        if members.is_empty() || members.len() > MOST {
            let what = format!("etcd needs one endpoint at least, and not more than {MOST}");
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        Ok(Self {
            members,
            last: Arc::default(),
            user: None,
            password: None,
            token: Arc::default(),
            clock: Clock::tokio(),
        })
    }

    // ---- as a store's client ----

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.members.iter_mut().for_each(|member| member.set_timeout(timeout));
    }

    pub(super) fn trust(&mut self, pem: &[u8]) -> Result<(), Error> {
        self.members.iter_mut().try_for_each(|member| member.trust(pem))
    }

    pub(super) fn trust_file(&mut self, path: PathBuf) {
        self.members.iter_mut().for_each(|member| member.trust_file(path.clone()));
    }

    pub(super) fn show(&mut self, pem: &[u8]) -> Result<(), Error> {
        self.members.iter_mut().try_for_each(|member| member.show(pem))
    }

    pub(super) fn show_file(&mut self, path: PathBuf) {
        self.members.iter_mut().for_each(|member| member.show_file(path.clone()));
    }

    pub(super) fn allow_plain_http(&mut self) {
        self.members.iter_mut().for_each(StoreClient::allow_plain_http);
    }

    /// Whether all that was said of it is valid.
    pub(super) fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.members.iter().for_each(|member| member.begin(terms));
        self.check()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.user.is_some() == self.password.is_some() {
            return Ok(());
        }
        let what =
            "etcd wants both, the options `user` and `password` (or `password_file`), or none";
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }

    pub(super) fn members(&self) -> &[StoreClient] {
        &self.members
    }

    /// The member to begin with.
    pub(super) fn first(&self) -> usize {
        self.last.load(Ordering::Relaxed)
    }

    /// Where the member is that answered last, as errors show it.
    pub(super) fn origin(&self) -> &str {
        self.members[self.first()].origin()
    }

    /// Until when a fetch that begins now must be done, on the clock of [`Self::ask`].
    pub(super) fn end(&self) -> u64 {
        self.clock.now().boot.saturating_add(millis(self.members[0].timeout()))
    }

    // ---- questions ----

    /// Asks, and logs in first where that is needed. None if the revision that was asked for is forgotten.
    pub(super) async fn ask(
        &self,
        path: &[&str],
        body: &[u8],
        end: u64,
        what: &str,
    ) -> Result<Option<(Value, Answer)>, Error> {
        let mut token = self.token(None, end).await?;
        let mut is_first = true;
        loop {
            let (place, answer) = self.ask_any(path, body, token.as_ref(), end).await?;
            let member = &self.members[place];
            if answer.status == StatusCode::OK {
                return Ok(Some((member.value(&answer)?, answer)));
            }
            match reason(answer.status.as_u16(), member.value(&answer).ok().as_ref()) {
                Reason::Compacted => return Ok(None),
                Reason::LogIn if self.user.is_none() => {
                    let said = "wants to know who asks: set the options `user` and `password`";
                    return Err(member.error(ErrorKind::BootstrapRejected, &answer, said));
                }
                Reason::LogIn if is_first => token = self.token(Some(&token), end).await?,
                Reason::LogIn => {
                    self.forget(&token).await;
                    let said = "does not accept the token that it has just given: it is asked for another one";
                    return Err(member.error(ErrorKind::Unavailable, &answer, said));
                }
                _ => return Err(self.refusal(member, &answer, what)),
            }
            is_first = false;
        }
    }

    /// What is shown to members. `rejected` is what one did not accept: who asks first gets another one for all.
    pub(super) async fn token(&self, rejected: Option<&Token>, end: u64) -> Result<Token, Error> {
        let (Some(user), Some(password)) = (&self.user, &self.password) else { return Ok(None) };
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|held| rejected != Some(*held)) {
            return Ok(token.clone());
        }
        *held = None;
        let token = self.log_in(user, password, end).await?;
        *held = Some(token.clone());
        Ok(token)
    }

    /// Has the next one who asks log in anew, if this is what is held.
    pub(super) async fn forget(&self, rejected: &Token) {
        let mut held = self.token.lock().await;
        if held.as_ref() == Some(rejected) {
            *held = None;
        }
    }

    async fn log_in(&self, user: &str, password: &Password, end: u64) -> Result<Token, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            name: &'a str,
            password: &'a str,
        }
        let password = password.read().await?;
        // One buffer of the full size: one that grows leaves copies behind. An escape has six bytes at most.
        let most = 64 + 6 * (user.len() + password.reveal().len());
        let mut body = Zeroizing::new(Vec::with_capacity(most));
        let written =
            serde_json::to_writer(&mut *body, &Body { name: user, password: password.reveal() });
        written
            .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the log-in cannot be written"))?;
        let (place, answer) = self.ask_any(&["auth", "authenticate"], &body, None, end).await?;
        let member = &self.members[place];
        let value = member.value(&answer);
        if answer.status != StatusCode::OK {
            return match reason(answer.status.as_u16(), value.ok().as_ref()) {
                Reason::NoLogIns => Ok(None),
                Reason::WrongPassword | Reason::LogIn => {
                    let said = format!(
                        "does not accept the password of user {user}: {}",
                        self.password.as_ref().map_or_else(String::new, Password::advice)
                    );
                    Err(member.error(ErrorKind::BootstrapRejected, &answer, &said))
                }
                _ => Err(self.refusal(member, &answer, "to log in")),
            };
        }
        match text(&value?, "/token") {
            Some(token) if !token.is_empty() => Ok(Some(Secret::from(token))),
            _ => {
                Err(member.error(ErrorKind::Malformed, &answer, "let this user in without a token"))
            }
        }
    }

    /// The first member's answer, whatever it says but that it cannot answer now.
    async fn ask_any(
        &self,
        path: &[&str],
        body: &[u8],
        token: Option<&Secret>,
        end: u64,
    ) -> Result<(usize, Answer), Error> {
        let (first, count) = (self.first(), self.members.len());
        let mut errors = Vec::new();
        for tried in 0..count {
            let place = (first + tried) % count;
            let member = &self.members[place];
            let left = end.saturating_sub(self.clock.now().boot) / (count - tried) as u64;
            let share = Duration::from_millis(left);
            match timeout(share, member.ask(question(member, path, body, token))).await {
                Ok(Ok(answer)) if !is_not_now(answer.status) => {
                    self.last.store(place, Ordering::Relaxed);
                    return Ok((place, answer));
                }
                Ok(Ok(answer)) => errors.push(member.refusal(&answer)),
                Ok(Err(error)) => errors.push(error),
                Err(_) => {
                    let what =
                        format!("etcd at {} did not answer within {share:?}", member.origin());
                    errors.push(Error::new(ErrorKind::Timeout, what));
                }
            }
        }
        let soon = errors.iter().position(Error::is_transient).unwrap_or(0);
        let error = errors.swap_remove(soon);
        Err(match count {
            1 => error,
            _ => error.with_remark(&format!("; none of the {count} endpoints answers")),
        })
    }

    fn refusal(&self, member: &StoreClient, answer: &Answer, what: &str) -> Error {
        let who = self.user.as_deref().map_or_else(String::new, |user| format!(" to user {user}"));
        let (kind, said) = match answer.status.as_u16() {
            403 => (
                ErrorKind::Forbidden,
                format!("does not allow{who} {what}: grant a role of that user READ on that key"),
            ),
            404 => (
                ErrorKind::Malformed,
                "has no JSON gateway there: check the URL, and that etcd is 3.4 or newer"
                    .to_owned(),
            ),
            _ => return member.refusal(answer),
        };
        member.error(kind, answer, &said)
    }
}

/// A question for one member.
pub(super) fn question<'a>(
    member: &StoreClient,
    path: &[&str],
    body: &'a [u8],
    token: Option<&Secret>,
) -> Question<'a> {
    let url = member.url(["v3"].into_iter().chain(path.iter().copied()));
    let question = Question::new(Method::POST, url).json(body);
    match token {
        Some(token) => question.sensitive(header::AUTHORIZATION, token.reveal()),
        None => question,
    }
}

/// Whether another member may do better.
fn is_not_now(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500..=599)
}

impl Password {
    pub(super) fn file(path: PathBuf) -> Self {
        Self::File(path, Reader::new())
    }

    async fn read(&self) -> Result<Secret, Error> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path, reader) => {
                let bytes = reader.small(path.clone()).await?;
                let text =
                    std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n']));
                text.map(Secret::from).map_err(|_| {
                    let what = format!("the password in {} is not UTF-8", path.display());
                    Error::new(ErrorKind::InvalidConfig, what)
                })
            }
        }
    }

    fn advice(&self) -> String {
        match self {
            Self::Given(_) => "pass another one as the option `password`".into(),
            Self::File(path, _) => format!("put the right one into {}", path.display()),
        }
    }
}

/// Where it is, and never what is shown to it.
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(StoreClient::origin)).finish()
    }
}
