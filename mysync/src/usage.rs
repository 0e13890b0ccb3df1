//! What this process has used, as the kernel tells it.

use std::fs;

/// Clock ticks a second in /proc: a constant of the kernel's interface on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system; 0 where the kernel does not tell.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name stands in parentheses and may hold anything; fields are counted from behind it.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Peak resident memory, MB; 0 where the kernel does not tell.
#[must_use]
pub fn resident_mb_max() -> u64 {
    status_kilobytes("VmHWM:") / 1024
}

/// Resident memory now, bytes; 0 where the kernel does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    status_kilobytes("VmRSS:") * 1024
}

fn status_kilobytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_used_something() {
        assert!(super::resident_mb_max() > 0);
        assert!(super::resident_bytes() > 0);
        assert!(super::cpu_seconds() >= 0.0);
    }
}
