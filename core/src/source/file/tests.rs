use super::*;

/// A wrong key that stood in the file for a while is no fallback; the one that worked is.
#[test]
fn the_fallback_is_the_last_key_that_the_api_accepted() {
    let file = File::new("key");
    let read = |key: &str, held: Option<&CredentialSet>| match file
        .set(&Content::Whole(key.as_bytes().to_vec().into()), held)
    {
        Ok(Fetched::Set(set)) => set,
        other => panic!("{other:?}"),
    };
    let keys = |set: &CredentialSet| -> Vec<String> {
        set.members().filter_map(|one| one.reveal("key")).map(str::to_owned).collect()
    };
    let first = read("one", None);
    let second = read("two", Some(&first));
    assert_eq!(keys(&second), ["two", "one"]);
    // Nobody says what the API accepts: the one before.
    assert_eq!(keys(&read("three", Some(&second))), ["three", "two"]);
    let accepted = second.previous().next().expect("the first");
    accepted.accepted().add();
    let third = read("three", Some(&second));
    assert_eq!(keys(&third), ["three", "one"]);
    third.primary().expect("the third").accepted().add();
    assert_eq!(keys(&read("four", Some(&third))), ["four", "three"]);
    // The one that worked is put back.
    assert_eq!(keys(&read("one", Some(&third))), ["one", "three"]);
}

#[cfg(feature = "watch")]
#[tokio::test]
async fn a_file_that_is_replaced_gives_a_hint_and_reading_it_gives_none() {
    use super::super::{Hints, PushSignal};
    let name = format!("keyswap-watch-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.join("key");
    std::fs::write(&path, "one").expect("written");
    let (heard, mut hints) = tokio::sync::mpsc::unbounded_channel();
    let file = File::new(&path);
    let watch = file.watch(Hints::new(move |said| heard.send(said).expect("heard")));
    let mut beside = tokio::task::JoinSet::new();
    beside.spawn(watch.expect("a watch"));
    // The watch begins at its own time, so the file is replaced until that is heard.
    let hint = loop {
        std::fs::write(folder.join("new"), "two").expect("written");
        std::fs::rename(folder.join("new"), &path).expect("renamed");
        let wait = std::time::Duration::from_millis(500);
        if let Ok(hint) = tokio::time::timeout(wait, hints.recv()).await {
            break hint.expect("a hint");
        }
    };
    assert!(matches!(hint, PushSignal::Hint(hint) if hint.immediate));
    while hints.try_recv().is_ok() {}
    std::fs::write(folder.join("other"), "x").expect("written");
    file.fetch(None).await.expect("a set");
    let quiet = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(quiet, hints.recv()).await.is_err(), "a read is no hint");
    std::fs::remove_dir_all(&folder).expect("removed");
}
