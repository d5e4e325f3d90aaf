//! What an SMTP session looks like from the other side, and what becomes of those who do not keep to it.

mod world;

use std::sync::Arc;
use std::time::Duration;

use burrow_mail::{Config, Limits, Refusal};
use testkit_mail::{Client, Form, Letter, Names, RCPT, SENDER, Signer, stuffed};
use tokio::io::AsyncReadExt as _;
use world::{Setting, World, acceptor, config, server};

fn limits(change: impl FnOnce(&mut Limits)) -> Setting {
    let mut config = config();
    change(&mut config.limits);
    Setting { config, ..Setting::default() }
}

/// A whole session that sends these bytes after `DATA`, all at once.
fn script(data: &[u8]) -> Vec<u8> {
    [format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RCPT}>\r\nDATA\r\n").as_bytes(), data, b"QUIT\r\n"].concat()
}

#[tokio::test]
async fn commands_are_answered_as_mail_servers_expect() {
    let world = World::with(limits(|limits| limits.faults = 100)).await;
    let mut client = world.client().await;
    for (line, reply) in [
        ("NOOP", "250 2.0.0 OK"),
        ("HELO x", "250 mx.farm.example.org"),
        ("EHLO x", "250-mx.farm.example.org\n250-PIPELINING\n250-SIZE 5242880\n250-ENHANCEDSTATUSCODES\n250 8BITMIME"),
        ("RCPT TO:<bot@farm.example.org>", "503 5.5.1 Error: need MAIL command"),
        ("DATA", "503 5.5.1 Error: need MAIL command"),
        ("MAIL FROM:ada", "501 5.5.2 Syntax: MAIL FROM:<reverse-path> [parameters]"),
        ("MAIL FROM:<a@gerritcodereview.bounces.google.com> SIZE=5242881", "552 5.3.4 Message too large"),
        ("MAIL FROM:<a@gerritcodereview.bounces.google.com> SMTPUTF8", "555 5.5.4 A parameter is not supported"),
        ("MAIL FROM:<a@gerritcodereview.bounces.google.com> COLOUR=red", "555 5.5.4 A parameter is not supported"),
        ("mail from:<a@gerritcodereview.bounces.google.com> size=1000 body=8bitmime", "250 2.1.0 Ok"),
        ("MAIL FROM:<a@gerritcodereview.bounces.google.com>", "503 5.5.1 Error: nested MAIL command"),
        ("DATA", "554 5.5.1 Error: no valid recipients"),
        ("rcpt to:<Bot@Farm.example.org>", "250 2.1.5 Ok"),
        ("RCPT TO:<bot@farm.example.org>", "554 5.5.1 Error: dup recipients"),
        ("DATA now", "501 5.5.4 Unexpected argument"),
        ("RSET", "250 2.0.0 OK"),
        ("DATA", "503 5.5.1 Error: need MAIL command"),
        ("AUTH LOGIN", "502 5.5.2 Error: command not recognized"),
        ("VRFY root", "502 5.5.2 Error: command not recognized"),
        ("STARTTLS", "502 5.5.2 Error: command not recognized"),
        ("BDAT 10 LAST", "502 5.5.2 Error: command not recognized"),
        ("GET / HTTP/1.1", "502 5.5.2 Error: command not recognized"),
        ("", "502 5.5.2 Error: command not recognized"),
        ("QUIT", "221 2.0.0 Bye"),
        ("NOOP", ""),
    ] {
        assert_eq!(client.say(line).await, reply, "{line}");
    }
    world.stop().await;
}

#[tokio::test]
async fn commands_may_come_all_at_once_and_several_mails_in_one_connection() {
    let world = World::new().await;
    let mail = world.signer.sign(&Letter::new(7));
    let one = script(&stuffed(&mail));
    let two = String::from_utf8(one).expect("ASCII").replace("QUIT\r\n", "RSET\r\nNOOP\r\n").repeat(2) + "QUIT\r\n";
    let mut client = world.client().await;
    client.send(two).await.expect("send");
    let mut replies = Vec::new();
    for _ in 0..15 {
        replies.push(client.reply().await.chars().take(3).collect::<String>());
    }
    assert_eq!(replies.join(" "), "250 250 250 354 250 250 250 250 250 250 354 250 250 250 221");
    assert_eq!(world.mails().len(), 2);
}

