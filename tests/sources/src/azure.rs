//! Azure Key Vault, Microsoft Entra and the metadata service of a machine, as far as programs that read secrets see
//! them. Azure's own clients are the judge of it: `tests/azure.rs`.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::fake::{Fake, Request, Response};

/// What a token must be for.
pub const RESOURCE: &str = "https://vault.azure.net";
/// The tenant that the vault belongs to.
pub const TENANT: &str = "7f1a0000-0000-0000-0000-000000000001";

/// The vault over TLS, and all three over plain HTTP.
pub struct Azure {
    /// The vault.
    pub vault: Fake,
    /// The others.
    pub login: Fake,
    state: Arc<Mutex<State>>,
}

/// What it holds, and what was seen of those who asked.
pub struct State {
    /// In the order in which they were made.
    pub versions: Vec<Version>,
    /// Whether those who ask may list versions.
    pub may_list: bool,
    /// Whether they may read them.
    pub may_get: bool,
    /// How long an access token lives that is made now, in seconds.
    pub life: u64,
    /// How many were made; the last one alone is accepted.
    pub tokens: u64,
    /// How often versions were listed, each page counted.
    pub lists: u64,
    /// How often one was read.
    pub reads: u64,
    /// Questions without a token.
    pub unasked: u64,
    /// What was shown to log in last.
    pub shown: String,
    /// Where the next page of a list is, if not in the vault.
    pub leads_away: bool,
}

/// One version.
pub struct Version {
    /// What it holds.
    pub text: String,
    /// Whether it can be read.
    pub is_enabled: bool,
    /// Since when it can be used, in seconds since 1970.
    pub not_before: Option<u64>,
    /// Until when.
    pub expires: Option<u64>,
}

impl Azure {
    /// One with these versions, all of which are enabled.
    pub async fn start(versions: &[&str]) -> Self {
        let state = Arc::new(Mutex::new(State {
            versions: Vec::new(),
            may_list: true,
            may_get: true,
            life: 3600,
            tokens: 0,
            lists: 0,
            reads: 0,
            unasked: 0,
            shown: String::new(),
            leads_away: false,
        }));
        let handler = |state: &Arc<Mutex<State>>| {
            let state = state.clone();
            move |request: &Request| answer(request, &state)
        };
        let vault = Fake::tls(handler(&state)).await;
        let login = Fake::plain(handler(&state)).await;
        let azure = Self { vault, login, state };
        versions.iter().for_each(|text| azure.add(text));
        azure
    }

    /// To be looked at, and to be changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a version, which is then the newest.
    pub fn add(&self, text: &str) {
        let version =
            Version { text: text.into(), is_enabled: true, not_before: None, expires: None };
        self.state().versions.push(version);
    }

    /// Changes the version of this number; the first is number 1.
    pub fn change(&self, number: usize, change: impl FnOnce(&mut Version)) {
        change(&mut self.state().versions[number - 1]);
    }

