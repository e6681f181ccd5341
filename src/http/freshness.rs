//! Who may be answered with lists that are moments old: whoever has not changed anything in those moments.
//!
//! Whether that is so the client itself carries to whichever node it asks next: what changes something is answered with a cookie
//! that lasts as long as lists may be old. Clients that sign in without keeping cookies get what is newest at all times.
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::header::{AUTHORIZATION, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::auth::browser::{find_cookie, is_browser};
use crate::domain::ports::Freshness;
use crate::settings::Settings;

/// The cookie of a client that has changed something.
const COOKIE_NAME: &str = "playhouse_wrote";
/// By how much it lasts longer than lists may be old.
const MARGIN_SECS: u64 = 1;

impl<S: Sync> FromRequestParts<S> for Freshness {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(wanted(&parts.headers))
    }
}

fn wanted(headers: &HeaderMap) -> Freshness {
    // Pages of other origins may not send the header that our own do.
    let keeps_cookies = is_browser(headers) || !headers.contains_key(AUTHORIZATION);
    match keeps_cookies && find_cookie(headers, COOKIE_NAME).is_none() {
        true => Freshness::Recent,
        false => Freshness::Latest,
    }
}

/// Marks clients that have changed something; nobody where there are no replicas.
#[derive(Debug, Clone)]
pub(crate) struct WriteMark(Option<HeaderValue>);

impl WriteMark {
    /// As these settings want it.
    pub(crate) fn new(settings: &Settings) -> Self {
        let lag = settings.catalog.replica_lag_max.0;
        let secs = lag.as_secs() + u64::from(lag.subsec_nanos() > 0) + MARGIN_SECS;
        let cookie = format!("{COOKIE_NAME}=1; Max-Age={secs}; Path=/; HttpOnly; SameSite=Lax");
        let has_replicas = !settings.catalog.postgres_replicas.is_empty();
        Self(has_replicas.then(|| HeaderValue::try_from(cookie).ok()).flatten())
    }

    /// Writes the mark into the answer to a request that has changed something, or may have when it failed.
    pub(crate) fn write_to(&self, response: &mut Response, method: &Method) {
        if let Some(cookie) = &self.0
            && !method.is_safe()
            && !response.status().is_client_error()
        {
            response.headers_mut().append(SET_COOKIE, cookie.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::StatusCode;

    use super::*;
    use crate::settings::HumanDuration;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let parsed = lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        parsed.collect()
    }

    #[test]
    fn clients_that_wrote_or_keep_no_cookies_read_what_is_newest() {
        let signed_in = ("authorization", "Bearer x");
        let (browser, wrote) = (("x-playhouse-client", "browser"), ("cookie", "a=b; playhouse_wrote=1"));
        for (lines, expected) in [
            (vec![], Freshness::Recent),
            (vec![("cookie", "playhouse_wrote_not=1; playhouse_wrote=")], Freshness::Recent),
            (vec![wrote], Freshness::Latest),
            (vec![signed_in], Freshness::Latest),
            (vec![signed_in, browser], Freshness::Recent),
            (vec![signed_in, browser, wrote], Freshness::Latest),
        ] {
            assert_eq!(wanted(&headers(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_changes_something_marks_its_client_for_longer_than_lists_are_old() {
        let mut settings = Settings::default();
        let cookie = |settings: &Settings, method: Method, status: StatusCode| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            WriteMark::new(settings).write_to(&mut response, &method);
            response.headers().get(SET_COOKIE).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(cookie(&settings, Method::POST, StatusCode::CREATED), None, "there are no replicas");
        settings.catalog.postgres_replicas = vec!["host=a".into()];
        settings.catalog.replica_lag_max = HumanDuration(std::time::Duration::from_millis(1500));
        let marked = cookie(&settings, Method::POST, StatusCode::CREATED).unwrap();
        assert_eq!(marked, "playhouse_wrote=1; Max-Age=3; Path=/; HttpOnly; SameSite=Lax");
        for (method, status, is_marked) in [
            (Method::DELETE, StatusCode::NO_CONTENT, true),
            (Method::PATCH, StatusCode::BAD_GATEWAY, true),
            (Method::PATCH, StatusCode::CONFLICT, false),
            (Method::GET, StatusCode::OK, false),
            (Method::HEAD, StatusCode::OK, false),
            (Method::OPTIONS, StatusCode::NO_CONTENT, false),
        ] {
            assert_eq!(cookie(&settings, method.clone(), status).is_some(), is_marked, "{method} {status}");
        }
    }
}