#[tokio::test]
async fn mail_comes_over_tls_too_and_nothing_said_before_it_counts() {
    let world = World::with(Setting { tls: Some(acceptor()), ..Setting::default() }).await;
    let mut client = world.client().await;
    assert!(client.say("EHLO x").await.contains("\n250-STARTTLS\n"));
    assert_eq!(client.say(&format!("MAIL FROM:<{SENDER}>")).await, "250 2.1.0 Ok");
    assert_eq!(client.say("STARTTLS").await, "220 2.0.0 Go ahead with TLS");
    let mut client = client.secure().await.expect("a handshake");
    assert_eq!(client.say(&format!("RCPT TO:<{RCPT}>")).await, "503 5.5.1 Error: need MAIL command");
    let hello = client.say("EHLO x").await;
    assert!(hello.starts_with("250-mx") && !hello.contains("STARTTLS"), "{hello}");
    assert_eq!(client.say("STARTTLS").await, "502 5.5.2 Error: command not recognized");
    assert_eq!(client.mail(&world.signer.sign(&Letter::new(7))).await, "250 2.0.0 Ok: stored");
    assert_eq!(client.say("QUIT").await, "221 2.0.0 Bye");
    assert_eq!(client.reply().await, "", "closed");
    // Somebody in the middle puts a command behind STARTTLS, to be taken for one that came under its protection.
    let mut client = world.client().await;
    client.send("EHLO x\r\nSTARTTLS\r\nRSET\r\n").await.expect("send");
    client.reply().await;
    assert_eq!(client.reply().await, Refusal::Injected.reply());
    assert_eq!(client.reply().await, "", "closed");
    world.stop().await;
}

#[tokio::test]
async fn no_byte_but_crlf_dot_crlf_ends_a_mail() {
    let world = World::new().await;
    let second = stuffed(&world.signer.sign(&Letter::new(2)));
    let smuggled = [format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RCPT}>\r\nDATA\r\n").as_bytes(), &second].concat();
    for (end, why) in [
        (&b"\n.\n"[..], Refusal::BareLf),
        (b"\n.\r\n", Refusal::BareLf),
        (b"\r\n.\n", Refusal::BareLf),
        (b"\r.\r", Refusal::BareCr),
        (b"\r.\r\n", Refusal::BareCr),
        (b"\r\n.\r", Refusal::BareCr),
        (b"\r\n\0.\r\n", Refusal::BadBody),
        (b"\r\n..\r\n", Refusal::BadBody),
    ] {
        // The outer mail is rightly signed, up to where another server would end it.
        let outer = world.signer.sign(&Letter { body: "text".into(), ..Letter::new(1) });
        let mut client = world.client().await;
        client.send(script(&[&outer, end, &smuggled].concat())).await.expect("send");
        let mut last = String::new();
        loop {
            let reply = client.reply().await;
            if reply.is_empty() || reply.starts_with("221") {
                break;
            }
            last = reply;
        }
        assert_eq!(last, why.reply(), "{end:?}");
        assert_eq!(world.mails(), [], "{end:?}");
    }
}

#[tokio::test]
async fn a_connection_cut_at_any_byte_leaves_no_half_mail() {
    let names = Names::start().await;
    let (server, counters, taken) = server(Setting::default(), &names).await;
    let whole = script(&stuffed(&Signer::new().sign(&Letter { body: "..\r\n.\r\n".into(), ..Letter::new(7) })));
    let complete = whole.len() - "QUIT\r\n".len();
    for cut in 0..=whole.len() {
        let (mut client, stream) = tokio::io::duplex(16 << 10);
        tokio::io::AsyncWriteExt::write_all(&mut client, &whole[..cut]).await.expect("send");
        tokio::io::AsyncWriteExt::shutdown(&mut client).await.expect("cut");
        server.converse(stream).await;
        let mails = std::mem::take(&mut *taken.lock().expect("the sink's list"));
        assert_eq!(mails.len(), usize::from(cut >= complete), "{cut} of {} bytes", whole.len());
        let mut said = String::new();
        client.read_to_string(&mut said).await.expect("read");
        assert_eq!(said.contains("Ok: stored"), cut >= complete, "{said}");
    }
    assert_eq!(counters.open(), 0);
}

