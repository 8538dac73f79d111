//! The assembly that switches byte order or mode, in one piece because it shares the macros of
//! byte_order.S.

use core::arch::global_asm;
use core::mem::offset_of;

use purgatory::params::Handoff;

use crate::exceptions::{
    COMMON, COMMON_OTHER_ORDER, COMMON_SIZE, END, HANDLER, START, VECTOR_STEP,
};

global_asm!(
    include_str!("byte_order.S"),
    include_str!("firmware.S"),
    include_str!("vectors.S"),
    include_str!("handoff.S"),
    COMMON = const COMMON,
    COMMON_OTHER_ORDER = const COMMON_OTHER_ORDER,
    COMMON_SIZE = const COMMON_SIZE,
    HANDLER = const HANDLER,
    VECTOR_STEP_BITS = const VECTOR_STEP.ilog2(),
    SAVED_SIZE = const END - START,
    HANDOFF_ENTRY = const offset_of!(Handoff, entry),
    HANDOFF_REGISTERS = const offset_of!(Handoff, registers),
);
