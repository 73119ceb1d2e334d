//! Every file of `tests/scenarios` is played through the engine and, unless it says that it takes too
//! long, over sockets through the client and the adapters: four tests each, found in the folder so that
//! none can be forgotten.

// A test that is a program of its own reports on the standard output.
#![allow(clippy::print_stdout)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use keyswap_endpoint::story::Story;
use keyswap_stories::{
    engine, lateness,
    sockets::{self, Through},
};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Deserialize;
use serde_json::Value;

/// How many schedules of jitter and races each story must come out in, and each of the long ones.
const SEEDS: u64 = 50;
const SEEDS_OF_LONG: u64 = 10;
/// What stories are played through over sockets: the name of the tests, and that in the support matrix.
const SOCKETS: &[(Through, &str, &str)] = &[
    (Through::Client, "sockets", "rust"),
    (Through::Middleware, "middleware", "rust-reqwest-middleware"),
    (Through::Tower, "tower", "rust-tower"),
];
/// Stories at once: most of one is waiting, but their times must be kept.
const AT_ONCE: usize = 6;
/// Of one story, if the machine was late each time.
const MOST_PLAYS: u32 = 3;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    open_many_files();
    let files = match read(&folder()) {
        Ok(files) => Arc::new(files),
        Err(error) => {
            println!("{}: {error}", folder().display());
            return ExitCode::FAILURE;
        }
    };
    let mut trials = vec![
        checking("stories_are_named_like_their_files", &files, named_like_their_files),
        checking("few_stories_are_virtual_only", &files, few_are_virtual_only),
        checking("the_support_matrix_names_what_is_not_run", &files, matrix_is_true),
        checking("the_readme_shows_the_support_matrix", &files, matrix_is_shown),
        checking("every_step_and_every_fault_has_a_story", &files, everything_has_a_story),
        checking("every_rule_has_a_story_and_every_story_a_rule", &files, every_rule_has_a_story),
        Trial::test("stories_are_played_again_only_where_the_machine_was_late", replays),
    ];
    for file in files.iter() {
        let story = file.story.clone();
        trials.push(Trial::test(format!("engine::{}", file.name), move || in_engine(&story)));
    }
    for (through, name, language) in SOCKETS {
        for file in files.iter().filter(|file| is_played(&file.story, *through)) {
            let (story, title) = (file.story.clone(), format!("{name}::{}", file.name));
            let play = move || over_sockets(&story, *through, language);
            trials.push(Trial::test(title, play));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

struct File {
    name: String,
    json: Value,
    story: Story,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

/// All stories of a folder, in the order of their names.
fn read(folder: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
            let story = Story::parse(&text).map_err(|error| format!("{name}: {error}"))?;
            let json = serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
            files.push(File { name, json, story });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// A thousand callers and the API that they call need two thousand sockets and more.
fn open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it may not be raised, the stories that need it will say so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn in_engine(story: &Story) -> Result<(), Failed> {
    let seeds = if story.virtual_only { SEEDS_OF_LONG } else { SEEDS };
    for seed in 0..seeds {
        let report = engine::play(story, seed)?;
        if seed == 0 {
            println!("engine::{}: {}", story.name, report.line());
        }
        if !report.is_good() {
            return Err(format!("with seed {seed}: {}", report.complaint()).into());
        }
    }
    Ok(())
}

fn is_played(story: &Story, through: Through) -> bool {
    !story.virtual_only && through.can_tell(story)
}

fn over_sockets(story: &Story, through: Through, language: &str) -> Result<(), Failed> {
    let mut plays = 1;
    loop {
        let report = sockets::play(story, through)?;
        println!("{language}: {}: {}", story.name, report.line());
        if report.is_good() {
            return Ok(());
        }
        let (late, complaint) = (report.late, report.complaint());
        if plays == MOST_PLAYS || !lateness::may_replay(late) {
            return Err(format!("{} ms late at most: {complaint}", late.as_millis()).into());
        }
        lateness::note(&lateness::list_of_replays(), language, &story.name, late, &complaint)?;
        plays += 1;
    }
}

// ---- checks of the whole ----

fn checking(name: &str, files: &Arc<Vec<File>>, check: fn(&[File]) -> Result<(), Failed>) -> Trial {
    let files = files.clone();
    Trial::test(name, move || check(&files))
}

fn named_like_their_files(files: &[File]) -> Result<(), Failed> {
    let other = files.iter().find(|file| file.name != file.story.name);
    other.map_or(Ok(()), |file| Err(format!("{}.json is named otherwise", file.name).into()))
}

fn few_are_virtual_only(files: &[File]) -> Result<(), Failed> {
    let count = files.iter().filter(|file| file.story.virtual_only).count();
    match count * 3 <= files.len() {
        true => Ok(()),
        false => Err(format!("{count} of {} stories are virtual_only", files.len()).into()),
    }
}

/// By language, the stories that it does not run over sockets, and why.
#[derive(Deserialize)]
struct Matrix {
    languages: BTreeMap<String, Language>,
}

#[derive(Deserialize)]
struct Language {
    not_run: BTreeMap<String, String>,
}

fn matrix_is_true(files: &[File]) -> Result<(), Failed> {
    let text = fs::read_to_string(folder().join("../support-matrix.yaml"))?;
    let matrix: Matrix = serde_saphyr::from_str(&text)?;
    let played = files.iter().filter(|file| !file.story.virtual_only);
    let names: BTreeSet<_> = played.map(|file| file.name.as_str()).collect();
    for (language, Language { not_run }) in &matrix.languages {
        if let Some(unknown) = not_run.keys().find(|name| !names.contains(name.as_str())) {
            return Err(format!("{language}: no story {unknown} is played over sockets").into());
        }
        if let Some((name, _)) = not_run.iter().find(|(_, reason)| reason.trim().is_empty()) {
            return Err(format!("{language}: {name} is not run for no reason").into());
        }
    }
    for (through, _, language) in SOCKETS {
        let said = matrix.languages.get(*language);
        let said = said.ok_or_else(|| format!("the matrix does not speak of {language}"))?;
        let skipped: BTreeSet<_> = said.not_run.keys().map(String::as_str).collect();
        let left_out = files.iter().filter(|file| !through.can_tell(&file.story));
        let left_out: BTreeSet<_> = left_out.map(|file| file.name.as_str()).collect();
        if skipped != left_out {
            return Err(format!("{language}: says {skipped:?}, leaves out {left_out:?}").into());
        }
    }
    Ok(())
}

fn matrix_is_shown(files: &[File]) -> Result<(), Failed> {
    let text = fs::read_to_string(folder().join("../support-matrix.yaml"))?;
    let matrix: Matrix = serde_saphyr::from_str(&text)?;
    let page = fs::read_to_string(folder().join("../../README.md"))?;
    let total = files.iter().filter(|file| !file.story.virtual_only).count();
    for (language, Language { not_run }) in &matrix.languages {
        let but: Vec<_> = not_run.keys().map(String::as_str).collect();
        let row = format!("| {language} | {} of {total} | {} |", total - but.len(), but.join(", "));
        if !page.lines().any(|line| line == row) {
            return Err(format!("the README lacks this row: {row}").into());
        }
    }
    Ok(())
}

/// The names are read from the format's own page, so that a new one needs a story.
fn everything_has_a_story(files: &[File]) -> Result<(), Failed> {
    let page = fs::read_to_string(folder().join("README.md"))?;
    let table = page.split("## `timeline`").nth(1).and_then(|rest| rest.split("\n## ").next());
    let steps = table.ok_or("the page has no `timeline`")?.lines();
    let steps = steps.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut missing: BTreeSet<String> = steps.map(str::to_owned).collect();
    missing.remove("do");
    for kind in ["Endpoint", "API"] {
        let list = page
            .split(&format!("\n{kind} faults: "))
            .nth(1)
            .and_then(|rest| rest.split("\n\n").next());
        let list = list.ok_or("the page has no list of faults")?;
        // What stands in brackets are fields.
        let outside = list.split('(').enumerate().map(|(index, part)| match index {
            0 => part,
            _ => part.split_once(')').map_or("", |(_, outside)| outside),
        });
        let names = outside.flat_map(|part| part.split('`').skip(1).step_by(2).collect::<Vec<_>>());
        missing.extend(names.map(|name| format!("{} {name}", kind.to_lowercase())));
    }
    if missing.len() < 30 {
        return Err(format!("the page is not read as it should be: {missing:?}").into());
    }
    for step in files.iter().flat_map(|file| file.json["timeline"].as_array()).flatten() {
        let text = |field: &str| step[field].as_str().unwrap_or_default();
        missing.remove(text("do"));
        missing.remove(&format!("{} {}", text("do"), text("fault")));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("without a story: {missing:?}").into()),
    }
}

/// The rules are read from the format's own page, and the numbers of invariants from that of the core.
fn every_rule_has_a_story(files: &[File]) -> Result<(), Failed> {
    let page = fs::read_to_string(folder().join("README.md"))?;
    let table = page.split("## `rules`").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table.ok_or("the page has no `rules`")?.lines();
    let rules: BTreeSet<_> =
        rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let core = fs::read_to_string(folder().join("../../core/ARCHITECTURE.md"))?;
    let list = core.split("## Invariants").nth(1).unwrap_or_default();
    let numbers: BTreeSet<_> =
        list.lines().filter_map(|line| Some(line.split_once(". ")?.0)).collect();
    let mut without = rules.clone();
    for File { name, story, .. } in files {
        if story.rules.is_empty() {
            return Err(format!("{name} names no rule").into());
        }
        for rule in &story.rules {
            without.remove(rule.as_str());
            let is_known = match rule.strip_prefix("invariant ") {
                Some(number) => numbers.contains(number),
                None => rules.contains(rule.as_str()),
            };
            if !is_known {
                return Err(format!("{name}: no page knows the rule {rule:?}").into());
            }
        }
    }
    match without.is_empty() && rules.len() > 15 {
        true => Ok(()),
        false => Err(format!("without a story: {without:?}").into()),
    }
}

fn replays() -> Result<(), Failed> {
    let bears = lateness::TOLERANCE;
    let more = bears + Duration::from_millis(1);
    let are_allowed = std::env::var("KEYSWAP_NO_REPLAY").as_deref() != Ok("1");
    if lateness::may_replay(bears) || lateness::may_replay(more) != are_allowed {
        return Err("it is not lateness that decides".into());
    }
    let list = std::env::temp_dir().join(format!("keyswap-replays-{}", std::process::id()));
    lateness::note(&list, "rust", "a-story", more, "two\nlines")?;
    let written = fs::read_to_string(&list)?;
    fs::remove_file(&list)?;
    let told: Value = serde_json::from_str(written.trim_end())?;
    let right = serde_json::json!({
        "through": "rust", "story": "a-story", "late_ms": 101, "complaint": "two\nlines"
    });
    match told == right {
        true => Ok(()),
        false => Err(format!("written down was {told}").into()),
    }
}
