use super::*;

fn environment<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn the_identity_is_found_as_azures_libraries_find_it() {
    let all = [
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_SECRET", "s3cr3t"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"),
        ("IDENTITY_HEADER", "s3cr3t"),
    ];
    let found_without = |without: &[&str]| {
        let left: Vec<_> = all.iter().copied().filter(|it| !without.contains(&it.0)).collect();
        let found = found(environment(&left));
        let shown = format!("{found:?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
        shown
    };
    assert_eq!(found_without(&[]), "client secret of c");
    assert_eq!(found_without(&["AZURE_CLIENT_SECRET"]), "workload identity c in /token");
    let managed = found_without(&["AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"]);
    assert_eq!(managed, "managed identity of the service");
    assert_eq!(found_without(&["AZURE_CLIENT_ID"]), managed);
    assert_eq!(
        found_without(&["AZURE_CLIENT_ID", "IDENTITY_HEADER"]),
        "managed identity of the machine"
    );
    let Identity::Machine { client } = found(environment(&[("AZURE_CLIENT_ID", "c")])) else {
        panic!("a machine")
    };
    assert_eq!(client.as_deref(), Some("c"), "which of its identities");
}

#[test]
fn what_is_wrong_is_told_at_once() {
    for odd in [
        Credentials::client_secret("a/b", "c", "s3cr3t"),
        Credentials::workload_identity("", "c", "/token"),
        Credentials::default().authority_host("login"),
        Credentials::default().metadata_url("metadata"),
    ] {
        let error = odd.check().expect_err("not valid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!format!("{error} {odd:?}").contains("s3cr3t"));
    }
    assert!(Credentials::client_secret("contoso.onmicrosoft.com", "c", "s").check().is_ok());
}
