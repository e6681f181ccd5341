//! Content steering (draft-pantos-hls-rfc8216bis section 7): which of several servers players fetch a presentation from, told anew
//! every so often while they play.
use serde::Serialize;

/// The steering manifest, beside the multivariant playlist.
pub const STEERING: &str = "steering.json";
/// The pathway of playlists as they are listed: the server that the multivariant playlist came from.
const OWN_PATHWAY: &str = ".";
/// How long players go by what they were told, seconds.
const TTL_SECS: u32 = 30;
/// What a multivariant playlist begins with, where it says that there is steering.
const HEAD: &str = "#EXTM3U\n";

/// A server that has all of it under the same paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pathway {
    /// Its name; letters, digits, `.`, `-` and `_`.
    pub id: String,
    /// Its host; scheme and port are those of all.
    pub host: String,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct Manifest<'a> {
    version: u32,
    ttl: u32,
    reload_uri: &'a str,
    pathway_priority: Vec<&'a str>,
    pathway_clones: Vec<PathwayClone<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct PathwayClone<'a> {
    base_id: &'a str,
    id: &'a str,
    uri_replacement: Replacement<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct Replacement<'a> {
    host: &'a str,
}

impl<'a> PathwayClone<'a> {
    fn of(Pathway { id, host }: &'a Pathway) -> Self {
        Self { base_id: OWN_PATHWAY, id, uri_replacement: Replacement { host } }
    }
}

/// The manifest that sends players to the first of these that works, and, when none does, to where they came from.
pub fn render_steering(pathways: &[Pathway]) -> String {
    let manifest = Manifest {
        version: 1,
        ttl: TTL_SECS,
        reload_uri: STEERING,
        pathway_priority: pathways.iter().map(|pathway| pathway.id.as_str()).chain([OWN_PATHWAY]).collect(),
        pathway_clones: pathways.iter().map(PathwayClone::of).collect(),
    };
    serde_json::to_string(&manifest).unwrap_or_default()
}

/// A multivariant playlist that says where it is steered from.
pub fn steered(playlist: &str) -> String {
    let rest = playlist.strip_prefix(HEAD).unwrap_or(playlist);
    format!("{HEAD}#EXT-X-CONTENT-STEERING:SERVER-URI=\"{STEERING}\",PATHWAY-ID=\"{OWN_PATHWAY}\"\n{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_are_sent_to_servers_in_order_and_back_in_the_end() {
        let pathway = |id: &str| Pathway { id: id.into(), host: format!("{id}.example.org") };
        let told: serde_json::Value =
            serde_json::from_str(&render_steering(&[pathway("near"), pathway("far")])).unwrap();
        let clone = |id: &str| serde_json::json!({"BASE-ID": ".", "ID": id, "URI-REPLACEMENT": {"HOST": format!("{id}.example.org")}});
        let expected = serde_json::json!({
            "VERSION": 1, "TTL": 30, "RELOAD-URI": "steering.json",
            "PATHWAY-PRIORITY": ["near", "far", "."], "PATHWAY-CLONES": [clone("near"), clone("far")],
        });
        assert_eq!(told, expected);
        assert_eq!(
            steered("#EXTM3U\n#EXT-X-VERSION:7\n"),
            "#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json\",PATHWAY-ID=\".\"\n#EXT-X-VERSION:7\n"
        );
    }
}
