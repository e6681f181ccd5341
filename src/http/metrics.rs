//! The process's metrics: the recorder behind `/metrics`, and what this room counts, with units.
use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of request durations, seconds: fine below a second, where answers should be.
const DURATION_BUCKETS_SECS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Installs the process's recorder. Once per process; a second call fails.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// A handle on a recorder that nothing is installed for: several servers in one process, as in tests.
pub fn detached() -> PrometheusHandle {
    PrometheusBuilder::new().build_recorder().handle()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATION_BUCKETS_SECS)
}

fn describe() {
    let counters = [
        ("playhouse_http_requests_total", Unit::Count, "Requests by method, route and status"),
        (
            "playhouse_http_response_bytes_total",
            Unit::Bytes,
            "Bytes of response bodies handed to connections, by route",
        ),
        ("playhouse_http_rate_limited_total", Unit::Count, "Requests refused by a rate limit"),
        ("playhouse_http_panics_total", Unit::Count, "Handlers that panicked"),
        ("playhouse_actor_restarts_total", Unit::Count, "Actors restarted after a failure, by family"),
        ("playhouse_actor_given_up_total", Unit::Count, "Actors that failed too often to be restarted, by family"),
        ("playhouse_actor_replies_dropped_total", Unit::Count, "Questions an actor left unanswered: a bug"),
        ("playhouse_playback_sessions_opened_total", Unit::Count, "Playback sessions opened"),
        ("playhouse_playback_sessions_adopted_total", Unit::Count, "Playback sessions taken over from other nodes"),
        ("playhouse_playback_copies_failed_total", Unit::Count, "Copies of sessions that did not get to another node"),
        ("playhouse_playback_views_total", Unit::Count, "Sessions that counted as a view"),
        ("playhouse_janitor_rounds_total", Unit::Count, "Clean-up rounds"),
        ("playhouse_janitor_orphans_deleted_total", Unit::Count, "Files deleted that nothing referred to"),
        ("playhouse_originals_archived_total", Unit::Count, "Originals moved to the archive"),
        ("playhouse_originals_archived_bytes_total", Unit::Bytes, "Bytes of originals moved to the archive"),
        ("playhouse_originals_deleted_total", Unit::Count, "Originals deleted because they had been kept for long"),
        ("playhouse_delivery_bytes_total", Unit::Bytes, "Bytes of media resolved for delivery, by kind"),
        (
            "playhouse_segment_requests_total",
            Unit::Count,
            "Segments asked for, by result: hit (in memory or on this node's disk), collapsed (under way), miss",
        ),
        ("playhouse_segment_bytes_total", Unit::Bytes, "Bytes of segments asked for, by result"),
        ("playhouse_edge_fill_bytes_total", Unit::Bytes, "Bytes of blobs read, by where from: disk, shield, store"),
        ("playhouse_edge_store_requests_total", Unit::Count, "Reads of the store for delivery"),
        ("playhouse_edge_errors_total", Unit::Count, "Reads of blobs for delivery that failed, by where from"),
        ("playhouse_cdn_purge_failures_total", Unit::Count, "Times that the CDN could not be told of a change"),
        ("playhouse_edge_ahead_total", Unit::Count, "Segments fetched before anybody asked for them"),
        ("playhouse_segment_built_bytes_total", Unit::Bytes, "Bytes of segments built"),
        ("playhouse_logins_total", Unit::Count, "Attempts to sign in, by outcome"),
    ];
    for (name, unit, text) in counters {
        metrics::describe_counter!(name, unit, text);
    }
    metrics::describe_histogram!(
        "playhouse_http_request_duration_seconds",
        Unit::Seconds,
        "Time from a request's head to the end of its answer, by route"
    );
    describe_catalog();
    describe_uploads();
    describe_work();
    describe_live();
    describe_cluster();
    let text = "Bytes of blobs by area, as the janitor has seen them last";
    metrics::describe_gauge!("playhouse_blob_bytes", Unit::Bytes, text);
    metrics::describe_gauge!("playhouse_tasks", Unit::Count, "Tasks of the runtime");
    metrics::describe_gauge!("playhouse_actors", Unit::Count, "Running actors, by family");
    metrics::describe_gauge!("playhouse_http_requests_in_flight", Unit::Count, "Requests being answered");
    metrics::describe_gauge!("playhouse_http_connections", Unit::Count, "Open connections");
}

