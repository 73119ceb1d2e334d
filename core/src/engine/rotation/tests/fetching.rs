//! When the next fetch starts.

use super::*;

#[test]
fn a_floor_lies_between_two_fetches() {
    let mut life = Life::holding(set(1, "k1", &[]));
    for _ in 0..5 {
        life.step(Input::RefreshRequested);
        life.pass(5.0);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    assert!(life.starts.len() >= 4);
    assert!(life.starts.windows(2).all(|pair| pair[1] - pair[0] >= 5000), "{:?}", life.starts);
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 20));
    life.step(Input::RefreshRequested);
    life.pass(2.0);
    assert_eq!(life.starts_from(START.boot), [0, 2000], "a tenth of a short life");
    life.not_modified();
    life.step(Input::RefreshRequested);
    life.pass(1.8);
    life.fetched(living(&life, 2, "k2", 3));
    life.step(Input::RefreshRequested);
    life.pass(0.99);
    assert!(life.live.is_none(), "never less than a second");
}

#[test]
fn a_source_that_mints_is_asked_by_the_life_of_what_it_made() {
    let mut life = Life::begin();
    life.rotation.source_mints();
    life.fetched(living(&life, 1, "k1", 3600));
    life.starts.clear();
    let began = life.now.boot;
    while life.now.boot < began + 3_599_000 {
        life.pass(1.0);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    let starts = life.starts_from(began);
    // 30 % of an hour is less than 20 minutes; then 30 % of what is left each time.
    assert!((2_520_000..3_060_000).contains(&starts[0]), "{starts:?}");
    assert!(starts.len() >= 3 && starts[1] < 3_500_000, "{starts:?}");
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{starts:?}");
    // The life that it names may be wrong, too: once a day; and without one, once an hour.
    for (seconds, least, most) in [(9_000_000, 86_000, 86_500), (0, 2_880, 3_601)] {
        let mut life = Life::begin();
        life.rotation.source_mints();
        let set = set(1, "k1", &[]);
        life.fetched(if seconds > 0 { living(&life, 1, "k1", seconds) } else { set });
        assert!((least..=most).contains(&life.pass_until_a_fetch()), "{seconds}");
    }
}

#[test]
fn a_source_that_mints_may_wish_to_be_asked_sooner_and_never_later() {
    for (wish, least, most) in [(60, 60, 61), (3_500, 2_520, 3_060), (9_000_000, 2_520, 3_060)] {
        let mut life = Life::begin();
        life.rotation.source_mints();
        life.fetched(living(&life, 1, "k1", 3600).with_refresh_after(life.at(wish)));
        let waited = life.pass_until_a_fetch();
        assert!((least..=most).contains(&waited), "{wish}: {waited}");
    }
}

#[test]
fn a_source_that_reads_is_polled_whatever_the_end() {
    for seconds in [3_600, 90 * 86_400] {
        let mut life = Life::begin();
        life.fetched(living(&life, 1, "k1", seconds));
        for _ in 0..5 {
            assert!((239..=361).contains(&life.pass_until_a_fetch()), "{seconds}");
            life.not_modified();
        }
    }
}

#[test]
fn no_time_that_the_source_names_silences_a_client() {
    let far = |life: &Life, set: CredentialSet| set.with_refresh_after(life.at(9_000_000_000));
    for splay in [0, 86_400] {
        let mut life = Life::begin();
        let set = set(1, "k1", &[]).with_splay(Duration::from_secs(splay));
        life.fetched(far(&life, set));
        let waited = life.pass_until_a_fetch();
        assert!((2_880..=3_600).contains(&waited), "a wish for 2312, a splay of {splay} s");
    }
    let mut life = Life::begin();
    life.fetched(set(1, "k1", &[]).with_splay(Duration::from_secs(86_400)));
    life.step(Input::Hinted { generation: None, immediate: false });
    assert!(life.pass_until_a_fetch() <= 360, "a hint is no reason to wait for longer");
    // The ends of time, as languages write "never", are no times.
    for never in [Timestamp::MAX, Timestamp::MIN] {
        let mut life = Life::begin();
        let old = key("k0").with_expires_at(never).with_grace_expires_at(never);
        let primary = key("k1").with_expires_at(never).with_not_before(never);
        let set = CredentialSet::new(primary).with_generation(1).with_previous(old);
        life.fetched(set.with_refresh_after(never).with_as_of(never));
        assert_eq!(life.usable(), ["k1", "k0"], "{never}");
        assert!(life.pass_until_a_fetch() <= 360, "{never}: no end, and no wish");
    }
}

#[test]
fn without_an_end_it_polls() {
    let mut life = Life::holding(set(1, "k1", &[]));
    for _ in 0..20 {
        let before = life.starts.len();
        let began = life.now.boot;
        while life.starts.len() == before {
            life.pass(1.0);
        }
        assert!((239_000..=361_000).contains(&(life.now.boot - began)));
        life.not_modified();
    }
}

#[test]
fn the_servers_wish_wins_but_not_once_it_has_passed() {
    let mut life = Life::begin();
    let wish = living(&life, 1, "k1", 3600).with_refresh_after(life.at(60));
    life.fetched(wish);
    life.pass(59.0);
    assert!(life.live.is_none());
    life.pass(1.5);
    life.not_modified();
    life.pass(239.0);
    assert!(life.live.is_none(), "the wish has passed: its own schedule again");
    life.pass(122.0);
    assert!(life.live.is_some());
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 60).with_refresh_after(life.at(86_400)));
    life.pass(60.0);
    assert!(life.live.is_some(), "a wish beyond the end is no reason to let it end");
}

