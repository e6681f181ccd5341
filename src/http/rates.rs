//! Request limits: token buckets by address or account, a bounded number of them.
//!
//! A bucket that was not used for a minute is full again, so forgetting it changes nothing. Beyond
//! `rates.keys_max` the longest unused are forgotten first. Nodes of a cluster tell one another what they have allowed.
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::hash::Hash;
use std::net::{AddrParseError, IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::problem::Problem;
use crate::actors::limits::{Done, SharedLimits};
use crate::domain::ids::UserId;
use crate::settings::RateSettings;

/// What is left (draft-ietf-httpapi-ratelimit-headers).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What the limit is (same draft).
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Every limit is so many per this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Keys of a limit that other nodes are told of at once; of those beyond they hear nothing.
const TOLD_MAX: usize = 2048;

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// One limit over many keys.
pub(crate) struct Rate<K> {
    name: &'static str,
    quota: Option<Quota>,
    buckets: Cache<K, Arc<Bucket>>,
    /// What was allowed since other nodes were last told; nothing where there are none.
    allowed: Option<Mutex<HashMap<K, u32>>>,
}

/// What a request within its limit is told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    name: &'static str,
    limit: u32,
    remaining: u32,
}

impl Allowance {
    /// Writes the `RateLimit` and `RateLimit-Policy` fields.
    pub(crate) fn write_to(self, headers: &mut HeaderMap) {
        let Self { name, limit, remaining } = self;
        let policy = format!("\"{name}\";q={limit};w={}", WINDOW.as_secs());
        let used = u64::from(limit - remaining.min(limit));
        let refill_secs = (used * WINDOW.as_secs()).div_ceil(u64::from(limit.max(1)));
        let left = format!("\"{name}\";r={remaining};t={refill_secs}");
        for (header, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(header, value);
            }
        }
    }
}

impl<K: Hash + Eq + Send + Sync + Clone + Display + FromStr + 'static> Rate<K> {
    /// `per_minute` of zero means no limit.
    fn new(name: &'static str, per_minute: u32, (keys_max, is_shared): (u64, bool)) -> Self {
        let buckets =
            Cache::builder().max_capacity(keys_max).time_to_idle(WINDOW).eviction_policy(EvictionPolicy::lru()).build();
        let quota = NonZeroU32::new(per_minute).map(Quota::per_minute);
        Self { name, quota, buckets, allowed: is_shared.then(Mutex::default) }
    }

    fn bucket(&self, key: &K, quota: Quota) -> Arc<Bucket> {
        let full = || Arc::new(RateLimiter::direct(quota).with_middleware::<StateInformationMiddleware>());
        self.buckets.get_with_by_ref(key, full)
    }

    fn note_allowed(&self, key: K) {
        let Some(allowed) = &self.allowed else { return };
        let mut allowed = allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed.len() < TOLD_MAX || allowed.contains_key(&key) {
            *allowed.entry(key).or_default() += 1;
        }
    }

    fn done_here(&self) -> Vec<Done> {
        let Some(allowed) = &self.allowed else { return Vec::new() };
        let allowed = std::mem::take(&mut *allowed.lock().unwrap_or_else(PoisonError::into_inner));
        let done = |(key, times): (K, u32)| Done { limit: self.name.to_owned(), key: key.to_string(), times };
        allowed.into_iter().map(done).collect()
    }

    /// Takes as many tokens as were taken elsewhere, as far as there are any.
    fn count(&self, done: &Done) {
        let (Some(quota), Ok(key)) = (self.quota, done.key.parse()) else { return };
        let bucket = self.bucket(&key, quota);
        let most = done.times.min(quota.burst_size().get());
        (0..most).take_while(|_| bucket.check().is_ok()).for_each(drop);
    }

    /// Takes one token, or says when there will be one. `None` when there is no limit.
    pub(crate) fn check(&self, key: K) -> Result<Option<Allowance>, Problem> {
        let Some(quota) = self.quota else { return Ok(None) };
        let limit = quota.burst_size().get();
        match self.bucket(&key, quota).check() {
            Ok(state) => {
                self.note_allowed(key);
                Ok(Some(Allowance { name: self.name, limit, remaining: state.remaining_burst_capacity() }))
            }
            Err(refused) => {
                metrics::counter!("playhouse_http_rate_limited_total", "limit" => self.name).increment(1);
                let mut headers = HeaderMap::new();
                Allowance { name: self.name, limit, remaining: 0 }.write_to(&mut headers);
                let problem = Problem::too_many_requests(refused.wait_time_from(DefaultClock::default().now()));
                Err(headers.into_iter().fold(problem, |problem, (name, value)| match name {
                    Some(name) => problem.with_header(name, value),
                    None => problem,
                }))
            }
        }
    }
}

