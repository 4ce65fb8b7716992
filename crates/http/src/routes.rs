//! Which handler answers which path and method.

use futures_util::future::BoxFuture;
use hyper::header::{ALLOW, HeaderValue};

use crate::{Method, Request, Response, StatusCode, text};

/// The paths of a server and who answers them.
#[derive(Default)]
pub struct Routes {
    routes: Vec<Route>,
}

struct Route {
    path: &'static str,
    method: Method,
    first: bool,
    handler: Handler,
}

type Handler = Box<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

// === impl Routes ===

impl Routes {
    /// No path yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `handler` answers GET of this very path, and HEAD with the same headers.
    #[must_use]
    pub fn get<F>(self, path: &'static str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.route(Method::GET, path, handler)
    }

    /// The same, for a path that is answered also when there is no room for its connection.
    #[must_use]
    pub fn first<F>(self, path: &'static str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let mut routes = self.get(path, handler);
        routes.routes.last_mut().expect("a route was just added").first = true;
        routes
    }

    /// `handler` answers this method of this very path.
    #[must_use]
    pub fn route<F>(
        mut self,
        method: Method,
        path: &'static str,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let handler = Box::new(move |request| Box::pin(handler(request)) as BoxFuture<'static, Response>);
        self.routes.push(Route { path, method, first: false, handler });
        self
    }

    pub(crate) fn goes_first(&self, path: &str) -> bool {
        self.routes.iter().any(|route| route.first && route.path == path)
    }

    pub(crate) async fn answer(&self, request: Request) -> Response {
        // HEAD is GET without the body, which hyper leaves out.
        let asked = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let path = request.uri().path();
        if let Some(route) = self.routes.iter().find(|route| route.path == path && route.method == asked) {
            return (route.handler)(request).await;
        }
        let mut methods: Vec<&str> = Vec::new();
        for route in self.routes.iter().filter(|route| route.path == path) {
            methods.push(route.method.as_str());
            methods.extend((route.method == Method::GET).then_some("HEAD"));
        }
        if methods.is_empty() {
            let mut paths: Vec<&str> = self.routes.iter().map(|route| route.path).collect();
            paths.dedup();
            return text(StatusCode::NOT_FOUND, format!("not found; there is {}\n", paths.join(", ")));
        }
        let allow = methods.join(", ");
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow} here\n"));
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }
}
