//! The pages of the documents that are made from tables: they are what the code says.

use creel_dialects::lint::CHECKS;
use creel_policy::tools::Tool;

use crate::golden;

#[test]
fn the_page_of_tools_is_their_table() {
    let mut text = String::from(
        "# Tools and the kernel\n\n\
         A policy lists the tools of an agent. creel translates them into kernel rules, so a row applies \
         to every process of the jail: the tool, a program that exec starts, and an exploit. \
         `tests/it/policy_tools.rs` tests each row inside a jail, as root and as an ordinary user.\n\n\
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
    text += "\nA tool that needs another tool is denied with it: `deny = [\"write\"]` also denies `edit` and \
             `apply_patch`. `ask = \"always\"` counts as not allowed, since `creel run` has no one to ask. \
             The kernel cannot enforce a rate, a channel or a count of turns: creel stores these as data, \
             and the plan says so.\n\n\
             This page is generated from `crates/policy/src/tools.rs`: `CREEL_WRITE=1 cargo test --test it policy_pages`.\n";
    golden::hold("docs/tools.md", &text);
}

#[test]
fn the_page_of_lint_is_its_table() {
    let mut text = String::from(
        "# Lint\n\n`creel policy check` reads the layers of a run, looks at the machine, and warns of \
         lines that are dangerous, useless or misleading. A finding does not refuse a run.\n\n\
         | severity | meaning |\n|---|---|\n\
         | `critical` | the jail is weaker than the policy suggests |\n\
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
    text += "\nThis page is generated from `crates/dialects/src/lint/checks.rs`: `CREEL_WRITE=1 cargo test --test it policy_pages`.\n";
    golden::hold("docs/lint.md", &text);
}