/// Those of where lists are read.
fn describe_catalog() {
    let counters = [
        ("playhouse_catalog_lists_total", "Lists read of the catalog, by target: primary, replica"),
        (
            "playhouse_catalog_replica_fallbacks_total",
            "Times that the primary was read because of replicas, by reason: none (in use), lagging, failed, timeout",
        ),
    ];
    for (name, text) in counters {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    let text = "How far behind the primary of the catalog a replica is, or was when it last said";
    metrics::describe_gauge!("playhouse_catalog_replica_lag_seconds", Unit::Seconds, text);
    let text = "Whether lists are read from a replica of the catalog: 1 or 0";
    metrics::describe_gauge!("playhouse_catalog_replica_used", Unit::Count, text);
}

/// Those of uploads.
fn describe_uploads() {
    let counters = [
        ("playhouse_uploads_created_total", "Uploads begun, by protocol"),
        ("playhouse_uploads_resumed_total", "Times that an upload went on in another request"),
        ("playhouse_uploads_succeeded_total", "Uploads that became videos, by protocol"),
        ("playhouse_uploads_expired_total", "Uploads that were not finished in time"),
        ("playhouse_uploads_terminated_total", "Uploads that their owners gave up"),
        ("playhouse_uploads_failed_total", "Uploads that came to nothing, by reason"),
    ];
    for (name, text) in counters {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    let text = "Bytes of uploads received, by protocol";
    metrics::describe_counter!("playhouse_upload_received_bytes_total", Unit::Bytes, text);
    let text = "Bytes of uploads that clients have stored by themselves and that were taken over";
    metrics::describe_counter!("playhouse_upload_direct_bytes_total", Unit::Bytes, text);
    let text = "Time in which what a request brought was taken";
    metrics::describe_histogram!("playhouse_upload_append_seconds", Unit::Seconds, text);
    metrics::describe_gauge!("playhouse_upload_writers", Unit::Count, "Requests that bring bytes of uploads now");
}

/// Those of what is made of videos.
fn describe_work() {
    let counters = [
        ("playhouse_transcode_failures_total", "Videos whose processing failed, by code"),
        ("playhouse_transcode_demands_refused_total", "Segments that viewers asked for before they could be made"),
        ("playhouse_worker_deaths_total", "Worker processes that ended before their task, by reason"),
        ("playhouse_transcode_units_for_peers_total", "Units that workers of this node made for another node"),
        ("playhouse_worker_tasks_discarded_total", "Tasks that nobody waited for any more when their turn came"),
    ];
    for (name, text) in counters {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    let seconds = [
        ("playhouse_transcode_rung_seconds", "Time in which rungs were encoded, by rung"),
        ("playhouse_worker_task_seconds", "Time that tasks took workers, by task"),
    ];
    for (name, text) in seconds {
        metrics::describe_histogram!(name, Unit::Seconds, text);
    }
    let gauges = [
        ("playhouse_transcode_backlog_units", "Chunks and tracks that are still to be encoded"),
        ("playhouse_worker_queue_depth", "Tasks that wait for a worker"),
        ("playhouse_workers", "Worker processes"),
    ];
    for (name, text) in gauges {
        metrics::describe_gauge!(name, Unit::Count, text);
    }
}

/// Those of links to publishers by protocols that tell how they do (SRT, WHIP), and to viewers by WHEP.
fn describe_cluster() {
    let gauges = [
        ("playhouse_cluster_connections", "Connections with other nodes"),
        ("playhouse_cluster_members", "Nodes of the cluster, this one among them, as it sees them"),
    ];
    for (name, text) in gauges {
        metrics::describe_gauge!(name, Unit::Count, text);
    }
    let counters = [
        ("playhouse_cluster_questions_refused_total", "Questions of other nodes for which there was no room"),
        ("playhouse_cluster_questions_unknown_total", "Questions of other nodes that this program does not know"),
        ("playhouse_cluster_streams_refused_total", "Streams of other nodes that nobody took"),
        ("playhouse_live_relays_total", "Streams of other nodes that were begun to be watched through this one"),
        ("playhouse_live_relay_bytes_total", "Bytes that other nodes have told of such streams"),
        (
            "playhouse_live_relay_frames_opened_total",
            "Times that another node was asked for the frames of such a stream",
        ),
        ("playhouse_http_forwarded_total", "Requests that another node has answered"),
        ("playhouse_http_forward_failures_total", "Requests that did not get to the node that they were for"),
    ];
    for (name, text) in counters {
        metrics::describe_counter!(name, Unit::Count, text);
    }
}

fn describe_links() {
    let counters = [
        ("playhouse_link_packets_total", "Packets of media that came from publishers or went to viewers, by protocol"),
        ("playhouse_link_packets_recovered_total", "Those of them that had been lost and were sent again in time"),
        ("playhouse_link_packets_dropped_total", "Packets of media that did not come in time"),
        ("playhouse_link_packets_undecrypted_total", "Packets of media that could not be decrypted"),
        ("playhouse_link_loss_reports_total", "Times that lost packets were asked for"),
        (
            "playhouse_link_key_frame_requests_total",
            "Key frames that publishers were asked for, or viewers have asked for",
        ),
        ("playhouse_srt_datagrams_dropped_total", "Datagrams to the port of SRT that were left out, by reason"),
        (
            "playhouse_webrtc_datagrams_dropped_total",
            "Datagrams from and to the port of WebRTC that were left out, by reason",
        ),
    ];
    for (name, text) in counters {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    let readers = [
        ("playhouse_srt_readers_packets_total", "Packets of media sent to readers by SRT"),
        ("playhouse_srt_readers_packets_again_total", "Packets sent to readers again because they had been lost"),
        ("playhouse_srt_readers_packets_lost_total", "Packets that readers missed and were not sent again"),
        (
            "playhouse_srt_readers_skips_total",
            "Times that readers by SRT were too far behind and went on with a key frame",
        ),
        (
            "playhouse_whep_viewers_skips_total",
            "Times that viewers by WHEP were too far behind and went on with a key frame",
        ),
        (
            "playhouse_whep_switches_total",
            "Times that viewers by WHEP were sent smaller pictures (down) or larger ones (up)",
        ),
        ("playhouse_live_tap_skips_total", "Times that frames were gone before they had been read"),
    ];
    for (name, text) in readers {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    metrics::describe_counter!("playhouse_srt_readers_bytes_total", Unit::Bytes, "Bytes sent to readers by SRT");
    let text = "Bytes of media sent to viewers by other protocols than HTTP and SRT, by protocol";
    metrics::describe_counter!("playhouse_live_egress_bytes_total", Unit::Bytes, text);
    let text = "What the paths to viewers by WebRTC are believed to carry";
    metrics::describe_histogram!("playhouse_link_estimated_bits_per_second", Unit::Count, text);
    metrics::describe_gauge!(
        "playhouse_live_readers",
        Unit::Count,
        "Readers of live streams by other protocols than HTTP"
    );
    let text = "Round-trip time to publishers and viewers, told once a second, by protocol";
    metrics::describe_histogram!("playhouse_link_rtt_seconds", Unit::Seconds, text);
}

/// Those of live streams.
fn describe_live() {
    let counters = [
        ("playhouse_live_ingest_bytes_total", Unit::Bytes, "Bytes received from publishers, by protocol"),
        ("playhouse_live_publishers_turned_away_total", Unit::Count, "Publishers that were not let in, by reason"),
        ("playhouse_live_repairs_total", Unit::Count, "Times of publishers' frames that were repaired, by kind"),
        ("playhouse_live_frames_dropped_total", Unit::Count, "Frames of publishers that were left out, by kind"),
        ("playhouse_live_epochs_total", Unit::Count, "Visits of publishers: first ones, returns, changes of tracks"),
        (
            "playhouse_live_gap_segments_total",
            Unit::Count,
            "Segments without media, each counted once for all renditions",
        ),
        ("playhouse_live_cues_total", Unit::Count, "Cues that publishers told"),
        ("playhouse_live_cues_dropped_total", Unit::Count, "Cues left out: too many, or nothing to place them by"),
        ("playhouse_live_recording_failures_total", Unit::Count, "Writes of recordings that failed"),
        ("playhouse_live_ladder_restarts_total", Unit::Count, "Workers of live ladders that ended before their stream"),
        ("playhouse_live_realtime_restarts_total", Unit::Count, "Workers for viewers by WebRTC that ended early"),
        (
            "playhouse_live_transcode_restarts_total",
            Unit::Count,
            "Workers that encode pictures of publishers anew that ended early",
        ),
        ("playhouse_live_sound_restarts_total", Unit::Count, "Workers that make AAC of sound that ended early"),
        ("playhouse_live_pull_failures_total", Unit::Count, "Times that a stream could not be fetched, or no more"),
        ("playhouse_live_push_bytes_total", Unit::Bytes, "Bytes of broadcasts sent to other servers"),
        (
            "playhouse_live_push_failures_total",
            Unit::Count,
            "Times that another server did not take a broadcast, or no more",
        ),
        ("playhouse_live_rungs_dropped_total", Unit::Count, "Rungs given up because the machine did not keep up"),
        ("playhouse_live_playlist_requests_total", Unit::Count, "Requests for live media playlists, by kind"),
    ];
    for (name, unit, text) in counters {
        metrics::describe_counter!(name, unit, text);
    }
    describe_links();
    metrics::describe_histogram!(
        "playhouse_live_part_lateness_seconds",
        Unit::Seconds,
        "How much later than its end by the broadcast's clock a part was there"
    );
    metrics::describe_histogram!(
        "playhouse_live_clock_lateness_seconds",
        Unit::Seconds,
        "How late the clock rings by which live streams have precedence over encoding"
    );
    let gauges = [
        ("playhouse_live_streams", Unit::Count, "Streams in memory, by state: publishing, away, ended"),
        ("playhouse_rtmp_connections", Unit::Count, "Open connections by RTMP, publishing or not"),
        ("playhouse_live_publishers", Unit::Count, "Publishers that were let in, by protocol"),
        ("playhouse_live_viewers", Unit::Count, "Viewers, at any node, of live streams of this one"),
        ("playhouse_live_ingest_bits_per_second", Unit::Count, "What publishers send, over their newest segments"),
        ("playhouse_live_rungs", Unit::Count, "Rungs of live ladders, by state: encoding, given_up"),
        (
            "playhouse_live_ladder_added_latency_seconds_max",
            Unit::Seconds,
            "How much later than its source the latest rung is",
        ),
        (
            "playhouse_live_playlist_requests_blocked",
            Unit::Count,
            "Reloads of live playlists that wait for what they ask for",
        ),
    ];
    for (name, unit, text) in gauges {
        metrics::describe_gauge!(name, unit, text);
    }
}
