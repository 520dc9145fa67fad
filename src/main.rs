//! Start of the `goosefs` binary.

/// jemalloc, with a thread that gives memory back to the system after a burst, so an idle role stays small.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    goosefs::run(std::env::args_os())
}
