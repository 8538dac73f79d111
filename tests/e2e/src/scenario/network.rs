//! A kernel panics, and the dump goes to a server, or cannot: then it goes to a disk, or the machine
//! comes back without it and says why.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use e2e_guest::{Script, Step};
use serde_json::json;

use super::crash::{load_command, loaded, nonce, panic_now, plan_command, remove};
use super::guest::{run_step, show_step, waits};
use super::save::{ends, proof, remove_all};
use super::{Error, PATIENCE, prove};
use crate::capture_image::Wanted;
use crate::cell::Cell;
use crate::disk::Disk;
use crate::lab::{Lab, Watch};
use crate::medium::{self, Content, Medium};
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::End;
use crate::server::{Protocol, Server};

/// A server, what goes wrong with it, and what must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What the server speaks.
    pub protocol: Protocol,
    /// More options of `kdump mkinitrd`.
    pub options: &'static [&'static str],
    /// What goes wrong.
    pub fault: Fault,
    /// What lines of the capture kernel's console must say, each another one, in this order.
    pub says: &'static [&'static str],
    /// What must come of it.
    pub expected: Expected,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The cable is out.
    NoLink,
    /// Nobody is on the network: no server, no DHCP.
    Alone,
    /// The server is not running.
    Stopped,
    /// The server ends when the first megabytes came.
    Gone,
    /// The image has the key of another host.
    OtherHost,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The dump is on the server, and the machine resets.
    OnServer,
    /// The dump is on the disk, which is the second target, and the machine resets.
    OnDisk,
    /// There is no dump; the machine ends so.
    Lost(End),
}

/// The address comes from QEMU's DHCP server, and the best version of NFS is taken.
pub const NFS: Case = Case {
    protocol: Protocol::Nfs,
    options: &["--network", "dhcp"],
    fault: Fault::None,
    says: &[
        "has 10.0.2.15/24, router 10.0.2.2",
        "kdump: saving to nfs:10.0.2.2:/dumps /var/crash/",
        "kdump: saved /var/crash/",
        "kdump: rebooting",
    ],
    expected: Expected::OnServer,
};

/// Version 3 of NFS, which has another protocol for mounts, and locks that nobody serves.
pub const NFS3: Case = Case { protocol: Protocol::Nfs3, ..NFS };

/// The address is given, and the interface by name.
pub const SSH: Case = Case {
    protocol: Protocol::Ssh,
    options: &["--network", "10.0.2.77/24,10.0.2.2,eth0"],
    says: &["has 10.0.2.77/24, router 10.0.2.2", "kdump: saving to ssh:", "kdump: saved /"],
    ..NFS
};

/// The cable is out: the disk gets the dump.
pub const NO_LINK: Case = Case {
    options: &["--network", "dhcp", "--set", "wait=8"],
    fault: Fault::NoLink,
    says: &["no link on eth0 (", "kdump: saved /var/crash/"],
    expected: Expected::OnDisk,
    ..NFS
};

/// No DHCP server answers: the disk gets the dump.
pub const NO_DHCP: Case = Case {
    fault: Fault::Alone,
    says: &["no DHCP server answers on eth0 (", "kdump: saved /"],
    ..NO_LINK
};

/// The server is not there, and the machine is to be switched off then.
pub const NO_SERVER: Case = Case {
    options: &["--network", "dhcp", "--set", "wait=8", "--on-failure", "poweroff"],
    fault: Fault::Stopped,
    says: &[" does not answer within 8 seconds: ", "kdump: powering off"],
    expected: Expected::Lost(End::PowerOff),
    ..NFS
};

/// The server goes away while the dump, one of all pages, is written.
pub const NFS_GONE: Case = Case {
    options: &["--network", "dhcp", "--set", "level=0"],
    fault: Fault::Gone,
    says: &["kdump: saving to nfs:", "kdump: failed: ", "kdump: rebooting"],
    expected: Expected::Lost(End::Reset),
    ..NFS
};

/// The same, and the disk gets the dump.
pub const SSH_GONE: Case = Case {
    options: &["--network", "dhcp", "--set", "wait=8", "--set", "level=0"],
    fault: Fault::Gone,
    says: &["kdump: saving to ssh:", "; trying the next target", "kdump: saved /var/crash/"],
    expected: Expected::OnDisk,
    ..SSH
};

/// A host that is not the one whose key the image has gets nothing.
pub const OTHER_HOST: Case = Case {
    fault: Fault::OtherHost,
    says: &["Host key verification failed", "kdump: rebooting"],
    expected: Expected::Lost(End::Reset),
    ..SSH
};

/// The disk of cases that have one.
const DISK: Medium = medium::whole(Content::Ext4);

/// More than log and manifest: the dump is being written.
const UNDER_WAY: u64 = 2 << 20;

