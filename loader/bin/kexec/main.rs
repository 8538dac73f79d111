//! `kexec`
#![forbid(unsafe_code)]
#![allow(dead_code)]
mod console;
mod effect;
mod options;
mod progress;
mod report;
mod request;
mod show;
fn main() {
    let (options, given) = match options::parse(std::env::args_os()) {
        Ok(x) => x,
        Err(e) => {
            println!("{e}");
            return;
        }
    };
    println!("{given:?} {:?}", request::Request::new(options));
}
