//! The pages of the documents that are made from tables: they are what the code says.

use creel_dialects::lint::CHECKS;
use creel_policy::tools::Tool;

use crate::golden;

#[test]
fn the_page_of_tools_is_their_table() {
    let mut text = String::from(
        "# Tools and the kernel\n\n\
         A policy says which tools an agent has. creel turns that into what the kernel allows, so a row \
         holds for every process of the jail: for the tool, for a program that exec starts, and for an \
         exploit alike. `tests/it/policy_tools.rs` holds each row inside a jail, as root and as an \
         ordinary user.\n\n\
         | tool | allowed | not allowed |\n|---|---|---|\n",
    );
    for tool in Tool::ALL {
        text += &format!(
            "| `{}` | {} | {} |\n",
            tool.name(),
            tool.with(),
            tool.without()
        );
    }
    text += "\nA tool that needs another is not there without it: `deny = [\"write\"]` denies `edit` and \
             `apply_patch` too. `ask = \"always\"` counts as not allowed in `creel run`, where there is \
             nobody to ask. What the kernel cannot hold (a rate, a channel, a count of turns) is kept as \
             data, and the plan says so.\n\n\
             This page is made from `crates/policy/src/tools.rs`: `CREEL_WRITE=1 cargo test --test it policy_pages`.\n";
    golden::hold("docs/tools.md", &text);
}

#[test]
fn the_page_of_lint_is_its_table() {
    let mut text = String::from(
        "# Lint\n\n`creel policy check` reads the layers that a run would have, looks at the machine, \
         and warns of what is dangerous, useless, or other than it seems. A finding refuses nothing.\n\n\
         | severity | meaning |\n|---|---|\n\
         | `critical` | the jail does not hold what the policy's reader would think |\n\
         | `warn` | probably a mistake |\n| `info` | worth knowing |\n\n\
         | id | severity | why | smallest fix |\n|---|---|---|---|\n",
    );
    for check in CHECKS {
        text += &format!(
            "| `{}` | {} | {} | {} |\n",
            check.id,
            check.severity.name(),
            check.why,
            check.fix
        );
    }
    text += "\nThis page is made from `crates/dialects/src/lint/checks.rs`: `CREEL_WRITE=1 cargo test --test it policy_pages`.\n";
    golden::hold("docs/lint.md", &text);
}
