//! What AWS's configuration file says of a profile, beside its keys. Pure.

/// The settings of one profile, or of another section.
pub(super) struct Section<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Section<'a> {
    /// The section of a profile in the configuration file.
    pub(super) fn of_profile(config: &'a str, profile: &str) -> Option<Self> {
        Self::named(config, |name| match name.strip_prefix("profile ") {
            Some(name) => name.trim() == profile,
            None => name == "default" && profile == "default",
        })
    }

    fn named(config: &'a str, is_it: impl Fn(&str) -> bool) -> Option<Self> {
        let mut found = None;
        let mut is_inside = false;
        for line in config.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = trimmed.strip_prefix('[') {
                is_inside = header.split(']').next().is_some_and(|name| is_it(name.trim()));
                if is_inside {
                    found.get_or_insert_with(|| Self(Vec::new()));
                }
            } else if is_inside
                // What is further in belongs to a setting with several of its own.
                && !line.starts_with([' ', '\t'])
                && let Some((name, value)) = trimmed.split_once('=')
                && let Some(Self(settings)) = &mut found
            {
                settings.push((name.trim(), value.trim()));
            }
        }
        found
    }

    /// A setting that is not empty. The last counts.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let mut of_name = self.0.iter().rev().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| *value).filter(|value| !value.is_empty())
    }
}

/// The program and the arguments of a `credential_process`: parts stand between spaces, unless they are quoted.
#[cfg(feature = "command")]
pub(super) fn argv(line: &str) -> Vec<String> {
    let (mut parts, mut part, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                part.get_or_insert_default();
            }
            (None, ' ' | '\t') => parts.extend(part.take()),
            _ => part.get_or_insert_default().push(c),
        }
    }
    parts.extend(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "# mine\n[default]\nregion = eu-west-1\n\n[profile dev]\nREGION=eu-central-1\n\
        s3 =\n  region = inner\ncredential_process = op read x\n[sso-session dev]\nregion = no\n\
        [ profile  ops ]\nregion =\n";

    #[test]
    fn a_profile_has_settings_of_its_own() {
        let get = |profile: &str, name: &str| Section::of_profile(CONFIG, profile)?.get(name);
        assert_eq!(get("default", "region"), Some("eu-west-1"));
        assert_eq!(get("dev", "region"), Some("eu-central-1"), "not one of the lines further in");
        assert_eq!(get("dev", "credential_process"), Some("op read x"));
        assert_eq!((get("ops", "region"), get("nobody", "region")), (None, None));
        assert!(Section::of_profile(CONFIG, "ops").is_some());
    }

    #[cfg(feature = "command")]
    #[test]
    fn a_command_line_is_split_as_aws_does() {
        assert_eq!(argv("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(argv(r#""/opt/my tools/x" --a='b c' "" "#), ["/opt/my tools/x", "--a=b c", ""]);
        assert!(argv("  ").is_empty());
    }
}