#[tokio::test]
async fn lines_and_faults_have_a_limit() {
    let world = World::new().await;
    for before in ["", "EHLO x\r\nMAIL FROM:<a@gerritcodereview.bounces.google.com>\r\nRCPT TO:<bot@farm.example.org>\r\nDATA\r\n"] {
        for end in ["", "\r\n"] {
            let mut client = world.client().await;
            client.send(format!("{before}{}{end}", "x".repeat(4_097 - end.len()))).await.expect("send");
            let mut replies = Vec::new();
            loop {
                match client.reply().await {
                    reply if reply.is_empty() => break,
                    reply => replies.push(reply),
                }
            }
            assert_eq!(replies.last().map(String::as_str), Some(Refusal::LineTooLong.reply()), "{before:?} {end:?}");
        }
    }
    let mut client = world.client().await;
    for _ in 1..Limits::default().faults {
        assert_eq!(client.say("AUTH LOGIN").await, Refusal::Command.reply());
    }
    let last = client.say("AUTH LOGIN").await;
    assert_eq!((last.as_str(), client.reply().await.as_str()), (Refusal::Command.reply(), Refusal::Faults.reply()));
    assert_eq!(client.reply().await, "", "closed");
    let mut client = world.client().await;
    client.send("NOOP\r\n".repeat(10 * Limits::default().faults + 1)).await.expect("send");
    let mut replies = std::collections::BTreeMap::new();
    loop {
        match client.reply().await {
            reply if reply.is_empty() => break,
            reply => *replies.entry(reply).or_insert(0) += 1,
        }
    }
    assert_eq!(replies, [("250 2.0.0 OK".to_owned(), 200), (Refusal::Faults.reply().to_owned(), 1)].into());
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let world = World::with(limits(|limits| limits.connections_per_address = 2)).await;
    let (first, _second) = (world.client().await, world.client().await);
    let mut third = Client::connect(world.address).await.expect("the server listens");
    assert_eq!(third.reply().await, Refusal::CrowdedAddress.reply());
    assert_eq!(third.reply().await, "", "closed");
    let mut first = first;
    assert_eq!(first.say("QUIT").await, "221 2.0.0 Bye");
    // Its place is free when the server has noticed; until then whoever comes is told.
    loop {
        let mut next = Client::connect(world.address).await.expect("the server listens");
        if next.reply().await.starts_with("220") {
            break;
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn header_blocks_share_a_budget() {
    // Room for one block at a time.
    let world = World::with(limits(|limits| limits.memory = limits.header)).await;
    let mail = stuffed(&world.signer.sign(&Letter::new(7)));
    let envelope = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RCPT}>\r\nDATA\r\n");
    let (mut slow, mut other) = (world.client().await, world.client().await);
    slow.send(&envelope).await.expect("send");
    for reply in ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 Go ahead"] {
        assert_eq!(slow.reply().await, reply);
    }
    other.send(&envelope).await.expect("send");
    for reply in ["250 2.1.0 Ok", "250 2.1.5 Ok", Refusal::Memory.reply()] {
        assert_eq!(other.reply().await, reply);
    }
    slow.send(&mail).await.expect("send");
    assert_eq!(slow.reply().await, "250 2.0.0 Ok: stored");
    other.send([envelope.as_bytes(), &mail].concat()).await.expect("send");
    for reply in ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 Go ahead", "250 2.0.0 Ok: stored"] {
        assert_eq!(other.reply().await, reply, "the budget is given back");
    }
    // A body does not count: it is not kept.
    slow.send(&envelope).await.expect("send");
    slow.send(b"X-No: field\r\n\r\nbody\r\n").await.expect("send");
    for reply in ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 Go ahead"] {
        assert_eq!(slow.reply().await, reply);
    }
    slow.send(b".\r\n").await.expect("send");
    assert_eq!(slow.reply().await, Refusal::Unsigned.reply());
}