#[test]
fn the_splay_spreads_a_fleet() {
    let due = |seed| {
        let policy = Arc::new(Policy::default());
        let mut rotation = Rotation::new(START, seed, policy.clone(), default_backoff(&policy));
        rotation.step(START, 0, Input::Woke);
        let at = Timestamp::from_millisecond(START.wall + 60_000).expect("a time");
        let set = set(1, "k1", &[]).with_refresh_after(at).with_splay(Duration::from_secs(20));
        rotation.step(START, 0, Input::Fetched(1, set));
        rotation.fetching.wake_at() - START.boot
    };
    let due: Vec<_> = (0..50).map(due).collect();
    assert!(due.iter().all(|due| (60_000..80_000).contains(due)), "{due:?}");
    assert!(due.iter().max().expect("some") - due.iter().min().expect("some") > 10_000);
}

#[test]
fn failures_back_off_and_displace_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    for _ in 0..4 {
        life.failed(outage());
        assert_eq!(life.in_use(), Some("k1"));
        life.pass(19.9);
        assert!(life.live.is_none());
        life.pass(0.2);
    }
    life.told();
    life.not_modified();
    assert!(life.told().contains(&"recovered"));
    assert_eq!(life.rotation.counts().failed, 4);
}

#[test]
fn with_nothing_usable_it_tries_more_often() {
    let mut life = Life::begin();
    life.failed(outage());
    assert_eq!(life.cause(), Some(ErrorKind::Unavailable), "requests are told why");
    life.pass(14.9);
    assert!(life.live.is_none());
    life.pass(0.2);
    assert!(life.live.is_some(), "15 s, not 20");
}

#[test]
fn permanent_failures_are_tried_slowly_for_ever() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    let began = life.now.boot;
    life.starts.clear();
    for _ in 0..40 {
        if life.live.is_some() {
            life.failed(Error::new(ErrorKind::BootstrapRejected, "no"));
        }
        life.pass(60.0);
    }
    let waits: Vec<_> = life.starts.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect();
    assert_eq!(life.starts[0] - began, 60_000);
    assert_eq!(waits, [120, 240, 300, 300, 300, 300, 300, 300]);
}

