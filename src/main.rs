//! Arguments, exit code; nothing else.

fn main() {
    bellwether::cli::main()
}
