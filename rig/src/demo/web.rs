//! A small HTTP server for a site on loopback: the accept loop, security headers, and the check of
//! Host and Origin. Knows nothing of the site.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use fido_relay_kit::tasks::Tasks;

/// Limit for a request's headers.
const HEADERS_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Headers of every answer. The page needs only its own scripts, styles and address.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), publickey-credentials-get=()",
    ),
];

/// Serves a site until the tasks stop.
///
/// # Errors
/// If the listener has no address.
pub fn serve(listener: TcpListener, site: Router, tasks: &Tasks) -> std::io::Result<()> {
    let port = listener.local_addr()?.port();
    let names: Arc<[String]> = names(port).into();
    let site = site
        .layer(middleware::from_fn_with_state(names, same_site_only))
        .layer(middleware::map_response(with_headers));
    let connections = tasks.clone();
    tasks.spawn("demo site", async move {
        loop {
            let accepted = tokio::select! {
                () = connections.stopping().cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => connections.spawn_untraced(connection(
                    stream,
                    site.clone(),
                    connections.stopping().clone(),
                )),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    });
    Ok(())
}

/// The authorities by which browsers of this machine name the site; port 80 is left out.
fn names(port: u16) -> [String; 2] {
    ["127.0.0.1", "localhost"].map(|host| match port {
        80 => host.to_owned(),
        port => format!("{host}:{port}"),
    })
}

async fn connection(
    stream: tokio::net::TcpStream,
    site: Router,
    stopping: tokio_util::sync::CancellationToken,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(site));
    tokio::select! {
        () = stopping.cancelled() => {}
        // A browser may hang up at any time.
        _ = serving => {}
    }
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests that another site may have caused: with another Host (DNS rebinding), or a change
/// with another Origin (CSRF).
async fn same_site_only(
    State(names): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let ours = text(header::HOST).is_some_and(|host| names.iter().any(|name| name == host));
    if !ours || (request.method() != Method::GET && !from_own_page(headers, &names)) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

/// Browsers always send both headers, and a page cannot suppress them; other programs send neither.
fn from_own_page(headers: &HeaderMap, names: &[String]) -> bool {
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        names.iter().any(|name| origin.as_bytes() == format!("http://{name}").as_bytes())
    });
    site && origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_known_by_the_names_that_browsers_send() {
        assert_eq!(names(8090), ["127.0.0.1:8090", "localhost:8090"]);
        let url = url::Url::parse("http://127.0.0.1:80/").unwrap();
        assert_eq!(names(80)[0], url.authority(), "the port of http is left out");
    }
}