#[tokio::test]
async fn a_body_of_any_allowed_size_passes_through() {
    let world = World::new().await;
    let letter = Letter { body: format!("{}\r\n", "x".repeat(4_000)).repeat(1_300), ..Letter::new(7) };
    assert_eq!(world.send(&world.signer.sign_as(&letter, &Form { relaxed: Some((true, false)), ..Form::default() })).await, "250 2.0.0 Ok: stored");
}

#[tokio::test(start_paused = true)]
async fn who_drips_is_cut_off() {
    let names = Names::start().await;
    let (server, counters, taken) = server(Setting::default(), &names).await;
    let server = Arc::new(server);
    let talk = |script: Vec<u8>, drop: &'static [u8]| {
        let server = Arc::clone(&server);
        async move {
            let (client, stream) = tokio::io::duplex(16 << 10);
            let serving = tokio::spawn(async move { server.converse(stream).await });
            let (mut read, mut write) = tokio::io::split(client);
            tokio::io::AsyncWriteExt::write_all(&mut write, &script).await.expect("send");
            let dripping = tokio::spawn(async move {
                while tokio::io::AsyncWriteExt::write_all(&mut write, drop).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
            });
            let start = tokio::time::Instant::now();
            let mut said = String::new();
            read.read_to_string(&mut said).await.expect("read");
            serving.await.expect("the conversation ends");
            let lasted = start.elapsed();
            drop_task(dripping).await;
            (said.lines().last().unwrap_or_default().to_owned(), lasted)
        }
    };
    let limits = Limits::default();
    let into_data = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RCPT}>\r\nDATA\r\n").into_bytes();
    assert_eq!(talk(into_data, b"X-A: b\r\n").await, (Refusal::SlowData.reply().to_owned(), limits.data));
    // A command line that never ends, byte by byte: the connection's own limit.
    assert_eq!(talk(Vec::new(), b"N").await, (Refusal::Timeout.reply().to_owned(), limits.connection));
    assert_eq!(talk(Vec::new(), b"").await.0, Refusal::Timeout.reply(), "silence");
    assert_eq!((counters.open(), taken.lock().expect("the sink's list").len()), (0, 0));
}

async fn drop_task(task: tokio::task::JoinHandle<()>) {
    task.abort();
    let _ = task.await;
}

#[tokio::test]
async fn a_server_that_stops_lets_a_mail_be_finished() {
    let world = World::new().await;
    let mail = stuffed(&world.signer.sign(&Letter::new(7)));
    let (mut idle, mut busy) = (world.client().await, world.client().await);
    busy.send(format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RCPT}>\r\nDATA\r\n")).await.expect("send");
    for reply in ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 Go ahead"] {
        assert_eq!(busy.reply().await, reply);
    }
    world.shutdown.cancel();
    assert_eq!(idle.reply().await, "421 4.3.2 The server stops; try again later");
    busy.send(&mail).await.expect("send");
    assert_eq!(busy.reply().await, "250 2.0.0 Ok: stored");
    assert_eq!(busy.reply().await, "421 4.3.2 The server stops; try again later");
    assert_eq!(world.mails().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_taken_without_a_recipient_or_a_domain() {
    let names = Names::start().await;
    let keys = Arc::new(burrow_mail::DnsKeys::at(&[names.address()]).expect("a resolver"));
    let sink = |_| std::future::ready(burrow_mail::Taken::Durably);
    let make = |config: Config| burrow_mail::Server::new(config, None, keys.clone(), Arc::new(sink), burrow_clock::SystemClock::shared(), Arc::default());
    assert!(make(config()).is_ok());
    assert_eq!(make(Config { rcpt: vec![], ..config() }).err(), Some(burrow_mail::ServerError::NoRecipient));
    assert_eq!(make(Config { dkim_domains: vec![], ..config() }).err(), Some(burrow_mail::ServerError::NoDomain));
}
