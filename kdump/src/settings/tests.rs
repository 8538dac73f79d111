use super::*;

fn problems(text: &str) -> Vec<String> {
    Settings::parse(text).unwrap_err().iter().map(Problem::to_string).collect()
}

#[test]
fn the_documented_file_is_the_defaults() {
    assert_eq!(Settings::parse(DEFAULTS).unwrap(), Settings::default());
    assert_eq!(Settings::parse("").unwrap(), Settings::default());
}

/// The documented file with every key in force, by the table it is in.
fn uncommented() -> String {
    let is_key = |line: &str| {
        let bare = line.strip_prefix('#').unwrap_or_default();
        bare.starts_with(|first: char| first.is_ascii_lowercase() || first == '[')
            && (bare.starts_with('[') || bare.contains(" = "))
    };
    DEFAULTS
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line }.to_owned() + "\n")
        .collect()
}

#[test]
fn every_documented_key_exists() {
    // Not every kind of target has all of its keys.
    let others = ["overwrite", "port", "options"];
    let text = others.iter().fold(uncommented(), |text, key| {
        text.replace(&format!("\n{key} ="), &format!("\n#{key} ="))
    });
    let settings = Settings::parse(&text).unwrap();
    assert_eq!(settings.capture.targets.len(), 1);
}

#[test]
fn every_key_is_documented() {
    let unknown =
        ["", "[[target]]\n", "[dump]\n", "[capture]\n", "[network]\n", "[ssh]\n", "[kernel]\n"]
            .map(|table| problems(&format!("{table}QQQQ = 1\n")).remove(0));
    for problem in unknown {
        let (_, keys) = problem.split_once("there are ").unwrap();
        for key in keys.split(", ") {
            let forms = [format!("\n#{key} = "), format!("\n[{key}]\n"), format!("\n#[[{key}]]\n")];
            assert!(forms.iter().any(|form| DEFAULTS.contains(form)), "{key} is not documented");
        }
    }
}

#[test]
fn defaults_that_are_written_down_are_the_defaults() {
    let text = uncommented();
    let line = |key: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
        found.unwrap_or_else(|| panic!("{key}")).to_owned()
    };
    for (table, keys) in [
        ("dump", &["format", "level", "compression"][..]),
        ("capture", &["action", "on_failure", "wait", "stall", "timeout", "add_drivers"]),
        ("network", &["address", "nameservers"]),
        ("kernel", &["remove", "append", "kexec_options"]),
    ] {
        let keys: Vec<String> = keys.iter().map(|key| line(key)).collect();
        let file = format!("[{table}]\n{}", keys.join("\n"));
        assert_eq!(Settings::parse(&file).unwrap(), Settings::default(), "{file}");
    }
}

#[test]
fn everything_can_be_set() {
    let settings = Settings::parse(
        "[[target]]\nto = \"xfs:UUID=1-2\"\npath = \"/dumps\"\n\
         [[target]]\nto = \"raw:/dev/vdb\"\noverwrite = true\n\
         [dump]\nlevel = 17\nkeep = 3\n[capture]\naction = \"halt\"\nadd_drivers = [\"a\", \"b\"]\n\
         [network]\naddress = \"10.0.2.15/24\"\nnameservers = [\"10.0.2.3\"]\n\
         [ssh]\nkey = \"/root/key\"\n[kernel]\nimage = \"/boot/k\"\nappend = [\"x=1\"]\n",
    )
    .unwrap();
    let targets: Vec<String> = settings.capture.targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["xfs:UUID=1-2", "raw:/dev/vdb"]);
    assert_eq!(settings.capture.targets[0].path(), Some(Path::new("/dumps")));
    assert_eq!(
        (settings.capture.level.number(), settings.capture.keep.map(usize::from)),
        (17, Some(3))
    );
    assert_eq!(settings.add_drivers, ["a", "b"]);
    assert_eq!(settings.ssh.key.as_deref(), Some(Path::new("/root/key")));
    assert_eq!(settings.capture.network.nameservers.len(), 1);
    assert_eq!(settings.kernel.image, Some("/boot/k".into()));
    assert_eq!(settings.kernel.append, ["x=1"]);
}

#[test]
fn mistakes_are_told_with_their_lines_and_what_is_right() {
    assert_eq!(
        problems("[dump]\nlevle = 3\n\n[kernal]\n"),
        [
            "line 2: dump.levle is not a known key: did you mean dump.level?",
            "line 4: kernal is not a known key: did you mean kernel?",
        ]
    );
    assert_eq!(
        problems("[dump]\nzzz = 1\n"),
        [
            "line 2: dump.zzz is not a known key: there are format, level, compression, threads, keep"
        ]
    );
    let wrong =
        problems("[dump]\nlevel = 77\nformat = \"lz4\"\nkeep = [1]\n[kernel]\nimage = \"x\"");
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(wrong[0].starts_with("line 3: dump.format") && wrong[0].contains("kdump or elf"));
    assert!(wrong[1].starts_with("line 2: dump.level") && wrong[1].contains("31"));
    assert_eq!(wrong[2], "line 4: dump.keep: expected one value");
    assert!(wrong[3].contains("starts with /"));
    assert!(problems("target = 3")[0].contains("[[ ]]"));
    assert!(problems("dump = 3")[0].contains("line 1: dump: expected a table"));
    assert!(problems("\n[dump\n")[0].starts_with("line 2: "));
    assert!(problems("[[target]]\nto = \"ext4:UUID=1\"\nport = 3")[0].starts_with("line 3: "));
}

#[test]
fn any_damage_is_an_error_or_settings_and_no_panic() {
    let text: String = uncommented()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|l| format!("{l}\n"))
        .collect();
    for position in 0..text.len() {
        for byte in [b'[', b'"', b'=', b'\n', b'#', 0] {
            let mut damaged = text.clone().into_bytes();
            damaged[position] = byte;
            drop(Settings::parse(&String::from_utf8_lossy(&damaged)));
        }
    }
}
