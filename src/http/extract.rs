//! Extractors that refuse with problems: JSON bodies, query strings, ids in paths.
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Request};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::state::HttpState;

/// A JSON body of at most `http.json_bytes_max`. Fields it does not know are ignored; a wrong type is refused with a
/// pointer to it. Takes `application/json` and anything `+json`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<HttpState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(unsupported_media_type());
        }
        let limit = usize::try_from(state.settings.http.json_bytes_max.as_u64()).unwrap_or(usize::MAX);
        parse_json(&read_limited(request, limit).await?).map(Json)
    }
}

impl<T: DeserializeOwned> OptionalFromRequest<HttpState> for Json<T> {
    type Rejection = Problem;

    /// `None` when there is no body at all.
    async fn from_request(request: Request, state: &HttpState) -> Result<Option<Self>, Problem> {
        let has_type = request.headers().contains_key(CONTENT_TYPE);
        let is_json = is_json(request.headers());
        let limit = usize::try_from(state.settings.http.json_bytes_max.as_u64()).unwrap_or(usize::MAX);
        let bytes = read_limited(request, limit).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(None),
            (false, false) if has_type => Err(unsupported_media_type()),
            (false, _) => parse_json(&bytes).map(|value| Some(Json(value))),
        }
    }
}

fn unsupported_media_type() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be application/json.")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a whole body of at most `limit` bytes: 413 above, 408 when it stalls, 400 when it breaks off.
pub async fn read_limited(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let collected = Limited::new(request.into_body(), limit).collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| body_problem(error.as_ref(), limit))
}

fn body_problem(error: &(dyn std::error::Error + 'static), limit: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("The body may have at most {limit} bytes."),
        );
    }
    if super::server::is_stall(error) {
        return Problem::new(StatusCode::REQUEST_TIMEOUT, "body_stalled", "The request's body stopped arriving.");
    }
    Problem::bad_request("body_incomplete", "The request's body broke off.")
}

/// Reads JSON: 400 when it is none, 422 with a pointer when a value has the wrong type or is missing.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer_of(error.path());
        json_problem(pointer, error.inner())
    })?;
    reader.end().map_err(|error| json_problem(String::new(), &error))?;
    Ok(value)
}

fn json_problem(pointer: String, error: &serde_json::Error) -> Problem {
    if !error.is_data() {
        return Problem::bad_request("invalid_json", format!("The body is not valid JSON: {error}."));
    }
    let text = error.to_string();
    let detail = text.split(" at line ").next().unwrap_or_default().to_owned();
    let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match missing {
        Some(field) => Problem::invalid_field(format!("{pointer}/{field}"), "required", "This field is required."),
        None => Problem::invalid_field(pointer, "invalid_type", detail),
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escaped(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Query parameters; 400 when one has the wrong form.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Query(query.0))
            .map_err(|error| Problem::bad_request("invalid_query", error.body_text()))
    }
}

/// The one id in a route's path; a text that is no such id is not found.
#[derive(Debug)]
pub struct IdPath<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for IdPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text): Path<String> =
            Path::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        text.parse().map(IdPath).map_err(|_| Problem::not_found())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Sample {
        #[allow(dead_code, reason = "only its type matters here")]
        title: String,
        #[allow(dead_code, reason = "only its type matters here")]
        tags: Vec<String>,
    }

    fn refused(json: &str) -> (StatusCode, serde_json::Value) {
        let problem = parse_json::<Sample>(json.as_bytes()).unwrap_err();
        (problem.status(), serde_json::from_slice(&problem.body("req_test")).unwrap())
    }

    #[test]
    fn wrong_json_says_where() {
        let (status, body) = refused(r#"{"title": "x", "tags": ["a", 7]}"#);
        assert_eq!((status, &body["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &"/tags/1".into()));
        let (_, body) = refused(r#"{"tags": []}"#);
        assert_eq!(body["errors"][0]["pointer"], "/title");
        assert_eq!(body["errors"][0]["code"], "required");
        assert_eq!(refused("{").0, StatusCode::BAD_REQUEST);
        assert_eq!(refused(r#"{"title":"x","tags":[]} trailing"#).0, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn unknown_fields_are_ignored() {
        assert!(parse_json::<Sample>(br#"{"title":"x","tags":[],"colour":"red"}"#).is_ok());
    }

    #[test]
    fn json_types_are_recognised() {
        let typed = |kind: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(typed("application/json; charset=utf-8") && typed("application/merge-patch+json"));
        assert!(!typed("text/json") && !typed("application/x-www-form-urlencoded") && !is_json(&HeaderMap::new()));
    }
}
