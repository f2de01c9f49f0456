//! Patterns in the model: names looked up one by one, as docs/policy.md says what a pattern meets. The
//! stack that is shipped must find the same names in every list, and keep the same denials; what follows
//! from them is compared as that of layers without patterns is.

use std::collections::BTreeSet;
use std::convert::Infallible;

use creel_policy::glob::{Pattern, Sense};
use creel_policy::layer::{Case, Layer};
use creel_policy::stack::Stack;
use creel_policy::tools::Tool;
use creel_policy::{Absent, Grant, Origin};

use super::evaluator::Evaluator;
use super::given::{Choices, Given, Numbers, PATHS, SUBJECTS, layers, roots, universe};
use super::random;

/// Beside the paths that layers have.
const PATTERNS: [&str; 14] = [
    "$WORKSPACE/s*",
    "$WORKSPACE/*",
    "$WORKSPACE/.*",
    "$WORKSPACE/**/a",
    "$WORKSPACE/**",
    "$WORKSPACE/s?c/[a-c]",
    "/usr/bin/[!g]*",
    "/usr/bin/git[k]",
    "/*/bin",
    "/usr*",
    "~/?[2-9]",
    "~/**/id",
    "~/*/*",
    "/opt/[x]",
];

/// All that is there: what cases and layers name, with the directories above.
fn there() -> BTreeSet<String> {
    let roots = roots();
    let mut all = BTreeSet::new();
    for text in PATHS.iter().chain(&SUBJECTS) {
        let rooted = text.starts_with(['/', '~', '$']);
        let path = match rooted {
            true => roots.expand(text),
            false => roots.expand(&format!("$WORKSPACE/{text}")),
        };
        let names: Vec<&str> = path.split('/').skip(1).collect();
        if !names.contains(&"..") {
            all.extend((1..=names.len()).map(|n| format!("/{}", names[..n].join("/"))));
        }
    }
    all
}

fn seen(name: &str, sense: Sense) -> bool {
    sense == Sense::Denial || !name.starts_with('.')
}

/// A pattern part by part against a path name by name; a last `**` is `*`.
fn meets(parts: &[&str], names: &[&str], sense: Sense) -> bool {
    match (parts, names) {
        ([], names) => names.is_empty(),
        (["**"], names) => names.len() == 1 && seen(names[0], sense),
        (["**", rest @ ..], names) => {
            meets(rest, names, sense)
                || !names.is_empty() && seen(names[0], sense) && meets(parts, &names[1..], sense)
        }
        ([part, rest @ ..], [name, names @ ..]) => {
            let dotted = part.starts_with('.') || seen(name, sense);
            let chars: Vec<char> = part.chars().collect();
            dotted && word(&chars, &name.chars().collect::<Vec<_>>()) && meets(rest, names, sense)
        }
        _ => false,
    }
}

fn word(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], name) => name.is_empty(),
        (['*', rest @ ..], name) => (0..=name.len()).any(|at| word(rest, &name[at..])),
        (['?', rest @ ..], [_, name @ ..]) => word(rest, name),
        (['[', rest @ ..], [c, name @ ..]) => {
            let end = rest.iter().position(|c| *c == ']').expect("it is closed");
            let (class, rest) = (&rest[..end], &rest[end + 1..]);
            let (not, class) = match class {
                ['!', class @ ..] => (true, class),
                class => (false, class),
            };
            let has = match class {
                [from, '-', to] => (from..=to).contains(&c),
                class => class.contains(c),
            };
            has != not && word(rest, name)
        }
        ([p, rest @ ..], [c, name @ ..]) => p == c && word(rest, name),
        _ => false,
    }
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|p| !p.is_empty()).collect()
}

/// A list with its patterns written out; what stays of them where it denies.
fn written_out(list: &mut Vec<Grant>, sense: Sense, there: &BTreeSet<String>) -> Vec<Grant> {
    let (mut names, mut kept) = (vec![], vec![]);
    for grant in std::mem::take(list) {
        if !grant.path.contains(['*', '?', '[']) {
            names.push(grant);
            continue;
        }
        let text = roots().expand(&grant.path);
        let met = |path: &&String| meets(&parts(&text), &parts(path), sense);
        let rooted = grant.path.starts_with(['~', '$']);
        names.extend(there.iter().filter(met).map(|path| Grant {
            path: match rooted {
                true => roots().shorten(path),
                false => path.clone(),
            },
            ..grant.clone()
        }));
        // A bracket with one character is that character.
        if grant.path != "/opt/[x]" && grant.path != "/usr/bin/git[k]" {
            kept.push(grant);
        }
    }
    *list = names;
    kept
}

