//! A complete plugin: the sink `wire` writes one JSON document a line to a TCP server.

use flowstone_core::event::EncodeOptions;
use flowstone_core::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

options! {
    /// Options of `wire`.
    pub struct WireOptions {
        /// Host and port of the server.
        address: String,
    }
}

struct Wire(WireOptions);

impl Wire {
    async fn write(&self, request: &Request) -> std::io::Result<()> {
        let mut server = TcpStream::connect(&self.0.address).await?;
        for chunk in request.chunks() {
            server.write_all(&chunk).await?;
        }
        server.shutdown().await
    }
}

#[async_trait]
impl Sink for Wire {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let key = body.key(&self.0.address);
        body.json(EncodeOptions::default());
        for row in batch.live_rows() {
            body.row(batch.id(row), key, |buffer| {
                let start = buffer.len();
                batch.write_json(row, EncodeOptions::default(), buffer);
                buffer.push(b'\n');
                start
            });
        }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        // It only says what happened; trying again, when and how often, is the engine's business.
        Verdicts::All(match self.write(request).await {
            Ok(()) => Verdict::Delivered,
            Err(error) => Verdict::busy("connection", format!("{}: {error}", self.0.address)),
        })
    }

    async fn probe(&self) -> Result<(), String> {
        TcpStream::connect(&self.0.address)
            .await
            .map(|_| ())
            .map_err(|error| format!("{}: {error}", self.0.address))
    }
}

register_sink! {
    "wire",
    summary: "writes JSON lines to a TCP server",
    options: WireOptions,
    example: "address = \"127.0.0.1:5170\"",
    build: |options: WireOptions, _cx: &BuildCx| Ok(Box::new(Wire(options))),
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn documents_arrive_and_a_missing_server_is_tried_again() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Wire(WireOptions { address: server.local_addr().unwrap().to_string() });
        let mut batch = Batch::new(vec![RowId::default()]);
        batch.row_mut(0).set("message", "hello").unwrap();
        let mut body = Body::default();
        sink.encode(&batch, &mut body);
        let request = Request::of(body.finish(Into::into));
        let (sent, accepted) = tokio::join!(sink.send(&request), server.accept());
        let mut received = String::new();
        accepted.unwrap().0.read_to_string(&mut received).await.unwrap();
        assert_eq!(
            (sent, received.as_str()),
            (Verdicts::All(Verdict::Delivered), "{\"message\":\"hello\"}\n")
        );
        drop(server);
        assert!(matches!(sink.send(&request).await, Verdicts::All(Verdict::Busy { .. })));
    }
}
