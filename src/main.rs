//! The binary is thin: the library carries the code.

fn main() -> std::process::ExitCode {
    creel::cli::main()
}
