use super::*;
use crate::http::FakeServer;

/// Long enough for a busy machine; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers a bulk request of N rows with N items, the index of each the row's number.
fn server() -> FakeServer {
    FakeServer::start(|request| {
        let rows = request.ndjson().len() / 2;
        let items: Vec<Value> =
            (0..rows).map(|row| json!({"create": {"_id": row.to_string(), "status": 201}})).collect();
        Reply::json(200, json!({"errors": false, "took": 1, "items": items})).chunked()
    })
}

fn rows(range: std::ops::Range<usize>) -> String {
    range.map(|i| format!("{{\"create\":{{\"_id\":\"{i}\"}}}}\n{{\"n\":{i}}}\n")).collect()
}

fn set() -> (FakeServer, ChaosProxy, Client) {
    let server = server();
    let proxy = ChaosProxy::start(&server.url()).unwrap();
    let client = Client::new(&proxy.url()).unwrap().timeout(PATIENCE);
    (server, proxy, client)
}

fn bulk(client: &Client, rows: &str) -> io::Result<crate::http::Response> {
    client.request("POST", "/_bulk", &[("Content-Type", "application/x-ndjson")], rows.as_bytes())
}

#[test]
fn without_rules_everything_passes_and_is_recorded() {
    let (server, proxy, client) = set();
    let reply = bulk(&client, &rows(0..3)).unwrap();
    assert_eq!(reply.json()["items"].as_array().unwrap().len(), 3);
    assert_eq!(reply.headers.get("transfer-encoding"), Some("chunked"), "the framing passes as well");
    let recorded = proxy.bulks();
    assert_eq!(recorded[0].request.text(), rows(0..3));
    assert_eq!((recorded[0].server_status, recorded[0].client_status), (Some(200), Some(200)));
    assert_eq!(proxy.now(), Now { arrived: 1, in_flight: 0, held: 0 });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn one_connection_serves_many_requests() {
    use std::io::{Read as _, Write as _};
    let (_server, proxy, _) = set();
    let mut stream = std::net::TcpStream::connect(proxy.background.addr).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"0\r\n\r\n") {
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "closed early");
            reply.extend_from_slice(&buffer[..n]);
        }
    }
    assert_eq!(proxy.now().arrived, 3);
}

#[test]
fn a_chunked_request_with_an_expectation_reaches_the_server_whole() {
    use std::io::{Read as _, Write as _};
    let (server, proxy, _) = set();
    let mut stream = std::net::TcpStream::connect(proxy.background.addr).unwrap();
    let head = "POST /_bulk HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    let body = rows(0..1);
    write!(stream, "{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert_eq!(server.requests()[0].text(), body);
}

#[test]
fn a_held_reply_has_been_processed_and_waits_for_its_release() {
    let (server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::Hold));
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| bulk(&client, &rows(0..1)));
        assert!(proxy.wait_until(PATIENCE, |now| now.held == 1));
        assert_eq!(server.requests().len(), 1);
        assert_eq!(proxy.now().in_flight, 1);
        assert_eq!(proxy.bulks()[0].client_status, None);
        proxy.release();
        assert_eq!(reply.join().unwrap().unwrap().status, 200);
    });
    assert!(proxy.wait_until(PATIENCE, |now| now.held == 0 && now.in_flight == 0));
    assert_eq!(proxy.bulks()[0].client_status, Some(200));
}

#[tokio::test]
async fn an_asynchronous_test_waits_without_blocking() {
    let (_server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::Hold));
    let reply = tokio::task::spawn_blocking(move || bulk(&client, &rows(0..1)));
    assert!(proxy.until(PATIENCE, |now| now.held == 1).await);
    assert!(!proxy.until(PATIENCE / 1000, |now| now.held == 0).await);
    proxy.clear();
    assert_eq!(reply.await.unwrap().unwrap().status, 200);
}

#[test]
fn a_client_that_goes_away_is_no_longer_in_flight() {
    let (_server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::Hold).times(1));
    proxy.rule(Rule::bulk(Fault::never_answer()));
    let impatient = client.timeout(Duration::from_millis(100));
    for n in 1..=2 {
        assert!(bulk(&impatient, &rows(0..1)).is_err());
        assert!(proxy.wait_until(PATIENCE, |now| now == Now { arrived: n, in_flight: 0, held: 0 }));
    }
    let statuses: Vec<_> = proxy.bulks().iter().map(|r| (r.server_status, r.client_status)).collect();
    assert_eq!(statuses, [(Some(200), None), (None, None)]);
}

#[test]
fn a_delayed_reply_comes_late_or_when_the_rules_are_cleared() {
    let (_server, proxy, client) = set();
    proxy.rule(Rule::new(Fault::Delay(PATIENCE / 100)).times(1));
    proxy.rule(Rule::new(Fault::Delay(PATIENCE * 60)));
    let begin = Instant::now();
    assert_eq!(bulk(&client, &rows(0..1)).unwrap().status, 200);
    assert!(begin.elapsed() >= PATIENCE / 100);
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| bulk(&client, &rows(0..1)));
        assert!(proxy.wait_until(PATIENCE, |now| now.held == 1));
        proxy.clear();
        assert_eq!(reply.join().unwrap().unwrap().status, 200);
    });
}

