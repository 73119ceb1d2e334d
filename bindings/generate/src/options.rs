//! Options where functions that are written by hand take them: their names, types and defaults are compared with the
//! description, and what their comments say of them is generated.

use crate::{
    Files, Result, kotlin,
    model::{Field, Model, Record},
    names::{self, Name, Names},
    python,
    signature::{Listing, Signature, comment},
    swift,
    text::{Text, lower},
};

/// What is passed to a client and to an authorizer, in all languages.
fn both(model: &Model) -> Vec<&Field> {
    model.client.fields.iter().chain(&model.authorizer.fields).collect()
}

fn all(record: &Record) -> Vec<&Field> {
    record.fields.iter().collect()
}

/// The options that each language takes, in the order of `names::LANGUAGES`.
pub(crate) fn check(model: &Model, files: &Files<'_>) -> Result<[Names; 5]> {
    Ok([
        rust(files)?,
        python(model, files)?,
        node(files)?,
        kotlin(model, files)?,
        swift(model, files)?,
    ])
}

/// The builders of Rust, and what they make.
const BUILDERS: &[(&str, &str)] = &[
    ("AuthorizerBuilder", "Authorizer"),
    ("ClientBuilder", "Client"),
    ("Command", "Source.command"),
    ("Endpoint", "Source.endpoint"),
    ("Follow", "KeySwap"),
    ("Json", "Source.json"),
];

/// What a builder does.
const DEEDS: &[&str] = &["build", "or", "start"];

fn rust(files: &Files<'_>) -> Result<Names> {
    of_members(&names::LANGUAGES[0].names(files)?, BUILDERS)
}

/// The members of some types, as options.
fn of_members(names: &Names, types: &[(&str, &str)]) -> Result<Names> {
    let made = names.iter().filter(|name| !DEEDS.contains(&&*name.name)).filter_map(|name| {
        let (_, of) = types.iter().find(|(of, _)| *of == name.of)?;
        Some(Name::option(of, &name.name))
    });
    Ok(made.collect())
}

const PYTHON: &str = "bindings/python/python/keyswap";

fn python(model: &Model, files: &Files<'_>) -> Result<Names> {
    let mut names = Names::new();
    let mut signature = |file: &str,
                         at: &[&str],
                         of: &str,
                         fields: Vec<&Field>,
                         by: fn(&Field) -> String| {
        let path = format!("{PYTHON}/{file}");
        let fields =
            fields.into_iter().filter(|field| !python::MERGED.contains(&&*field.name)).collect();
        Signature { path: &path, at, of, fields, declared: &by }.check(files, &mut names).map(drop)
    };
    let (authorizer, keyswap) = (|| all(&model.authorizer), || all(&model.keyswap));
    signature(
        "_client.py",
        &["class _Base:", "__init__("],
        "Client",
        both(model),
        python::of_client,
    )?;
    signature("_keys.py", &["class KeySwap(", "__new__("], "KeySwap", keyswap(), python::passed)?;
    signature(
        "_native.pyi",
        &["class Authorizer:", "__new__("],
        "Authorizer",
        authorizer(),
        python::of_native,
    )?;
    for (class, of) in [
        ("class Endpoint(", "Source.endpoint"),
        ("class Json(", "Source.json"),
        ("class Command(", "Source.command"),
    ] {
        signature("_sources.py", &[class, "__new__("], of, Vec::new(), python::passed)?;
    }
    for (file, at) in [
        ("_httpx", &["class _Base(", "__init__("][..]),
        ("aiohttp", &["def middleware("]),
        ("requests", &["class Adapter(", "__init__("]),
    ] {
        signature(&format!("integrations/{file}.py"), at, "", authorizer(), python::passed)?;
    }
    let listing = Listing { margin: "", first: "- `", is_before: false };
    let list = |fields: &[&Field]| {
        let fields = fields.iter().filter(|field| !python::MERGED.contains(&&*field.name));
        fields.flat_map(|field| python::entry(model, field, 96)).collect::<Vec<_>>()
    };
    listing.write(
        files,
        &format!("{PYTHON}/_client.py"),
        &["class Client("],
        &list(&both(model)),
    )?;
    listing.write(files, &format!("{PYTHON}/_keys.py"), &["class KeySwap("], &list(&keyswap()))?;
    Ok(names)
}

const NODE: &[(&str, &str)] = &[
    ("ClientFields", "Client"),
    ("ClientOptions", "Client"),
    ("EndpointOptions", "Source.endpoint"),
    ("JsonOptions", "Source.json"),
    ("CommandOptions", "Source.command"),
    ("KeySwapOptions", "KeySwap"),
    ("KeyedOptions", "Authorizer"),
];

