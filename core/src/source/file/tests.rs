use super::*;

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