/// What stands for an address: an IPv6 client has a whole /64 to itself, so that is what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(IpAddr);

impl Display for AddressKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for AddressKey {
    type Err = AddrParseError;
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse::<IpAddr>().map(Self::from)
    }
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & (u128::from(u64::MAX) << 64)).into()),
            v4 => Self(v4),
        }
    }
}

/// Every limit of the API.
pub(crate) struct Rates {
    /// All requests to the API.
    pub(crate) api: Rate<AddressKey>,
    /// Attempts to sign in, by address.
    pub(crate) login_by_address: Rate<AddressKey>,
    /// Attempts to sign in, by the name tried, folded to lower case.
    pub(crate) login_by_account: Rate<String>,
    /// Registrations.
    pub(crate) register: Rate<AddressKey>,
    /// Uploads created.
    pub(crate) uploads: Rate<UserId>,
}

impl Rates {
    /// From the settings; shared with other nodes or not.
    pub(crate) fn new(settings: &RateSettings, is_shared: bool) -> Self {
        let keys = (settings.keys_max, is_shared);
        Self {
            api: Rate::new("api", settings.api_per_minute, keys),
            login_by_address: Rate::new("login", settings.login_per_minute_per_address, keys),
            login_by_account: Rate::new("login-account", settings.login_per_minute_per_account, keys),
            register: Rate::new("register", settings.register_per_minute, keys),
            uploads: Rate::new("uploads", settings.uploads_per_minute_per_account, keys),
        }
    }
}

impl SharedLimits for Rates {
    fn done_here(&self) -> Vec<Done> {
        let Self { api, login_by_address, login_by_account, register, uploads } = self;
        let by_address = [api, login_by_address, register].into_iter().flat_map(Rate::done_here);
        by_address.chain(login_by_account.done_here()).chain(uploads.done_here()).collect()
    }

    fn count(&self, done: &[Done]) {
        let Self { api, login_by_address, login_by_account, register, uploads } = self;
        for one in done {
            match one.limit.as_str() {
                name if name == login_by_account.name => login_by_account.count(one),
                name if name == uploads.name => uploads.count(one),
                name => {
                    let limit = [api, login_by_address, register].into_iter().find(|limit| limit.name == name);
                    // One that a later release has is that one's.
                    if let Some(limit) = limit {
                        limit.count(one);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_by_key_and_says_when_to_return() {
        let rate = Rate::new("api", 2, (100, false));
        let left: Vec<u32> = (0..2).map(|_| rate.check("a".to_owned()).unwrap().unwrap().remaining).collect();
        assert_eq!(left, [1, 0]);
        let refused = rate.check("a".to_owned()).unwrap_err();
        assert_eq!(refused.status(), http::StatusCode::TOO_MANY_REQUESTS);
        let response = axum::response::IntoResponse::into_response(refused);
        assert_eq!(response.headers()["ratelimit-policy"], "\"api\";q=2;w=60");
        assert!(response.headers().contains_key("retry-after"));
        assert!(rate.check("b".to_owned()).is_ok());
    }

    #[test]
    fn zero_means_no_limit() {
        let rate = Rate::new("api", 0, (100, false));
        assert!((0..10_000).all(|_| rate.check(1).unwrap().is_none()));
    }

    #[test]
    fn keys_are_bounded_and_newcomers_are_still_counted() {
        let rate = Rate::new("api", 1, (10, false));
        for key in 0..1000 {
            assert!(rate.check(key).is_ok());
            assert!(rate.check(key).is_err(), "{key}");
        }
        rate.buckets.run_pending_tasks();
        assert!(rate.buckets.entry_count() <= 10);
    }

    #[test]
    fn nodes_count_together() {
        let settings = RateSettings { login_per_minute_per_account: 5, api_per_minute: 2, ..RateSettings::default() };
        let (one, other) = (Rates::new(&settings, true), Rates::new(&settings, true));
        let client = AddressKey::from("2001:db8::1".parse::<IpAddr>().unwrap());
        for _ in 0..3 {
            one.login_by_account.check("somebody".into()).unwrap();
        }
        for _ in 0..4 {
            let _ = one.api.check(client);
        }
        other.count(&one.done_here());
        assert_eq!(one.done_here(), [], "told once");
        let left = |rates: &Rates| rates.login_by_account.check("somebody".into()).unwrap().unwrap().remaining;
        assert_eq!((left(&other), left(&one)), (1, 1));
        assert!(other.api.check(client).is_err());
        assert_eq!(other.done_here().len(), 1, "what another one told is not told again, nor what is refused");
        other.count(&[Done { limit: "of a later release".into(), key: "x".into(), times: 1 }]);
    }

    #[test]
    fn ipv6_clients_are_counted_by_network() {
        let key = |text: &str| AddressKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