/// The interfaces are generated, but for what only Node has.
fn node(files: &Files<'_>) -> Result<Names> {
    let mut names = names::LANGUAGES[2].names(files)?;
    names::generated(files, &mut names)?;
    let mut options = of_members(&names, NODE)?;
    options.extend(of_members(&names, &[("KeyedOptions", "Client")])?);
    Ok(options)
}

const KOTLIN: &str = "bindings/kotlin/src/main/kotlin/dev/keyswap";

fn kotlin(model: &Model, files: &Files<'_>) -> Result<Names> {
    let mut names =
        of_members(&names::LANGUAGES[3].names(files)?, &[("Endpoint", "Source.endpoint")])?;
    let config = format!("{KOTLIN}/ktor/KeySwapAuth.kt");
    for field in &model.authorizer.fields {
        let line = format!("public var {}", kotlin::passed(field, true));
        comment(
            files,
            &config,
            &["class KeySwapAuthConfig "],
            &line,
            &kotlin::comment(&field.doc, model),
        )?;
    }
    let mut signature = |file: &str,
                         at: &[&str],
                         of: &str,
                         fields: Vec<&Field>,
                         has_defaults: &dyn Fn(&Field) -> bool| {
        let path = format!("{KOTLIN}/{file}.kt");
        let declared = |field: &Field| kotlin::passed(field, has_defaults(field));
        Signature { path: &path, at, of, fields, declared: &declared }
            .check(files, &mut names)
            .map(drop)
    };
    let is_optional = |field: &Field| !["scheme", "allowed_origins"].contains(&&*field.name);
    let is_origins = |field: &Field| field.name != "allowed_origins";
    signature("Authorizer", &["constructor("], "Authorizer", all(&model.authorizer), &is_optional)?;
    signature("KeySwap", &["fun start("], "KeySwap", all(&model.keyswap), &|_| true)?;
    signature("okhttp/KeySwapOkHttp", &[".keyswap("], "", all(&model.authorizer), &is_origins)?;
    let listing = Listing { margin: "* ", first: "@param ", is_before: true };
    let entries = model.authorizer.fields.iter().flat_map(|field| kotlin::entry(model, field));
    let list: Vec<_> =
        ["@param keys Whose credentials.".to_owned()].into_iter().chain(entries).collect();
    listing.write(files, &format!("{KOTLIN}/Authorizer.kt"), &["class Authorizer "], &list)?;
    listing.write(
        files,
        &format!("{KOTLIN}/okhttp/KeySwapOkHttp.kt"),
        &["fun OkHttpClient"],
        &list,
    )?;
    Ok(names)
}

const SWIFT: &str = "bindings/swift/Sources/Keyswap";

fn swift(model: &Model, files: &Files<'_>) -> Result<Names> {
    let mut names = Names::new();
    let source = format!("{SWIFT}/Source.swift");
    let (at, of, fields) = (&["static func endpoint("][..], "Source.endpoint", Vec::new());
    Signature { path: &source, at, of, fields, declared: &swift::passed }
        .check(files, &mut names)?;
    let listing = Listing { margin: "/// ", first: "- Parameters:", is_before: true };
    let mut function = |file: &str,
                        at: &[&str],
                        of: &str,
                        fields: Vec<&Field>,
                        declared: &dyn Fn(&Field) -> String| {
        let path = format!("{SWIFT}/{file}.swift");
        let signature = Signature { path: &path, at, of, fields, declared };
        let mut list = vec!["- Parameters:".to_owned()];
        for name in signature.check(files, &mut names)? {
            let field = signature.fields.iter().find(|field| field.name == lower(&name));
            let beside =
                BESIDE.iter().find(|(one, _)| *one == name).map(|(_, said)| Text::new(said));
            let said = field.map(|field| field.doc.clone()).or(beside);
            let said =
                said.ok_or_else(|| format!("{path}: `{name}` is no option of the description"))?;
            list.extend(swift::entry(model, &name, &said));
        }
        listing.write(files, &path, at, &list)
    };
    function(
        "Authorizer",
        &["public init("],
        "Authorizer",
        all(&model.authorizer),
        &swift::passed,
    )?;
    function("Client", &["public init("], "Client", both(model), &swift::of_client)?;
    function("KeySwap", &["public init("], "KeySwap", all(&model.keyswap), &swift::passed)?;
    Ok(names)
}

/// What only Swift has, or says so.
const BESIDE: &[(&str, &str)] = &[
    ("configuration", "That of the session which sends."),
    ("keys", "Whose credentials."),
    ("named", "Further keys, for requests that name them."),
    ("source", "What is followed."),
];
