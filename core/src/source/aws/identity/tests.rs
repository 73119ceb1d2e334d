use std::{collections::HashMap, fs, path::PathBuf};

use super::{super::outside::Variables, *};
use crate::source::{reading::Reader, store_client::StoreClient};

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("keyswap-identity-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("text").into()
    }

    /// A machine with these variables, and with files nowhere else.
    fn outside(&self, variables: &[(&str, &str)]) -> Outside {
        let home = self.0.to_str().expect("text");
        let variables: HashMap<_, _> = [("HOME", home), ("AWS_EC2_METADATA_DISABLED", "true")]
            .iter()
            .chain(variables)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let client = StoreClient::at("a store", "https://x", "https://x").expect("a client");
        Outside::new(Variables::These(variables), Reader::new(), client)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn keys(id: &str) -> String {
    format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s3cr3t\n")
}

async fn id(identity: &Identity, outside: &Outside) -> String {
    identity.get(outside).await.expect("a log-in").key_id.reveal().into()
}

#[tokio::test]
async fn a_profile_that_is_named_is_the_only_place() {
    let folder = Folder::new("named");
    let file = folder.write("credentials", &keys("FILE"));
    let variables = [
        ("AWS_ACCESS_KEY_ID", "VARIABLE"),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
        ("AWS_SHARED_CREDENTIALS_FILE", &file),
    ];
    let outside = folder.outside(&variables);
    assert_eq!(id(&Identity::chain(None), &outside).await, "VARIABLE");
    assert_eq!(id(&Identity::chain(Some("default".into())), &outside).await, "FILE");
    let none = Identity::chain(Some("nobody".into())).get(&outside).await.err().expect("an error");
    assert_eq!(none.kind(), ErrorKind::InvalidConfig);
    assert!(none.to_string().contains("the AWS profile nobody has no credentials"), "{none}");
}

/// A file is read again once what was in it is rejected, and by one search however many were rejected.
#[tokio::test]
async fn a_rejected_log_in_is_looked_for_anew() {
    let folder = Folder::new("anew");
    let file = folder.write("credentials", &keys("ONE"));
    let outside = folder.outside(&[("AWS_SHARED_CREDENTIALS_FILE", &file)]);
    let identity = Identity::chain(None);
    let first = identity.get(&outside).await.expect("a log-in");
    assert!(identity.instead_of(&first, &outside).await.expect("a search").is_none());
    folder.write("credentials", &keys("TWO"));
    let second = identity.instead_of(&first, &outside).await.expect("a search").expect("another");
    assert_eq!(second.key_id.reveal(), "TWO");
    folder.write("credentials", &keys("THREE"));
    let same = identity.instead_of(&first, &outside).await.expect("no search").expect("another");
    assert_eq!(same.key_id.reveal(), "TWO", "somebody had looked already");
    assert_eq!(id(&identity, &outside).await, "TWO", "it is kept until it is rejected");
}

#[tokio::test]
async fn one_that_ends_is_made_anew_in_time() {
    let folder = Folder::new("ends");
    let outside = folder.outside(&[]);
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = calls.clone();
    let identity = Identity::function(move || {
        let call = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let now = Timestamp::from_millisecond(Clock::system().now().wall).expect("a time");
        // The first ends in a minute, the second search fails, and the third ends in an hour.
        let end = now + SignedDuration::from_secs(if call == 1 { 60 } else { 3600 });
        let credential = Credential::new("a", format!("CALL{call}"));
        let credential = credential.with_material("secret", "s3cr3t").with_expires_at(end);
        std::future::ready(match call {
            2 => Err(Error::new(ErrorKind::Unavailable, "not now")),
            _ => Ok(credential),
        })
    });
    for expected in ["CALL1", "CALL1", "CALL3", "CALL3"] {
        assert_eq!(id(&identity, &outside).await, expected);
    }
    let ended = Identity::function(|| {
        let credential = Credential::new("a", "OLD").with_material("secret", "s3cr3t");
        std::future::ready(Ok(credential.with_expires_at(Timestamp::UNIX_EPOCH)))
    });
    let error = ended.get(&outside).await.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected, "{error}");
}

#[tokio::test]
async fn what_gives_none_says_what_to_do() {
    let folder = Folder::new("none");
    let of = |name: &str, config: &str| folder.write(name, config);
    let sso = of("sso", "[default]\nsso_session = x\n");
    let old = of(
        "old",
        "[default]\nsso_start_url = https://x\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = r\n",
    );
    let role = of("role", "[default]\nrole_arn = arn:aws:iam::1:role/r\n");
    let cases = [
        (vec![], ErrorKind::InvalidConfig, "set AWS_ACCESS_KEY_ID"),
        (vec![("AWS_CONFIG_FILE", &*sso)], ErrorKind::InvalidConfig, "export-credentials"),
        (vec![("AWS_CONFIG_FILE", &*old)], ErrorKind::BootstrapRejected, "run `aws sso login`"),
        (vec![("AWS_CONFIG_FILE", &*role)], ErrorKind::InvalidConfig, "without a source_profile"),
        (
            vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/s3cr3t")],
            ErrorKind::InsecureUrl,
            "plain http",
        ),
        (
            vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")],
            ErrorKind::Unavailable,
            "from the container's service",
        ),
        (
            vec![
                ("AWS_EC2_METADATA_DISABLED", "false"),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
            ],
            ErrorKind::Unavailable,
            "nothing is set up elsewhere",
        ),
        (
            vec![("AWS_ROLE_ARN", "r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")],
            ErrorKind::Unavailable,
            "/nowhere/token",
        ),
    ];
    for (variables, kind, words) in cases {
        let outside = folder.outside(&variables);
        let error = Identity::chain(None).get(&outside).await.err().expect("an error");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[cfg(all(unix, feature = "command"))]
#[tokio::test]
async fn a_program_that_a_profile_names_is_run() {
    let folder = Folder::new("process");
    let printed =
        r#"{"Version": 1, "AccessKeyId": "RAN", "SecretAccessKey": "s3cr3t", "SessionToken": "t"}"#;
    let printed = folder.write("printed", printed);
    let line = format!("[profile p]\ncredential_process = cat \"{printed}\"\n");
    let config = folder.write("config", &line);
    let outside = folder.outside(&[("AWS_CONFIG_FILE", &config)]);
    let login = Identity::chain(Some("p".into())).get(&outside).await.expect("a log-in");
    assert_eq!(login.key_id.reveal(), "RAN");
    assert_eq!(login.token.expect("a token").reveal(), "t");
}

#[test]
fn it_is_never_printed() {
    let given = Identity::given("AKID".into(), "s3cr3t".into(), Some("t0ken".into()));
    let shown = format!("{given:?} {:?}", Identity::chain(Some("dev".into())));
    assert_eq!(shown, "given profile dev");
}
