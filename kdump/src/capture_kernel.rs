//! Which kernel is loaded as capture kernel.

use std::path::{Path, PathBuf};

use crate::machine::{Machine, ReadError};
use crate::settings;

/// Where distributions put the kernel of release `KVER`, the usual first.
const PLACES: [&str; 8] = [
    "/boot/vmlinuz-KVER",
    "/boot/vmlinux-KVER",
    "/lib/modules/KVER/vmlinuz",
    "/usr/lib/modules/KVER/vmlinuz",
    "/boot/kernel-KVER",
    "/boot/bzImage-KVER",
    "/lib/modules/KVER/vmlinux",
    "/boot/vmlinuz-linux",
];

/// Why there is no capture kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The running kernel's release cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The settings name a file that is not there.
    #[error("there is no kernel {}: correct kernel.image in /etc/kdump.toml", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// No file has the usual names.
    #[error(
        "no kernel of release {release} is in /boot or /lib/modules ({} and others): \
         name it as kernel.image in /etc/kdump.toml", PLACES[0].replace("KVER", release)
    )]
    NotFound {
        /// The release.
        release: String,
    },
}

/// A kernel that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureKernel {
    /// Its file, as the machine has it.
    pub image: PathBuf,
    /// Its release.
    pub release: String,
}

/// The kernel that the settings ask for.
pub fn choose(machine: &Machine, settings: &settings::Kernel) -> Result<CaptureKernel, Error> {
    let Some(image) = &settings.image else {
        let release = match &settings.release {
            Some(release) => release.clone(),
            None => machine.release()?,
        };
        return find(machine, &release).ok_or(Error::NotFound { release });
    };
    if !machine.of_absolute(image).is_file() {
        return Err(Error::Missing { path: image.clone() });
    }
    let release = match settings.release.clone().or_else(|| release_of(machine, image)) {
        Some(release) => release,
        None => machine.release()?,
    };
    Ok(CaptureKernel { image: image.clone(), release })
}

fn find(machine: &Machine, release: &str) -> Option<CaptureKernel> {
    let mut places = PLACES.iter().map(|place| PathBuf::from(place.replace("KVER", release)));
    let image = places.find(|image| machine.of_absolute(image).is_file())?;
    Some(CaptureKernel { image, release: release.to_owned() })
}

/// The release in a kernel's file name, if there are modules of it. A link is followed: /vmlinuz
/// has no release in its name.
fn release_of(machine: &Machine, image: &Path) -> Option<String> {
    let resolved = machine.of_absolute(image).canonicalize().ok()?;
    let names = [image, resolved.as_path()].map(|path| path.file_name()?.to_str());
    let releases = names.into_iter().flatten().filter_map(|name| Some(name.split_once('-')?.1));
    let mut known = releases.filter(|r| machine.path("lib/modules").join(r).is_dir());
    known.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine(files: &[&str]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for file in ["proc/sys/kernel/osrelease"].iter().chain(files) {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "6.1.0-1\n").unwrap();
        }
        let machine = Machine::at(dir.path());
        (dir, machine)
    }

    fn chosen(files: &[&str], settings: &settings::Kernel) -> Result<(String, String), String> {
        let (_dir, machine) = machine(files);
        let kernel = choose(&machine, settings).map_err(|error| error.to_string())?;
        Ok((kernel.image.display().to_string(), kernel.release))
    }

    #[test]
    fn the_running_kernels_file_is_found_under_the_names_of_distributions() {
        let settings = settings::Kernel::default();
        let found = |files: &[&str]| chosen(files, &settings).map(|found| found.0);
        assert_eq!(
            found(&["boot/vmlinuz-6.1.0-1", "boot/vmlinuz-6.1.0-2", "boot/vmlinux-6.1.0-1"]),
            Ok("/boot/vmlinuz-6.1.0-1".into())
        );
        assert_eq!(found(&["boot/vmlinux-6.1.0-1"]), Ok("/boot/vmlinux-6.1.0-1".into()));
        assert_eq!(
            found(&["usr/lib/modules/6.1.0-1/vmlinuz"]),
            Ok("/usr/lib/modules/6.1.0-1/vmlinuz".into())
        );
        let missing = found(&["boot/vmlinuz-6.1.0-2"]).unwrap_err();
        assert!(missing.contains("6.1.0-1") && missing.contains("kernel.image"), "{missing}");
    }

    #[test]
    fn a_named_kernel_brings_its_release() {
        let named = |image: &str, release: Option<&str>| settings::Kernel {
            image: Some(image.into()),
            release: release.map(Into::into),
            ..settings::Kernel::default()
        };
        let files = ["boot/vmlinuz-7.0", "boot/other", "lib/modules/7.0/modules.dep"];
        let of = |image, release| chosen(&files, &named(image, release));
        assert_eq!(of("/boot/vmlinuz-7.0", None).unwrap().1, "7.0");
        assert_eq!(of("/boot/other", None).unwrap().1, "6.1.0-1");
        assert_eq!(of("/boot/other", Some("8")).unwrap().1, "8");
        assert!(of("/boot/none", None).unwrap_err().contains("/boot/none"));
    }
}
