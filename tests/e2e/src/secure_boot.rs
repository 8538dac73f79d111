//! Secure Boot with a key of our own: a certificate that OVMF trusts, and kernels that are signed
//! with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// What is wrong with key, signature or variable store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// openssl, sbattach or sbsign failed.
    #[error(transparent)]
    Tool(#[from] process::Error),
    /// A file could not be read or written.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// OVMF's file is no empty store of authenticated variables.
    #[error("{path}: not an empty variable store of OVMF")]
    Store {
        /// The file.
        path: PathBuf,
    },
}

/// A key and its certificate: platform key, key exchange key and trusted signer in one.
#[derive(Clone, Debug)]
pub struct Keys {
    key: PathBuf,
    certificate: PathBuf,
}

impl Keys {
    /// The keys in `folder`, made if there are none.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::File { path: folder.to_owned(), source })?;
        let keys = Self { key: folder.join("key.pem"), certificate: folder.join("cert.pem") };
        if !keys.certificate.exists() {
            process::output(
                Command::new("openssl")
                    .args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes"])
                    .args(["-subj", "/CN=e2e Secure Boot/", "-days", "36500", "-keyout"])
                    .arg(&keys.key)
                    .arg("-out")
                    .arg(&keys.certificate),
            )?;
        }
        Ok(keys)
    }

    /// Writes `kernel` with our signature and no other to `out`: kexec_file_load refuses a file
    /// with two (kernel 6.1 crypto/asymmetric_keys/verify_pefile.c).
    pub fn sign(&self, kernel: &Path, out: &Path) -> Result<(), Error> {
        unsigned(kernel, out)?;
        process::output(
            Command::new("sbsign")
                .arg("--key")
                .arg(&self.key)
                .arg("--cert")
                .arg(&self.certificate)
                .arg("--output")
                .arg(out)
                .arg(out),
        )?;
        Ok(())
    }

    /// Writes OVMF's variable store `empty` to `out`, with this key in all its roles, so that
    /// the firmware starts nothing that it has not signed.
    pub fn enroll(&self, empty: &Path, out: &Path) -> Result<(), Error> {
        let der = out.with_extension("der");
        process::output(
            Command::new("openssl")
                .args(["x509", "-outform", "DER", "-in"])
                .arg(&self.certificate)
                .arg("-out")
                .arg(&der),
        )?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        let list = signature_list(&fs::read(&der).map_err(failed(&der))?);
        let mut store = fs::read(empty).map_err(failed(empty))?;
        let variables = [("PK", GLOBAL), ("KEK", GLOBAL), ("db", IMAGE_SECURITY_DATABASE)];
        let added = variables.map(|(name, vendor)| variable(name, vendor, &list)).concat();
        fill(&mut store, &added).ok_or_else(|| Error::Store { path: empty.to_owned() })?;
        fs::write(out, store).map_err(failed(out))
    }
}

/// Writes `kernel` without its signature to `out`.
pub fn unsigned(kernel: &Path, out: &Path) -> Result<(), Error> {
    fs::copy(kernel, out).map_err(|source| Error::File { path: out.to_owned(), source })?;
    process::output(Command::new("sbattach").arg("--remove").arg(out))?;
    Ok(())
}

/// EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3), 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL: [u8; 16] = *b"\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c";
/// EFI_IMAGE_SECURITY_DATABASE_GUID (32.6.1), d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const IMAGE_SECURITY_DATABASE: [u8; 16] =
    *b"\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f";
/// EFI_CERT_X509_GUID (32.4.1), a5c059a1-94e4-4aa7-87b5-ab155c2bf072.
const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";

/// EFI_SIGNATURE_LIST (UEFI 2.10, 32.4.1) with one certificate.
fn signature_list(der: &[u8]) -> Vec<u8> {
    let owner = GLOBAL;
    let signature_size = size(owner.len() + der.len());
    let list_size = 28 + signature_size;
    let sizes = [list_size, 0, signature_size].map(u32::to_le_bytes).concat();
    [&X509[..], &sizes, &owner, der].concat()
}

/// Firmware volume header and variable store header of an empty store, in front of its variables.
const HEADERS: usize = 0x48 + 28;

/// AUTHENTICATED_VARIABLE_HEADER (edk2 MdeModulePkg/Include/Guid/VariableFormat.h, stable202211),
/// name and value.
fn variable(name: &str, vendor: [u8; 16], value: &[u8]) -> Vec<u8> {
    const START: u16 = 0x55aa;
    const ADDED: u16 = 0x3f;
    /// Not volatile, seen by boot services and at run time, changed only by signed values.
    const ATTRIBUTES: u32 = 0x27;
    /// Monotonic count, time stamp and index of a public key: nobody has changed it yet.
    const NEVER_CHANGED: [u8; 28] = [0; 28];
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let sizes = [size(name.len()), size(value.len())].map(u32::to_le_bytes).concat();
    let start = [START, ADDED].map(u16::to_le_bytes).concat();
    let attributes = ATTRIBUTES.to_le_bytes();
    let mut bytes =
        [&start[..], &attributes, &NEVER_CHANGED, &sizes, &vendor, &name, value].concat();
    // The next one starts at a multiple of four; what has not been written is ones.
    bytes.resize(bytes.len().next_multiple_of(4), 0xff);
    bytes
}

/// A length as the firmware counts it.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Puts `variables` where an empty store has its first one; `None` if it is not empty.
fn fill(store: &mut [u8], variables: &[u8]) -> Option<()> {
    let place = store.get_mut(HEADERS..)?.get_mut(..variables.len())?;
    if place.iter().any(|byte| *byte != 0xff) {
        return None;
    }
    place.copy_from_slice(variables);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_store_is_filled() {
        let variables = [variable("PK", GLOBAL, b"12345"), variable("db", X509, b"6")].concat();
        // 60 bytes of header, the name with its end, the value, and the filling.
        assert_eq!(variables.len(), (60 + 6 + 5 + 1) + (60 + 6 + 1 + 1));
        let mut store = vec![0xff; 4096];
        assert_eq!(fill(&mut store, &variables), Some(()));
        assert_eq!(store[HEADERS..][..2], [0xaa, 0x55]);
        assert_eq!(fill(&mut store, &variables), None);
        assert_eq!(fill(&mut [0xff; HEADERS + 8], &variables), None);
    }
}
