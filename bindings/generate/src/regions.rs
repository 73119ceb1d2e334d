//! Parts of a file that are generated, between two lines that say so.
//!
//! A region begins after a line that holds `generated: NAME` in a comment, and ends before the next one that holds
//! `end of NAME`. It is indented as its first line is.

use crate::Result;

/// The file with this in that region. A region stands once.
pub(crate) fn replace(file: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("generated: {name} "), format!("end of {name}"));
    let lines: Vec<&str> = file.lines().collect();
    let places = |mark: &str| -> Vec<usize> {
        // So that a name is not found at the beginning of a longer one.
        let found = |line: &str| format!("{line} ").contains(&format!("{} ", mark.trim_end()));
        lines.iter().enumerate().filter(|(_, line)| found(line)).map(|(at, _)| at).collect()
    };
    let ([from], [to]) = (&*places(&begin), &*places(&end)) else {
        return Err(format!(
            "the lines `generated: {name}` and `end of {name}` must stand in it once each"
        ));
    };
    if from >= to {
        return Err(format!("`end of {name}` stands before `generated: {name}`"));
    }
    let indent: String = lines[*from].chars().take_while(|c| c.is_whitespace()).collect();
    let mut made = String::new();
    let mut push = |line: &str| {
        made.push_str(line);
        made.push('\n');
    };
    lines[..=*from].iter().for_each(|line| push(line));
    for line in text.lines() {
        push(&if line.is_empty() { String::new() } else { format!("{indent}{line}") });
    }
    lines[*to..].iter().for_each(|line| push(line));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a\n  # generated: one by x\n  old\n  # end of one\nb\n";

    #[test]
    fn a_region_is_replaced_and_nothing_else() {
        let made = replace(FILE, "one", "new\n\n  more\n").expect("a region");
        assert_eq!(made, "a\n  # generated: one by x\n  new\n\n    more\n  # end of one\nb\n");
        assert_eq!(replace(&made, "one", "old").expect("a region"), FILE);
    }

    #[test]
    fn a_region_that_is_not_there_is_told() {
        for (file, name) in [(FILE, "on"), (FILE, "two"), (&FILE.replace("end of", ""), "one")] {
            let error = replace(file, name, "").expect_err(name);
            assert!(error.contains(&format!("`generated: {name}`")), "{error}");
        }
    }
}
