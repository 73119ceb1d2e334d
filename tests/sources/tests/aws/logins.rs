//! Each way to log in, by programs that know nothing but their environment, against moto, which checks signatures.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyswap_source_tests::{
    api::Api,
    aws::{AccessKey, Moto},
    fake::{Fake, Response},
};
use serde_json::json;

use crate::{REGION, example::example, secrets::Rotation};

const READ: [&str; 2] = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"];

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keyswap-aws-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What runs, and what it prints if it fails.
async fn runs(name: &str, home: &Path, moto: &Moto, api: &Api, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "logins::a_program_of_the_page"])
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", home)
        .env("API", api.url())
        .envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
#[ignore = "the tests here run it"]
async fn a_program_of_the_page() {
    let client = example("prod/page", &std::env::var("API").unwrap()).await.unwrap();
    assert_eq!(client.get("/").send().await.unwrap().status(), 200);
}

fn section(name: &str, key: &AccessKey) -> String {
    format!("[{name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n", key.id, key.secret)
}

/// As the services of containers and instances give it.
fn given(key: &AccessKey) -> serde_json::Value {
    json!({
        "Code": "Success", "AccessKeyId": key.id, "SecretAccessKey": key.secret, "Token": "",
        "Expiration": "2099-01-01T00:00:00Z",
    })
}

#[tokio::test]
async fn each_way_to_log_in_works() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("page", &READ).await;
    let assumer = moto.user_who_may("assumer", &["sts:AssumeRole"]).await;
    let role = moto.role_that_may("page-role", &READ).await;
    Rotation::new(&moto, "prod/page", "g0").await;
    let api = Api::start().await;
    api.accept(["g0"]);
    let folder = Folder::new("logins");
    let keys = folder.write("credentials", &(section("app", &reader) + &section("base", &assumer)));
    let process = json!({
        "Version": 1, "AccessKeyId": reader.id, "SecretAccessKey": reader.secret,
    });
    let process = folder.write("process.json", &process.to_string());
    let config = format!(
        "[profile role]\nrole_arn = {role}\nsource_profile = base\n\
         [profile process]\ncredential_process = cat '{process}'\n"
    );
    let config = folder.write("config", &config);
    let token = folder.write("token", "t0ken\n");
    let files: &[(&str, &str)] =
        &[("AWS_SHARED_CREDENTIALS_FILE", &keys), ("AWS_CONFIG_FILE", &config)];

    let container = given(&reader);
    let container = Fake::plain(move |request| match request.header("authorization") {
        Some("t0ken") => Response::new(200, &container),
        _ => Response::new(401, "s3cr3t"),
    });
    let container = container.await;
    let credentials = format!("{}/v1/credentials", container.url());
    let instance = given(&reader);
    let instance = Fake::plain(move |request| match (&*request.method, request.url.path()) {
        ("PUT", "/latest/api/token") => Response::new(200, "imds"),
        _ if request.header("x-aws-ec2-metadata-token") != Some("imds") => Response::new(401, ""),
        (_, "/latest/meta-data/iam/security-credentials/") => Response::new(200, "role"),
        _ => Response::new(200, &instance),
    });
    let instance = instance.await;

    // moto wants a signature here, which AWS does not.
    let roles = given(&reader);
    let roles = Fake::plain(move |request| {
        let pieces = ["AccessKeyId", "SecretAccessKey", "Expiration"]
            .map(|name| format!("<{name}>{}</{name}>", roles[name].as_str().unwrap()));
        let of = |name: &str| request.form(name).unwrap_or_default();
        match (&*of("Action"), &*of("WebIdentityToken"), request.header("authorization")) {
            ("AssumeRoleWithWebIdentity", "t0ken", None) => {
                let pieces = pieces.concat();
                Response::new(
                    200,
                    format!(
                        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>{pieces}<SessionToken></SessionToken></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                    ),
                )
            }
            _ => Response::new(400, "s3cr3t"),
        }
    });
    let roles = roles.await;

    let home = &folder.0;
    let run = async |name: &str, variables: &[(&str, &str)]| {
        runs(name, home, &moto, &api, variables).await;
    };
    let own = [("AWS_ACCESS_KEY_ID", &*reader.id), ("AWS_SECRET_ACCESS_KEY", &*reader.secret)];
    run("the environment", &own).await;
    run("a profile", &[files, &[("AWS_PROFILE", "app")]].concat()).await;
    run("a role of a profile", &[files, &[("AWS_PROFILE", "role")]].concat()).await;
    run("a command", &[files, &[("AWS_PROFILE", "process")]].concat()).await;
    run(
        "a container",
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*credentials),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        ],
    )
    .await;
    run(
        "an instance",
        &[
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url()),
        ],
    )
    .await;
    run(
        "web identity",
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &*token),
            ("AWS_ROLE_ARN", &role),
            ("AWS_ENDPOINT_URL_STS", roles.url()),
        ],
    )
    .await;
    assert_eq!(api.accepted().get("g0"), Some(&7));
}