/// Runs the case and proves what is expected.
pub fn run(lab: &Lab, cell: &Cell, case: &Case) -> Result<(Vec<Phase>, Evidence), Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let mut server = Server::start(case.protocol, &folder.join("server"))?;
    let disk = disk(case, &folder)?;
    let cell = with_network(lab, cell, case, &server, &folder)?;
    let nonce = nonce();
    let steps = vec![
        Step::Nonce { text: nonce.clone() },
        run_step("plan", plan_command(&cell)),
        run_step("load", load_command(&cell)),
        show_step("/sys/kernel/kexec_crash_loaded"),
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger: cell.trigger, cpu: cell.panic_cpu },
    ];
    let script = Script { steps };
    let mut qemu = lab.boot(&cell, &folder, &script, &[], disk.as_ref(), Watch::Plain)?;
    loaded(&mut qemu, &cell)?;
    waits(&mut qemu, "panic")?;
    match case.fault {
        Fault::NoLink => {
            qemu.qmp.execute("set_link", json!({ "name": NETDEV, "up": false }))?;
        }
        Fault::Stopped => server.kill(),
        Fault::None | Fault::Alone | Fault::Gone | Fault::OtherHost => {}
    }
    panic_now(&mut qemu, &cell)?;
    if case.fault == Fault::Gone {
        wait_under_way(&server.dumps())?;
        server.kill();
    }

    let mut evidence = Evidence::new();
    for text in case.says {
        let line = qemu.serial.wait_for(text, PATIENCE)?;
        evidence.insert(format!("says {text:?}"), json!(line.text));
    }
    match case.expected {
        Expected::OnServer => {
            ends(&mut qemu, End::Reset)?;
            proof::saved(&server.dumps(), &cell, Some(&nonce), &mut evidence)?;
        }
        Expected::OnDisk => {
            ends(&mut qemu, End::Reset)?;
            nothing_complete(&server.dumps())?;
            let dumps = folder.join("dumps");
            if let Some(disk) = &disk {
                DISK.extract(&disk.image, &dumps)?;
            }
            proof::saved(&dumps, &cell, Some(&nonce), &mut evidence)?;
            remove_all(&dumps)?;
        }
        Expected::Lost(end) => {
            ends(&mut qemu, end)?;
            nothing_complete(&server.dumps())?;
        }
    }
    server.kill();
    remove_all(&folder.join("server"))?;
    disk.iter().try_for_each(|disk| remove(&disk.image))?;
    Ok((phases::crash(&phases::from_serial(qemu.serial.lines())), evidence))
}

/// QEMU's name for the network.
const NETDEV: &str = "net0";

fn disk(case: &Case, folder: &Path) -> Result<Option<Disk>, Error> {
    if case.expected != Expected::OnDisk {
        return Ok(None);
    }
    let image = folder.join("disk.img");
    DISK.make(&image, None)?;
    Ok(Some(Disk { image }))
}

/// The cell with a network card and an image for the server.
fn with_network(
    lab: &Lab,
    cell: &Cell,
    case: &Case,
    server: &Server,
    folder: &Path,
) -> Result<Cell, Error> {
    let mut options = server.target()?;
    options.extend(case.options.iter().map(|option| (*option).to_owned()));
    if case.expected == Expected::OnDisk {
        let label = format!("LABEL={}", medium::LABEL);
        options.extend(["-f".into(), "ext4".into(), "-c".into(), label]);
    }
    if case.fault == Fault::OtherHost {
        // Any key that is not the host's: the one that it accepts from us.
        let other = folder.join("server/identity.pub").display().to_string();
        let given = options.iter().position(|option| option == "--ssh-host-key");
        given.into_iter().for_each(|at| options[at + 1].clone_from(&other));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let wanted = Wanted { targets: &[], options: &options };
    let mut cell = cell.clone();
    cell.capture_initrd = lab.capture_image(&cell.name, cell.arch, &cell.kernel, wanted)?;
    let netdev = match case.fault {
        Fault::Alone => format!("hubport,hubid=0,id={NETDEV}"),
        Fault::None | Fault::NoLink | Fault::Stopped | Fault::Gone | Fault::OtherHost => {
            format!("user,id={NETDEV}")
        }
    };
    let device = format!("virtio-net-pci,netdev={NETDEV}");
    let arguments = ["-netdev", &netdev, "-device", &device];
    cell.qemu_arguments.extend(arguments.map(str::to_owned));
    Ok(cell)
}

/// Waits until a file of the dumps has more than log and manifest could have.
fn wait_under_way(dumps: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    while !files(dumps).iter().any(|file| size(file) > UNDER_WAY) {
        prove(Instant::now() < deadline, || "nothing of the dump comes to the server".into())?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whatever came to the server, no file of it is called a dump.
fn nothing_complete(dumps: &Path) -> Result<(), Error> {
    let complete: Vec<PathBuf> =
        files(dumps).into_iter().filter(|file| is_complete(file)).collect();
    prove(complete.is_empty(), || format!("these pass for dumps: {complete:?}"))
}

/// Whether a user would take the file for a dump.
fn is_complete(file: &Path) -> bool {
    ["vmcore", "vmcore.flat"].iter().any(|name| file.ends_with(name))
}

/// The files in the folders of `dumps`.
fn files(dumps: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    entries(dumps).iter().flat_map(|folder| entries(folder)).collect()
}
