//! The instructions that an x86 image may have, by section: purgatory finds the FPU and the
//! vector registers switched off, or full of the dead kernel's data.

use iced_x86::{CpuidFeature, Decoder, DecoderOptions};
use object::Object;
use object::read::File;

use super::{AuditError, Code, symbol_at};

/// Decodes one section's code from its first byte to its last.
pub fn check_code(file: &File<'_>, code: Code<'_>) -> Result<(), AuditError> {
    let native = if file.is_64() { 64 } else { 32 };
    let (bitness, digest) = match code.section {
        ".text" => (native, false),
        ".code32" => (32, false),
        ".digest" => (native, true),
        other => return Err(AuditError::UnknownCode(other.into())),
    };
    for instruction in
        &mut Decoder::with_ip(bitness, code.bytes, code.address, DecoderOptions::NONE)
    {
        let allowed = |feature| {
            is_general(feature)
                || file.is_64() && is_64_bit(feature)
                || digest && is_sha_ni(feature)
        };
        if let Some(feature) = instruction.cpuid_features().iter().find(|&&it| !allowed(it)) {
            return Err(AuditError::Instruction {
                section: code.section.into(),
                offset: instruction.ip() - code.address,
                symbol: symbol_at(file, instruction.ip()),
                mnemonic: format!("{:?}", instruction.mnemonic()),
                feature: format!("{feature:?}"),
            });
        }
    }
    Ok(())
}

/// What a Pentium does without FPU, MMX or vector registers. CPUID itself is asked for by a
/// 32-bit image only where EFLAGS.ID says that it is there (arch/x86/src/cpu.rs).
fn is_general(feature: CpuidFeature) -> bool {
    matches!(
        feature,
        CpuidFeature::INTEL8086
            | CpuidFeature::INTEL186
            | CpuidFeature::INTEL286
            | CpuidFeature::INTEL386
            | CpuidFeature::INTEL486
            | CpuidFeature::CPUID
            // A no-operation before the Pentium 4: REP NOP.
            | CpuidFeature::PAUSE
    )
}

/// What every 64-bit CPU does besides.
fn is_64_bit(feature: CpuidFeature) -> bool {
    matches!(
        feature,
        CpuidFeature::X64 | CpuidFeature::CMOV | CpuidFeature::MSR | CpuidFeature::MULTIBYTENOP
    )
}

/// What the digest switches on and asks CPUID for (arch/x86/src/cpu.rs).
fn is_sha_ni(feature: CpuidFeature) -> bool {
    matches!(
        feature,
        CpuidFeature::SSE
            | CpuidFeature::SSE2
            | CpuidFeature::SSSE3
            | CpuidFeature::SSE4_1
            | CpuidFeature::SHA
    )
}
