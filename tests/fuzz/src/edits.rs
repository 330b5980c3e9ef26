//! Damage as a program of small steps, so that the fuzzer works on what is wrong and not on what it is done to.

/// Steps of one input at most.
const STEPS_MAX: usize = 8;
const STEP_BYTES: usize = 5;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Nothing that shows.
    None,
    /// One byte is another.
    Byte,
    /// Anything.
    Much,
}

/// Damages bytes as `program` says: steps of a sort, a place and a value.
pub(crate) fn apply(program: &[u8], bytes: &mut Vec<u8>) -> Damage {
    let before = bytes.clone();
    for step in program.chunks_exact(STEP_BYTES).take(STEPS_MAX) {
        let &[sort, at_low, at_high, value, more] = step else { break };
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(u16::from_le_bytes([at_low, at_high])) % bytes.len();
        let length = usize::from(more) + 1;
        let end = (at + length).min(bytes.len());
        match sort % 8 {
            0 | 1 => bytes[at] ^= value.max(1),
            2 => bytes[at] = value,
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => bytes[at..end].fill(0),
            6 => {
                // A part of it over another part.
                let from = usize::from(value) * bytes.len() / 256;
                let part = bytes[from..(from + end - at).min(bytes.len())].to_vec();
                bytes[at..at + part.len().min(end - at)].copy_from_slice(&part[..part.len().min(end - at)]);
            }
            _ => drop(bytes.splice(at..at, std::iter::repeat_n(value, length % 32))),
        }
    }
    if *bytes == before {
        return Damage::None;
    }
    let changed = before.iter().zip(&*bytes).filter(|(before, after)| before != after).count();
    if before.len() == bytes.len() && changed == 1 { Damage::Byte } else { Damage::Much }
}