#[test]
fn with_nothing_usable_the_next_fetch_is_near_whatever_the_failure_is_called() {
    let lasting = [
        ErrorKind::BootstrapRejected,
        ErrorKind::Forbidden,
        ErrorKind::UnknownSet,
        ErrorKind::OlderGeneration,
        ErrorKind::SignatureInvalid,
        ErrorKind::InvalidConfig,
        ErrorKind::Malformed,
        ErrorKind::Throttled,
    ];
    for kind in lasting {
        let failure = || Error::new(kind, "no").with_retry_after(Duration::from_secs(300));
        let mut life = Life::begin();
        for _ in 0..4 {
            life.failed(failure());
            life.pass(15.1);
            assert!(life.live.is_some(), "at the start, {kind:?}");
        }
        // What was planned while all was well does not hold it up once it is not.
        let mut life = Life::begin();
        life.fetched(living(&life, 1, "k1", 120));
        life.pass(100.0);
        life.failed(failure());
        life.pass(22.0);
        life.rejected("k1");
        assert_eq!(life.in_use(), None);
        life.starts.clear();
        let began = life.now.boot;
        life.pass(15.1);
        assert!(!life.starts_from(began).is_empty(), "after the end, {kind:?}");
    }
    // What the API rejects is as good as nothing.
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.rejected("k1");
    life.failed(Error::new(ErrorKind::Forbidden, "no"));
    assert!(matches!(
        life.events.last(),
        Some(Event::FetchFailed { retry_in, .. }) if *retry_in <= Duration::from_secs(15)
    ));
    assert!(life.pass_until_a_fetch() <= 15);
    // A set that was revoked is looked for slowly.
    let mut life = Life::holding(set(1, "k1", &[]));
    life.step(Input::RefreshRequested);
    life.pass(5.0);
    life.failed(Error::new(ErrorKind::SetRevoked, "gone"));
    life.pass(59.0);
    assert!(life.live.is_none());
}

#[test]
fn retry_after_is_honoured_clamped_and_spread() {
    // Asked for, granted, and the latest that a client of the fleet comes.
    for (asked, granted, latest) in [(0, 1, 2), (20, 20, 40), (100, 100, 160), (86_400, 300, 360)] {
        let mut life = Life::holding(set(1, "k1", &[]));
        life.pass(10.0);
        life.step(Input::RefreshRequested);
        life.failed(outage().with_retry_after(Duration::from_secs(asked)));
        life.rejected("k1");
        life.hint(Some(9));
        life.step(Input::RefreshRequested);
        let before = life.starts.len();
        life.pass(f64::from(granted) - 0.1);
        assert_eq!(life.starts.len(), before, "{asked}");
        life.pass(f64::from(latest - granted) + 0.2);
        assert!(life.starts.len() > before, "{asked}");
    }
}

#[test]
fn a_hint_is_a_fetch_unless_it_is_known() {
    let mut life = Life::holding(set(3, "k3", &[]));
    life.pass(10.0);
    life.hint(Some(3));
    assert!(life.live.is_none());
    life.hint(Some(4));
    assert!(life.live.is_some());
    life.hint(Some(4));
    life.fetched(set(4, "k4", &[]));
    life.pass(30.0);
    assert!(life.live.is_none(), "the running fetch brought it");
}

#[test]
fn a_hint_above_what_a_fetch_brought_is_worth_one_more() {
    let mut life = Life::holding(set(3, "k3", &[]));
    life.pass(10.0);
    life.hint(Some(4));
    life.hint(Some(6));
    life.fetched(set(4, "k4", &[]));
    life.pass(5.0);
    life.not_modified();
    life.pass(60.0);
    assert!(life.live.is_none(), "one more, not for ever");
    // The source does not yet know what the hint speaks of.
    life.hint(Some(5));
    life.not_modified();
    life.pass(5.0);
    life.fetched(set(5, "k5", &[]));
    assert_eq!(life.in_use(), Some("k5"));
}

#[test]
fn a_hint_without_a_number_during_a_fetch_is_worth_one_more() {
    let mut life = Life::holding(set(3, "k3", &[]));
    life.pass(10.0);
    life.hint(None);
    life.hint(None);
    life.fetched(set(4, "k4", &[]));
    life.pass(5.0);
    assert!(life.live.is_some(), "it may be about what that fetch missed");
    life.not_modified();
    life.pass(60.0);
    assert!(life.live.is_none());
}

#[test]
fn a_fetch_that_hangs_is_given_up_and_what_it_brings_late_is_ignored() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    let late = life.live.expect("a fetch runs");
    life.pass(10.0);
    assert!(life.live.is_none());
    assert_eq!(
        life.settled.last().and_then(|last| last.clone().err()).map(|e| e.kind()),
        Some(ErrorKind::Timeout)
    );
    assert!(life.told().contains(&"fetch_failed"));
    let settled = life.settled.len();
    life.step(Input::Fetched(late, set(2, "k2", &[])));
    life.step(Input::NotModified(late));
    life.step(Input::Failed(late, Error::new(ErrorKind::SetRevoked, "late")));
    assert_eq!((life.in_use(), life.settled.len()), (Some("k1"), settled));
    assert_eq!(life.told(), [""; 0]);
}

// ---- what may not displace a set ----
