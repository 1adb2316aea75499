//! Gates: named points where the impostor waits until the test lets it go on.

use std::collections::HashMap;

#[derive(Debug, Default, Clone, Copy)]
struct GateState {
    open: bool,
    /// Passes left while it is closed.
    passes: usize,
}

/// All gates, by name. A gate that nobody named yet is closed.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: HashMap<String, GateState>,
}

impl Gates {
    pub(crate) fn open(&mut self, gate: &str) {
        self.gates.entry(gate.to_owned()).or_default().open = true;
    }

    pub(crate) fn close(&mut self, gate: &str) {
        self.gates.insert(gate.to_owned(), GateState::default());
    }

    pub(crate) fn let_through(&mut self, gate: &str, passes: usize) {
        self.gates.entry(gate.to_owned()).or_default().passes += passes;
    }

    pub(crate) fn is_open(&self, gate: &str) -> bool {
        self.gates.get(gate).is_some_and(|state| state.open)
    }

    /// True when the gate lets the caller through now.
    pub(crate) fn try_pass(&mut self, gate: &str) -> bool {
        let state = self.gates.entry(gate.to_owned()).or_default();
        if state.open {
            return true;
        }
        if state.passes > 0 {
            state.passes -= 1;
            return true;
        }
        false
    }
}
