//! Reading of CMCD payloads: `key=value,key,…` as it stands in the `CMCD` query parameter (percent-decoded) or in one of the
//! `CMCD-*` headers.

/// Longest payload looked at; players send some hundred bytes.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Highest throughput believed, kilobits per second.
const THROUGHPUT_MAX: u64 = 100_000_000;

/// The player's measured throughput (`mtp`), bits per second.
pub fn measured_throughput(payload: &str) -> Option<u64> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return None;
    }
    let value = pairs(payload).find_map(|pair| pair.trim().strip_prefix("mtp="))?;
    let kilobits: u64 = value.parse().ok()?;
    (1..=THROUGHPUT_MAX).contains(&kilobits).then(|| kilobits * 1000)
}

/// The parts between commas that are not within a quoted string, in which `\` takes the next character as it is.
fn pairs(payload: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    payload.split(move |char: char| {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return char == ',' && !is_quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_among_other_keys() {
        let cases = [
            ("bl=21300,mtp=25400", Some(25_400_000)),
            ("mtp=100", Some(100_000)),
            ("br=3200,sid=\"a,mtp=1,\\\"b\",bs, mtp=200 ", Some(200_000)),
            ("sid=\"unclosed,mtp=300", None),
            ("nmtp=300", None),
            ("mtp=0", None),
            ("mtp=-1", None),
            ("mtp=1.5", None),
            ("mtp=18446744073709551615", None),
            ("", None),
        ];
        for (payload, expected) in cases {
            assert_eq!(measured_throughput(payload), expected, "{payload}");
        }
        let long = format!("{},mtp=100", "a".repeat(PAYLOAD_BYTES_MAX));
        assert_eq!(measured_throughput(&long), None);
    }
}
