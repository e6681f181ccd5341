use super::*;
use crate::domain::ports::CatalogError;

async fn written(response: Response) -> (StatusCode, HeaderMap, serde_json::Value) {
    let response = write_out(response, "req_test");
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn a_problem_has_every_member() {
    let problem = Problem::invalid_field("/title", "too_long", "at most 255 characters");
    let (status, headers, body) = written(problem.into_response()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(headers[CONTENT_TYPE], PROBLEM_JSON);
    assert_eq!(
        body,
        serde_json::json!({
            "type": "urn:playhouse:problem:invalid_field", "title": "Invalid field", "status": 422,
            "code": "invalid_field", "detail": "Part of the request is not acceptable.", "request_id": "req_test",
            "errors": [{"pointer": "/title", "code": "too_long", "detail": "at most 255 characters"}],
        })
    );
}

#[tokio::test]
async fn bare_statuses_of_libraries_become_problems() {
    let response = (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET,HEAD")]).into_response();
    let (status, headers, body) = written(response).await;
    assert_eq!((status, &headers[ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("GET,HEAD")));
    assert_eq!(body["code"], "method_not_allowed");
    assert_eq!(body["detail"], "This resource answers only to GET, HEAD.");
    let (_, _, body) = written((StatusCode::BAD_REQUEST, "Invalid URL").into_response()).await;
    assert_eq!(body["code"], "bad_request");
}

#[tokio::test]
async fn good_answers_and_meant_bodies_are_left_alone() {
    let good = write_out("fine".into_response(), "req_test");
    assert_eq!(axum::body::to_bytes(good.into_body(), 100).await.unwrap(), "fine");
    let mut meant = StatusCode::GONE.into_response();
    meant.extensions_mut().insert(OwnBody);
    let meant = write_out(meant, "req_test");
    assert!(axum::body::to_bytes(meant.into_body(), 100).await.unwrap().is_empty());
}

#[test]
fn waiting_times_are_whole_seconds_and_never_zero() {
    let after = |millis| {
        let problem = Problem::too_many_requests(Duration::from_millis(millis));
        problem.into_response().headers()[RETRY_AFTER].to_str().unwrap().to_owned()
    };
    assert_eq!((after(0), after(1000), after(1001)), ("1".to_owned(), "1".to_owned(), "2".to_owned()));
}

#[test]
fn taken_names_point_at_their_field() {
    let problem = Problem::from(CatalogError::Conflict("username"));
    assert_eq!((problem.status(), problem.code()), (StatusCode::CONFLICT, "username_taken"));
    assert_eq!(problem.0.errors[0].pointer, "/username");
}