    /// No token that was made until now is accepted any more.
    pub fn revoke_tokens(&self) {
        self.state().tokens += 1000;
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

fn answer(request: &Request, state: &Mutex<State>) -> Response {
    let mut state = state.lock().unwrap();
    let path: Vec<_> = request.url.path().trim_matches('/').split('/').collect();
    match path.as_slice() {
        [tenant, "oauth2", "v2.0", "token"] => state.entra(request, tenant),
        [tenant, "v2.0", ".well-known", "openid-configuration"] => {
            // Azure's library wants to be told where all is.
            let host = format!("https://{}/{tenant}", request.header("host").unwrap_or_default());
            Response::new(
                200,
                json!({
                    "token_endpoint": format!("{host}/oauth2/v2.0/token"),
                    "authorization_endpoint": format!("{host}/oauth2/v2.0/authorize"),
                    "issuer": format!("{host}/v2.0"),
                }),
            )
        }
        ["metadata", "identity", "oauth2", "token"] => {
            let is_right = request.header("metadata") == Some("true")
                && request.query("api-version").as_deref() == Some("2018-02-01");
            state.managed(request, is_right, "machine")
        }
        ["msi", "token"] => {
            let is_right = request.header("x-identity-header") == Some("right")
                && request.query("api-version").as_deref() == Some("2019-08-01");
            state.managed(request, is_right, "service")
        }
        ["secrets", rest @ ..] => state.vault(request, rest),
        _ => Response::new(404, json!({"error": "s3cr3t"})),
    }
}

impl State {
    fn token(&mut self, shown: String, is_text: bool) -> Response {
        self.tokens += 1;
        self.shown = shown;
        let token = format!("ey.{}", self.tokens);
        let token = match is_text {
            true => json!({
                "access_token": token, "resource": RESOURCE, "token_type": "Bearer",
                "expires_in": self.life.to_string(), "expires_on": (now() + self.life).to_string(),
            }),
            false => {
                json!({"access_token": token, "expires_in": self.life, "token_type": "Bearer"})
            }
        };
        Response::new(200, token)
    }

    fn entra(&mut self, request: &Request, tenant: &str) -> Response {
        let form = |name| request.form(name).unwrap_or_default();
        // Azure's library asks for some more beside it.
        let is_for_it = form("scope").split(' ').any(|it| it == format!("{RESOURCE}/.default"));
        let is_right = form("grant_type") == "client_credentials"
            && form("client_id") == "app"
            && tenant == TENANT
            && is_for_it;
        let shown = match (form("client_secret").as_str(), form("client_assertion").as_str()) {
            ("right", _) => "secret",
            ("", "of-the-platform") if form("client_assertion_type").ends_with(":jwt-bearer") => {
                "workload"
            }
            _ => "",
        };
        if !is_right || shown.is_empty() {
            let error =
                json!({"error": "invalid_client", "error_description": "AADSTS7000215: s3cr3t"});
            return Response::new(401, error);
        }
        self.token(shown.into(), false)
    }

    fn managed(&mut self, request: &Request, is_right: bool, shown: &str) -> Response {
        let client = request.query("client_id");
        if !is_right || request.query("resource").as_deref() != Some(RESOURCE) {
            return Response::new(
                400,
                json!({"error": "invalid_request", "error_description": "s3cr3t"}),
            );
        }
        match client.as_deref() {
            None => self.token(shown.into(), true),
            Some("app") => self.token(format!("{shown} app"), true),
            Some(_) => Response::new(400, json!({"error": "invalid_request"})),
        }
    }

    fn vault(&mut self, request: &Request, path: &[&str]) -> Response {
        let expected = format!("Bearer ey.{}", self.tokens);
        if self.tokens == 0 || request.header("authorization") != Some(&expected) {
            self.unasked += u64::from(request.header("authorization").is_none());
            let challenge = format!(
                "Bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", resource=\"{RESOURCE}\""
            );
            return error(401, "Unauthorized", None).with("www-authenticate", challenge);
        }
        if request.query("api-version").is_none() {
            return error(400, "BadParameter", None);
        }
        let base = format!("https://{}", request.header("host").unwrap_or_default());
        match path {
            ["trading", "versions"] => self.list(request, &base),
            ["trading"] | ["trading", ""] => {
                let newest = self.versions.len();
                self.get(newest, &base)
            }
            ["trading", id] => match (1..=self.versions.len()).find(|it| version_id(*it) == *id) {
                Some(number) => self.get(number, &base),
                None => error(404, "SecretNotFound", None),
            },
            _ => error(404, "SecretNotFound", None),
        }
    }

    fn get(&mut self, number: usize, base: &str) -> Response {
        self.reads += 1;
        if !self.may_get {
            return error(403, "Forbidden", Some("ForbiddenByRbac"));
        }
        match self.versions.get(number.wrapping_sub(1)) {
            None => error(404, "SecretNotFound", None),
            Some(version) if !version.is_enabled => error(403, "Forbidden", Some("SecretDisabled")),
            Some(version) => {
                let mut bundle = version.item(number, base);
                bundle["value"] = version.text.as_str().into();
                Response::new(200, bundle)
            }
        }
    }

    /// In the order of their ids, which is none.
    fn list(&mut self, request: &Request, base: &str) -> Response {
        self.lists += 1;
        if !self.may_list {
            return error(403, "Forbidden", Some("ForbiddenByRbac"));
        }
        let number = |name: &str| request.query(name).and_then(|it| it.parse::<usize>().ok());
        let most = number("maxresults").unwrap_or(25).min(25);
        let from = number("$skiptoken").unwrap_or(0);
        let mut numbers: Vec<_> = (1..=self.versions.len()).collect();
        numbers.sort_by_key(|number| version_id(*number));
        let page = numbers.iter().skip(from).take(most);
        let page: Vec<_> = page.map(|it| self.versions[*it - 1].item(*it, base)).collect();
        let base = if self.leads_away { "https://evil.example.com" } else { base };
        let next = (from + most < numbers.len()).then(|| {
            let version = request.query("api-version").unwrap_or_default();
            let skip = from + most;
            format!("{base}/secrets/trading/versions?api-version={version}&maxresults={most}&$skiptoken={skip}")
        });
        Response::new(200, json!({"value": page, "nextLink": next}))
    }
}

impl Version {
    fn item(&self, number: usize, base: &str) -> Value {
        let made = 1_795_000_000 + number as u64;
        let mut attributes = json!({
            "enabled": self.is_enabled, "created": made, "updated": made,
            "recoveryLevel": "Recoverable+Purgeable",
        });
        for (name, time) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let Some(time) = time {
                attributes[name] = time.into();
            }
        }
        json!({"id": format!("{base}/secrets/trading/{}", version_id(number)), "attributes": attributes})
    }
}

/// The id of the version of this number.
pub fn version_id(number: usize) -> String {
    format!("{:032x}", (number as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn error(status: u16, code: &str, inner: Option<&str>) -> Response {
    let mut error = json!({"code": code, "message": "s3cr3t"});
    if let Some(inner) = inner {
        error["innererror"] = json!({"code": inner});
    }
    Response::new(status, json!({"error": error}))
}
