//! Code that runs before `main`, and hence before libtest starts threads.

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    // Programs that tests start leave histories and caches in their home. Nobody can write to this one; a
    // test that needs a writable home uses `Workspace::home`.
    // SAFETY: no other thread exists that could read the environment.
    unsafe { std::env::set_var("HOME", NO_HOME) };
    super::drill::begin();
}

const NO_HOME: &str = "/dev/null";

#[test]
fn what_a_test_starts_has_no_home_of_an_account() {
    let said = std::process::Command::new("/bin/sh")
        .args(["-c", "echo $HOME; mkdir -p $HOME/.cache || echo refused"])
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said, format!("{NO_HOME}\nrefused\n"));
}
