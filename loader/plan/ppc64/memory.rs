//! Where segments may be.

use alloc::vec::Vec;

use crate::facts::{Facts, Ppc64};
use crate::plan::ppc64::kernel::KernelImage;
use crate::plan::{PlanError, Request, Target, layout};
use crate::range::{self, PhysRange};

/// Everything a boot loader has ever been given on these machines lies below 768 MiB (kernel 6.1
/// arch/powerpc/kernel/prom_init.c limits itself to it), so it is preferred; what else there is
/// will do.
pub const WINDOWS: [PhysRange; 2] = [PhysRange::new(0, 0x3000_0000), layout::ANYWHERE];

/// The same for purgatory, whose image must be below 4 GiB.
pub const BELOW_4G: [PhysRange; 2] = [WINDOWS[0], PhysRange::new(0, 1 << 32)];

/// Memory that may be used:
///
/// - purgatory and the new kernel start in real mode, so nothing above the real mode area;
/// - nothing that firmware or hardware use, because they go on doing so;
/// - for a crash kernel, the reserved memory;
/// - for a reboot all RAM behind the running kernel, which it does not let be overwritten before
///   its end, and behind the place at 0 where the new kernel moves itself.
pub fn free(
    request: &Request<'_>,
    facts: &Facts,
    machine: &Ppc64,
    image: &KernelImage<'_>,
) -> Result<Vec<PhysRange>, PlanError> {
    let mut occupied = machine.occupied();
    let memory = match request.target {
        Target::Crash => {
            let reserved = layout::crash_memory(facts)?;
            if reserved.intersection(&machine.rma).is_none() {
                return Err(PlanError::NotInRma { reserved, rma: machine.rma });
            }
            alloc::vec![reserved]
        }
        Target::Reboot => {
            occupied.push(PhysRange::new(0, machine.kernel.end.max(image.size())));
            if request.options.reuse_initrd {
                occupied.extend(machine.initrd);
            }
            machine.system_ram()
        }
    };
    let reachable = range::intersect(&memory, &[machine.rma]);
    Ok(range::subtract(&reachable, &occupied))
}
