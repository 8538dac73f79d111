//! `cargo xtask`: the project's own commands.
#![forbid(unsafe_code)]
use e2e::lab::Lab;
use e2e::scenario::crash;
fn main() {
    let lab = Lab::prepare().unwrap_or_else(|e| panic!("{}", e2e::outcome::explain(&e)));
    let k = lab.debian_kernel("generic").unwrap();
    let cell = lab.cell("try", k, lab.peer().unwrap(), "/tmp/e2e/cap-amd64.img".into());
    match crash::prove_dump(&lab, &cell) {
        Ok(c) => println!("{:#?}", c),
        Err(e) => println!("{}", e2e::outcome::explain(&e)),
    }
    if std::env::args().len() > 1 {
        return;
    }
    match crash::measure(&lab, &cell) {
        Ok(c) => println!("{:#?}", c),
        Err(e) => println!("{}", e2e::outcome::explain(&e)),
    }
}
