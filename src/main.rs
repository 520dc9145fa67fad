//! Start of the `goosefs` binary.

fn main() -> std::process::ExitCode {
    goosefs::run()
}
