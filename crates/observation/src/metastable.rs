//! What the runner of an experiment on metastable failure says in notes: codes, and the names of phases.

/// Code of a note that begins a phase; its text is the phase's name.
pub const PHASE: &str = "metastable-phase";
/// Code of a note that says why the run says nothing of the system.
pub const VOID: &str = "metastable-void";
/// Names of a cell's phases, in their order; the last three may be missing.
pub const PHASES: [&str; 7] = ["warm", "baseline", "trigger", "hold", "relief", "ramp", "after"];
/// Begins the name of a sweep's step on the way up; its rate follows.
pub const UP: &str = "up:";
/// The same on the way down.
pub const DOWN: &str = "down:";
/// Ends the last phase.
pub const ENDED: &str = "ended";
/// Ends a phase before its time.
pub const STOPPED: &str = "stopped";
