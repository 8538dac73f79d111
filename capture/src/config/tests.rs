use super::*;

fn targets(texts: &[&str]) -> Vec<Target> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_text_of_a_configuration_reads_back_as_itself() {
    let mut targets =
        targets(&["ext3:LABEL=my disk", "raw:PARTUUID=1-02", "ssh:me@host", "nfs:a:/b"]);
    targets[0].path_mut().unwrap().push("below");
    if let Target::Raw { overwrite, .. } = &mut targets[1] {
        *overwrite = true;
    }
    if let Target::Ssh { port, .. } = &mut targets[2] {
        *port = 2222;
    }
    if let Target::Nfs { options, .. } = &mut targets[3] {
        "vers=3,port=20490".clone_into(options);
    }
    let config = Config {
        targets,
        format: Format::Elf,
        compression: Compression::Zstd,
        level: Level::NONE,
        threads: NonZeroUsize::new(4),
        keep: NonZeroUsize::new(3),
        action: Action::Halt,
        on_failure: OnFailure { next_target: true, action: Some(Action::Shell) },
        wait: Duration::from_secs(5),
        stall: Duration::from_secs(6),
        timeout: Duration::from_secs(7),
        network: Network {
            interface: Some("eth0".into()),
            address: "10.0.2.15/24".parse().unwrap(),
            gateway: Some([10, 0, 2, 2].into()),
            nameservers: vec![[10, 0, 2, 3].into(), [10, 0, 2, 4].into()],
        },
        modules: vec!["kernel/b.ko".into(), "kernel/a.ko".into()],
        loader: None,
    };
    assert_eq!(Config::read(&config.to_string()), (config, vec![]));
    assert_eq!(Config::read(&Config::default().to_string()), (Config::default(), vec![]));
}

#[test]
fn what_cannot_be_taken_is_told_and_the_rest_is_taken() {
    let (config, errors) = Config::read(
        "# note\n\naction=halt\nfoo = 1\nnonsense\nwait = 0\nlevel = 32\npath = /x\n\
         target = zfs:/dev/vda\ntarget = raw:/dev/vdb\npath = /x",
    );
    let expected =
        Config { action: Action::Halt, targets: targets(&["raw:/dev/vdb"]), ..Config::default() };
    assert_eq!(config, expected);
    let told: Vec<String> = errors.iter().map(Error::to_string).collect();
    assert_eq!(
        told,
        [
            "configuration: foo is not a known key",
            "configuration: \"nonsense\" is not `key = value`",
            "configuration: wait = 0: expected a number of seconds, at least 1",
            "configuration: level = 32: expected a number from 0 to 31, or some of \
             zero, cache, non-private-cache, user, free",
            "configuration: path is for no target: put it after a target that has it",
            "configuration: target = zfs:/dev/vda: expected ext2, ext3, ext4, xfs, btrfs, vfat, \
             raw, nfs or ssh",
            "configuration: path is for no target: put it after a target that has it",
        ]
    );
}

#[test]
fn the_command_line_overrides() {
    let text = "target = ext4:/dev/vda\ntarget = raw:/dev/vdb\naction = reboot";
    let mut config = Config::read(text).0;
    let line = "root=/dev/sda kdump.action=poweroff kdump.path=/below kdump.path=../x -- \
                kdump.action=halt\n";
    let errors = config.override_by(line);
    assert_eq!(config.action, Action::PowerOff);
    assert_eq!(config.targets.len(), 2);
    assert_eq!(config.targets[0].path(), Some(Path::new("/below")));
    assert!(matches!(&errors[..], [Error::Value { key, .. }] if key == "path"));
}

#[test]
fn the_command_line_says_what_loaded_the_kernel() {
    let word = loader_word("kexec (purgatorio) 0.1.0\n").unwrap();
    let mut config = Config::default();
    assert!(config.override_by(&format!("quiet {word} x=1")).is_empty());
    assert_eq!(config.loader.as_deref(), Some("kexec (purgatorio) 0.1.0"));
    for unusable in ["", "\n", "a \" b", "a\tb"] {
        assert_eq!(loader_word(unusable), None, "{unusable:?}");
    }
    assert!(matches!(Config::default().set("loader", "x"), Err(Error::Key { .. })));
}

#[test]
fn the_first_target_on_the_command_line_replaces_all() {
    let of_image = "target = ext4:/dev/vda\ntarget = raw:/dev/vdb";
    let mut config = Config::read(of_image).0;
    let line = "kdump.target=nonsense kdump.target=\"xfs:LABEL=my disk\" kdump.path=/x \
                kdump.target=raw:/dev/vdc";
    let errors = config.override_by(line);
    assert!(matches!(&errors[..], [Error::Value { key, .. }] if key == "target"));
    let mut expected = targets(&["xfs:LABEL=my disk", "raw:/dev/vdc"]);
    expected[0].path_mut().unwrap().clone_from(&PathBuf::from("/x"));
    assert_eq!(config.targets, expected);

    let mut config = Config::read(of_image).0;
    config.override_by("kdump.target=nonsense");
    assert_eq!(config.targets, targets(&["ext4:/dev/vda", "raw:/dev/vdb"]));
}
