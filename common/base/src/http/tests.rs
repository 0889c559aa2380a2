//! A real listener on the loopback interface.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn get(server: &Server, path: &str) -> String {
    let address = ("127.0.0.1", server.local_address().port());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn serves_metrics_health_and_added_routes_and_nothing_else() {
    let routes = Routes::new()
        .metrics("/metrics", Metrics::new())
        .leader_health(|| Err("not renewed for 40s".to_owned()))
        .route("/healthz", || async { Reply::ok() });
    let server = serve("127.0.0.1:0", routes).unwrap();

    let page = get(&server, "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("\npromhttp_metric_handler_requests_in_flight 1\n"), "{page}");

    let health = get(&server, "/healthz/leader-election").await;
    assert!(health.starts_with("HTTP/1.1 500 "), "{health}");
    assert!(health.ends_with("\r\n\r\ninternal server error: not renewed for 40s\n"), "{health}");

    let added = get(&server, "/healthz?verbose").await;
    assert!(added.starts_with("HTTP/1.1 200 OK") && added.ends_with("\r\n\r\nok"), "{added}");

    let other = get(&server, "/debug/pprof/").await;
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
}

#[tokio::test]
async fn a_query_selects_metric_families_by_exact_name() {
    let server = serve("127.0.0.1:0", Routes::new().metrics("/metrics", Metrics::new())).unwrap();
    let families = async |query: &str| {
        let page = get(&server, &format!("/metrics?{query}")).await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (start, requests) = ("process_start_time_seconds", "promhttp_metric_handler_requests_total");
    assert_eq!(families(&format!("name[]={start}")).await, [start]);
    assert_eq!(families(&format!("name%5B%5D={start}&x=y&name[]={requests}")).await, [start, requests]);
    assert_eq!(families("name[]=process").await, [""; 0]);
    assert!(families("name=process").await.len() > 5, "only name[] selects");
}

#[tokio::test]
async fn status_page_comes_with_a_policy_that_allows_nothing() {
    let board = Board::default();
    board.describe(|process| process.driver = "driver.example".to_owned());
    let server = serve("127.0.0.1:0", Routes::new().status(board)).unwrap();
    let page = get(&server, "/status").await;
    assert!(page.contains("content-type: text/html; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none';"), "{page}");
    assert!(
        page.contains("cache-control: no-store\r\n") && page.contains("<td>driver.example</td>"),
        "{page}"
    );
    let page = get(&server, "/status?format=json&object=ns%2Fa").await;
    assert!(page.contains("content-type: application/json\r\n"), "{page}");
    assert!(page.contains("\"driver\":\"driver.example\""), "{page}");
    let without = serve("127.0.0.1:0", Routes::new()).unwrap();
    for path in ["/", "/status"] {
        assert!(get(&without, path).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[tokio::test]
async fn front_leads_to_the_status_page_and_shows_nothing() {
    let board = Board::default();
    board.describe(|process| process.driver = "driver.example".to_owned());
    let server = serve("127.0.0.1:0", Routes::new().status(board.clone())).unwrap();
    let front = get(&server, "/").await;
    // Relative, for a proxy that serves it under a path of its own.
    assert!(front.starts_with("HTTP/1.1 302 ") && front.contains("\r\nlocation: status\r\n"), "{front}");
    assert!(!front.contains("driver.example"), "every account of OpenShift may get /: {front}");
    let metrics = Routes::new().status(board).metrics("/", Metrics::new());
    let front = get(&serve("127.0.0.1:0", metrics).unwrap(), "/").await;
    assert!(front.starts_with("HTTP/1.1 200 ") && front.contains("process_start_time_seconds"), "{front}");
}

#[tokio::test]
async fn guard_is_asked_about_pages_and_not_about_health() {
    let asked: Guard = Arc::new(|question: Question| {
        Box::pin(async move {
            match question.token.expose() {
                "good" => Ok(()),
                bad => Err(Refusal::Forbidden { user: format!("{bad} {} {}", question.path, question.peer) }),
            }
        })
    });
    let routes =
        Routes::new().metrics("/metrics", Metrics::new()).status(Board::default()).leader_health(|| Ok(()));
    let access = Access { tls: None, guard: Some(asked) };
    let server = serve_with("127.0.0.1:0", routes, access).unwrap();
    let with = async |path: &str, token: &str| {
        let header =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        get(&server, &format!("{path} HTTP/1.1\r\n{header}X:")).await
    };
    for path in ["/metrics", "/status"] {
        assert!(with(path, "").await.starts_with("HTTP/1.1 401 "), "{path}");
        assert!(with(path, "good").await.starts_with("HTTP/1.1 200 "), "{path}");
        let refused = with(path, "bad").await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{path}");
        assert!(refused.contains(&format!("\"bad {path} 127.0.0.1\"")), "{refused}");
    }
    assert!(with(LEADER_HEALTH, "").await.starts_with("HTTP/1.1 200 "), "the kubelet has no token");
}

#[tokio::test]
async fn a_healthy_leader_answers_ok() {
    let server = serve(":0", Routes::new().leader_health(|| Ok(()))).unwrap();
    let health = get(&server, LEADER_HEALTH).await;
    assert!(health.starts_with("HTTP/1.1 200 OK") && health.ends_with("\r\n\r\nok"), "{health}");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_before_anything_runs() {
    let first = serve("127.0.0.1:0", Routes::new()).unwrap();
    let address = first.local_address().to_string();
    let error = serve(&address, Routes::new()).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on \"{address}\": ")));
}

#[tokio::test]
async fn an_address_that_is_none_is_named() {
    for address in ["8080", "localhost", ":http", ":65536", ""] {
        let error = serve(address, Routes::new()).unwrap_err();
        assert!(matches!(&error, ListenError::Address(text) if text == address), "{error}");
    }
}

#[tokio::test]
async fn stops_listening_when_dropped() {
    let server = serve("127.0.0.1:0", Routes::new()).unwrap();
    let address = server.local_address();
    drop(server);
    // The task ends at its next turn.
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed() {
    let server = serve("127.0.0.1:0", Routes::new()).unwrap();
    let mut stream = TcpStream::connect(server.local_address()).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    // Ends because the server closes; the paused clock skips the wait.
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok());
}

/// One request on a connection that stays open; whether it was answered.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut answer = [0; 1024];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await;
    asked.is_ok() && matches!(read, Ok(Ok(length)) if answer[..length].starts_with(b"HTTP/1.1 200 OK"))
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_probe_out() {
    let server = serve("127.0.0.1:0", Routes::new().route("/healthz", || async { Reply::ok() })).unwrap();
    let connect = async || TcpStream::connect(server.local_address()).await.unwrap();
    let mut first = connect().await;
    assert!(is_answered(&mut first).await);
    let mut second = connect().await;
    assert!(is_answered(&mut second).await);
    let mut others = Vec::new();
    for _ in 2..connections::MOST {
        others.push(connect().await);
    }
    assert!(is_answered(&mut first).await, "it has just been used, and there was room");
    let mut probe = connect().await;
    assert!(is_answered(&mut probe).await, "it is answered at once");
    assert!(!is_answered(&mut second).await, "the one that was idle for longest is closed");
    assert!(is_answered(&mut first).await);
}

#[tokio::test]
async fn request_in_work_stays_when_connections_are_many() {
    let (begun, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let slow = {
        let (begun, go_on) = (begun.clone(), go_on.clone());
        move || {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            async move {
                begun.notify_one();
                go_on.notified().await;
                Reply::ok()
            }
        }
    };
    let routes = Routes::new().route("/slow", slow).route("/healthz", || async { Reply::ok() });
    let server = serve("127.0.0.1:0", routes).unwrap();
    let asked = get(&server, "/slow");
    let flood = async {
        begun.notified().await;
        let mut streams = Vec::new();
        for _ in 0..2 * connections::MOST {
            let mut stream = TcpStream::connect(server.local_address()).await.unwrap();
            assert!(is_answered(&mut stream).await);
            streams.push(stream);
        }
        go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(asked, flood);
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

/// A connection from this address of this host.
async fn connect_from(source: &str, server: &Server) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(server.local_address()).await.unwrap()
}

#[tokio::test]
async fn burst_of_busy_requests_closes_no_other_peer_s_connection() {
    let busy = || std::future::pending::<Reply>();
    let routes = Routes::new().route("/slow", busy).route("/healthz", || async { Reply::ok() });
    let server = serve("127.0.0.1:0", routes).unwrap();
    let mut other = connect_from("127.0.0.2", &server).await;
    assert!(is_answered(&mut other).await);
    let mut burst = Vec::new();
    for _ in 0..2 * connections::MOST {
        let mut stream = connect_from("127.0.0.3", &server).await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        burst.push(stream);
        tokio::task::yield_now().await;
    }
    assert!(is_answered(&mut other).await, "it has one connection, the peer of the burst has all others");
    let mut probe = connect_from("127.0.0.4", &server).await;
    assert!(is_answered(&mut probe).await && is_answered(&mut other).await);
}

#[tokio::test]
async fn head_of_a_request_is_bounded() {
    let server = serve("127.0.0.1:0", Routes::new().route("/healthz", || async { Reply::ok() })).unwrap();
    let with = async |length: usize| {
        let mut stream = TcpStream::connect(server.local_address()).await.unwrap();
        let long = "x".repeat(length);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {long}\r\n\r\n");
        // The server may hang up before all is sent.
        let mut answer = Vec::new();
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    assert!(with(20_000).await.starts_with("HTTP/1.1 200 "), "the longest token has room");
    let large = with(200_000).await;
    assert!(!large.contains("200 OK"), "{large}");
}

#[tokio::test(start_paused = true)]
async fn status_page_is_made_once_a_second_at_the_most() {
    let (board, made) = (Board::default(), Arc::new(AtomicUsize::new(0)));
    let count = made.clone();
    board.add_fact("Pages", move || count.fetch_add(1, Ordering::Relaxed).to_string());
    let routes = Routes::new().status(board);
    let page = async |query: &str| (routes.0[STATUS].answer)(query).await.body;
    let first = page("format=json").await;
    for _ in 0..10 {
        assert_eq!(page("format=json").await, first);
    }
    assert_eq!(made.load(Ordering::Relaxed), 1);
    assert_ne!(page("").await, first, "another form is another page");
    assert_ne!(page("format=json&object=a").await, first);
    assert_eq!(made.load(Ordering::Relaxed), 3);
    let begun = tokio::time::Instant::now();
    for object in 0..10 {
        page(&format!("object={object}")).await;
    }
    assert!(begun.elapsed() >= 9 * BETWEEN_PAGES, "as many pages as there are objects are no way around it");
    made.store(3, Ordering::Relaxed);
    tokio::time::advance(FRESH).await;
    page("format=json&object=a").await;
    assert_eq!(made.load(Ordering::Relaxed), 4);
}