fn naive(layer: &mut Layer, there: &BTreeSet<String>) {
    let files = &mut layer.filesystem;
    for list in [
        &mut files.read,
        &mut files.write,
        &mut files.load,
        &mut files.exec,
    ]
    .into_iter()
    .flatten()
    {
        written_out(list, Sense::Grant, there);
    }
    files.deny_patterns = written_out(&mut files.deny, Sense::Denial, there);
    files.protect_patterns = written_out(&mut files.protect, Sense::Denial, there);
    for (tool, settings) in &mut layer.tools.each {
        if let Some(list) = &mut settings.allowed_paths {
            written_out(list, Sense::Grant, there);
        }
        let kept = written_out(&mut settings.denied_paths, Sense::Denial, there);
        match tool {
            Tool::Read | Tool::Exec => files.deny_patterns.extend(kept),
            Tool::Write | Tool::Edit | Tool::ApplyPatch => files.protect_patterns.extend(kept),
            _ => {}
        }
    }
}

/// Puts patterns into some of a layer's lists, and how many.
fn sprinkle(layer: &mut Layer, numbers: &mut Numbers) -> usize {
    let mut count = 0;
    let mut more = |list: &mut Vec<Grant>| {
        while numbers.pick(3) == 0 {
            let path = PATTERNS[numbers.pick(PATTERNS.len())];
            let absent = [Absent::Refuse, Absent::Skip][numbers.pick(2)];
            let origin = Origin {
                source: "patterns".into(),
                line: 7,
            };
            list.push(Grant::new(path, absent, origin));
            count += 1;
        }
    };
    let files = &mut layer.filesystem;
    for list in [
        &mut files.read,
        &mut files.write,
        &mut files.load,
        &mut files.exec,
    ]
    .into_iter()
    .flatten()
    {
        more(list);
    }
    more(&mut files.deny);
    more(&mut files.protect);
    for settings in layer.tools.each.values_mut() {
        settings.allowed_paths.iter_mut().for_each(&mut more);
        more(&mut settings.denied_paths);
    }
    count
}

/// The directory of the pattern by which a name was found: the name lies in it.
fn forget_bases(layer: &mut Layer) {
    let files = &mut layer.filesystem;
    let lists = [
        &mut files.read,
        &mut files.write,
        &mut files.load,
        &mut files.exec,
    ];
    let tools = layer.tools.each.values_mut();
    let lists = lists
        .into_iter()
        .chain(tools.map(|settings| &mut settings.allowed_paths));
    for grant in lists.flatten().flatten() {
        if let Some(base) = grant.base.take() {
            let path = roots().expand(&grant.path);
            assert!(path.starts_with(&base), "{grant:?} {base}");
        }
    }
}

#[test]
fn patterns_are_the_names_that_the_model_finds() {
    let (ev, there, universe) = (Evaluator::shipped(), there(), universe());
    let mut numbers = Numbers(7);
    let mut patterns = 0;
    for _ in 0..400 {
        let mut given: Vec<Given> = layers(&mut numbers, 4);
        for (_, layer) in &mut given {
            patterns += sprinkle(layer, &mut numbers);
        }
        let mut stack = Stack {
            layers: given.clone(),
        };
        let (foreseen, mut asked) = (stack.wanted(&ev.roots), vec![]);
        let unmet = stack.expand(&ev.roots, |wanted| {
            asked.push(wanted.clone());
            let pattern = Pattern::parse(&wanted.pattern);
            let met = there.iter().filter(|p| pattern.meets(p, wanted.sense));
            Ok::<_, Infallible>(met.cloned().collect())
        });
        assert!(unmet.is_ok());
        assert_eq!(foreseen, asked);
        for (_, layer) in &mut given {
            naive(layer, &there);
        }
        for (_, layer) in &mut stack.layers {
            forget_bases(layer);
        }
        assert_eq!(stack.layers, given);
        let cases: Vec<&Case> = (0..12)
            .map(|_| &universe[numbers.pick(universe.len())])
            .collect();
        if let Err(broken) = random::compare(&ev, &given, &cases) {
            panic!("{}: {}", broken.law, broken.on);
        }
    }
    println!("{patterns} patterns in 400 policies");
    assert!(patterns > 400, "{patterns}");
}
