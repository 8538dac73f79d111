//! What of `kdump` goes into a system beside the programs: settings, systemd unit, udev rule, hooks.

use std::fs;
use std::io;
use std::path::Path;

/// The files of `kdump/dist`, and where they belong in a system.
pub const FILES: [(&str, &str); 6] = [
    ("kdump.toml", "etc/kdump.toml"),
    ("systemd/kdump.service", "usr/lib/systemd/system/kdump.service"),
    ("udev/98-kdump.rules", "usr/lib/udev/rules.d/98-kdump.rules"),
    ("kernel-hooks/postinst", "usr/share/kdump/postinst"),
    ("kernel-hooks/postrm", "usr/share/kdump/postrm"),
    ("kernel-hooks/90-kdump.install", "usr/lib/kernel/install.d/90-kdump.install"),
];

/// The hooks under the names by which Debian's kernel packages call them.
const LINKS: [(&str, &str); 2] = [
    ("/usr/share/kdump/postinst", "etc/kernel/postinst.d/kdump"),
    ("/usr/share/kdump/postrm", "etc/kernel/postrm.d/kdump"),
];

/// Copies the files of the checkout at `root` into `system`, as they lie below a system's root.
pub fn write(root: &Path, system: &Path) -> io::Result<()> {
    for (from, to) in FILES {
        let to = system.join(to);
        fs::create_dir_all(to.with_file_name(""))?;
        // With its permissions: hooks are programs.
        fs::copy(root.join("kdump/dist").join(from), to)?;
    }
    for (target, link) in LINKS {
        let link = system.join(link);
        fs::create_dir_all(link.with_file_name(""))?;
        match std::os::unix::fs::symlink(target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_file_is_there_hooks_can_be_run_and_links_lead_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let system = directory.path();
        for _twice in 0..2 {
            write(&e2e::programs::root(), system).unwrap();
        }
        for (target, link) in LINKS {
            assert_eq!(fs::read_link(system.join(link)).unwrap(), Path::new(target));
            let hook = fs::metadata(system.join(target.trim_start_matches('/'))).unwrap();
            assert_eq!(hook.permissions().mode() & 0o111, 0o111, "{target}");
        }
        let install = fs::metadata(system.join("usr/lib/kernel/install.d/90-kdump.install"));
        assert_eq!(install.unwrap().permissions().mode() & 0o111, 0o111);
    }
}
