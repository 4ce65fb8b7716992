//! What is put into moto past flowstone's own client: log groups, events, flow logs. moto checks no signature.

use serde_json::{Value, json};

use crate::servers::Node;

/// A running moto, and one of its regions.
#[derive(Clone, Copy, Debug)]
pub struct Moto<'a> {
    node: &'a Node,
    region: &'a str,
}

/// The key that requests are signed with, and that a client of moto may use.
pub const ACCESS_KEY: &str = "AKIDMOTO";

impl<'a> Moto<'a> {
    /// Requests go to this node, for this region.
    pub fn new(node: &'a Node, region: &'a str) -> Self {
        Self { node, region }
    }

    /// The environment variables that lead AWS's SDKs here, and keep them from everything else.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        crate::aws_environment(&self.node.url(), self.region, ACCESS_KEY)
    }

    /// An operation of CloudWatch Logs (AWS JSON 1.1).
    ///
    /// # Panics
    /// If moto refuses it.
    pub fn logs(&self, operation: &str, body: Value) -> Value {
        let target = format!("Logs_20140328.{operation}");
        let authorization = self.authorization("logs");
        let headers = [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("X-Amz-Target", &*target),
            ("Authorization", &*authorization),
        ];
        let reply = self.node.request("POST", "/", &headers, body.to_string().as_bytes()).expect("an answer");
        assert_eq!(reply.status, 200, "{operation}: {}", reply.body);
        serde_json::from_str(&reply.body).unwrap_or(Value::Null)
    }

    /// An operation of a service with the query protocol; gives the XML.
    ///
    /// # Panics
    /// If moto refuses it.
    pub fn query(&self, service: &str, form: &[(&str, &str)]) -> String {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let authorization = self.authorization(service);
        let headers =
            [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", &*authorization)];
        let reply = self.node.request("POST", "/", &headers, form.as_bytes()).expect("an answer");
        assert_eq!(reply.status, 200, "{form}: {}", reply.body);
        reply.body
    }

    /// Makes a log group with these streams.
    pub fn make_group(&self, group: &str, streams: &[&str]) {
        self.logs("CreateLogGroup", json!({ "logGroupName": group }));
        for stream in streams {
            self.logs("CreateLogStream", json!({ "logGroupName": group, "logStreamName": stream }));
        }
    }

    /// Puts events (milliseconds since the epoch, text), ordered by time as AWS asks, at most 14 days old.
    pub fn put(&self, group: &str, stream: &str, events: &[(i64, String)]) {
        let events: Vec<Value> = events
            .iter()
            .map(|(timestamp, message)| json!({ "timestamp": timestamp, "message": message }))
            .collect();
        self.logs(
            "PutLogEvents",
            json!({ "logGroupName": group, "logStreamName": stream, "logEvents": events }),
        );
    }

    /// The `Authorization` that makes moto take a request for this service.
    fn authorization(&self, service: &str) -> String {
        let Self { region, .. } = self;
        format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    }
}