#[test]
fn a_reply_that_comes_after_the_rules_were_cleared_is_not_held() {
    let server = FakeServer::start(|_| Reply::new(200).delay(Duration::from_millis(200)));
    let proxy = ChaosProxy::start(&server.url()).unwrap();
    let client = Client::new(&proxy.url()).unwrap().timeout(PATIENCE);
    proxy.rule(Rule::new(Fault::Hold));
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| client.get("/"));
        assert!(proxy.wait_until(PATIENCE, |now| now.in_flight == 1));
        proxy.clear();
        assert_eq!(reply.join().unwrap().status, 200);
    });
}

#[test]
fn replies_are_cut_or_lost_after_the_server_has_processed_the_request() {
    let (server, proxy, client) = set();
    for fault in [Fault::Cut(20), Fault::Cut(0), Fault::LoseReply] {
        proxy.rule(Rule::bulk(fault).times(1));
    }
    for n in 1..=3 {
        assert!(bulk(&client, &rows(0..2)).is_err(), "{n}");
        assert_eq!(server.requests().len(), n);
    }
    assert_eq!(bulk(&client, &rows(0..2)).unwrap().status, 200, "all rules have done their times");
    assert!(proxy.bulks()[..3].iter().all(|r| (r.server_status, r.client_status) == (Some(200), None)));
}

#[test]
fn canned_replies_never_reach_the_server() {
    let (server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::Answer(Reply::busy().header("Retry-After", "7"))).times(1));
    proxy.rule(Rule::bulk(Fault::too_large()).times(1));
    proxy.rule(Rule::bulk(Fault::hang_up()).times(1));
    let busy = bulk(&client, &rows(0..1)).unwrap();
    assert_eq!((busy.status, busy.headers.get("retry-after")), (429, Some("7")));
    assert_eq!(busy.json()["error"]["type"], "es_rejected_execution_exception");
    let too_large = bulk(&client, &rows(0..1)).unwrap();
    assert_eq!((too_large.status, too_large.body.as_str()), (413, ""));
    assert_eq!(too_large.headers.get("connection"), Some("close"));
    assert!(bulk(&client, &rows(0..1)).is_err());
    assert_eq!(server.requests().len(), 0);
    let got: Vec<_> = proxy.bulks().iter().map(|r| r.client_status).collect();
    assert_eq!(got, [Some(429), Some(413), None]);
}

#[test]
fn two_of_three_are_throttled_after_the_first_ones() {
    let (_server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::busy()).after(2).of(2, 3).times(4));
    let statuses: Vec<_> = (0..9).map(|_| bulk(&client, &rows(0..1)).unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 200, 429, 429, 200, 200]);
    assert_eq!(client.get("/").status, 200, "other requests are not counted");
}

#[test]
fn a_lie_about_the_count_lacks_the_last_item() {
    let (_server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::drop_item()));
    let reply = bulk(&client, &rows(0..3)).unwrap().json();
    assert_eq!(reply["items"].as_array().unwrap().len(), 2);
    assert_eq!(reply["errors"], true);
}

#[test]
fn refused_items_stay_in_their_place_and_never_reach_the_server() {
    let (server, proxy, client) = set();
    proxy.rule(Rule::bulk(Fault::RefuseItems { refuse: 2, of: 3 }));
    let reply = bulk(&client, &rows(0..7)).unwrap().json();
    let statuses: Vec<_> =
        reply["items"].as_array().unwrap().iter().map(|i| i["create"]["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [429, 429, 201, 429, 429, 201, 429]);
    assert_eq!(reply["items"][4]["create"]["_id"], "4");
    assert_eq!(reply["errors"], true);
    let documents: Vec<_> = server.bulks()[0].ndjson().iter().filter_map(|l| l["n"].as_u64()).collect();
    assert_eq!(documents, [2, 5]);

    let all = bulk(&client, &rows(0..1)).unwrap().json();
    assert_eq!(all["items"][0]["create"]["status"], 429);
    assert_eq!(server.bulks().len(), 1, "nothing was left to send");
}

#[test]
fn refusing_resets_connections_until_it_is_over() {
    let (_server, proxy, client) = set();
    proxy.refuse(true);
    assert!(bulk(&client, &rows(0..1)).is_err());
    proxy.clear();
    assert_eq!(bulk(&client, &rows(0..1)).unwrap().status, 200);
}

#[test]
fn a_server_that_is_gone_closes_the_connection_and_another_takes_its_place() {
    let (server, proxy, client) = set();
    drop(server);
    assert!(bulk(&client, &rows(0..1)).is_err());
    let another = super::tests::server();
    proxy.redirect(&another.url()).unwrap();
    assert_eq!(bulk(&client, &rows(0..1)).unwrap().status, 200);
    assert_eq!(another.requests().len(), 1);
}
