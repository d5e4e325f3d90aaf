//! Which mail is taken, what is read of it, and what the others are told.

mod world;

use std::sync::Arc;

use burrow_clock::TestClock;
use burrow_mail::{Config, GerritMail, Refusal, Taken, Uncovered};
use testkit_mail::{Answer, Form, Letter, RCPT, SENDER};
use world::{KEY, Setting, World, config};

#[tokio::test]
async fn a_signed_notification_is_taken_and_its_signed_fields_are_read() {
    let world = World::new().await;
    assert_eq!(world.send(&world.signer.sign(&Letter::new(39_551))).await, "250 2.0.0 Ok: stored");
    let mail = GerritMail {
        url: "https://go-review.googlesource.com/c/build/+/39551".into(),
        project: "build".into(),
        commit: format!("{:040x}", 39_551),
        change_number: 39_551,
        message_type: "newpatchset".into(),
        message_id: "<9a7f.9b61@google.com>".into(),
        signed: Form::default().fields,
        domain: "google.com".into(),
        sender: SENDER.into(),
    };
    assert_eq!(world.mails(), [mail]);
    assert_eq!((world.counters.accepted(), world.refused()), (1, vec![]));
    assert!(world.counters.last_accepted_ms().is_some());
    world.stop().await;
}

#[tokio::test]
async fn every_canonical_form_verifies_and_none_means_simple() {
    let world = World::new().await;
    for relaxed in [None, Some((false, false)), Some((false, true)), Some((true, false)), Some((true, true))] {
        for body in ["", "\r\n\r\n", "one line\r\n", "a \t b \r\n\r\n.\r\n..x\r\n\r\n"] {
            let letter = Letter { body: body.into(), ..Letter::new(7) };
            let mail = world.signer.sign_as(&letter, &Form { relaxed, ..Form::default() });
            assert_eq!(world.send(&mail).await, "250 2.0.0 Ok: stored", "{relaxed:?} {body:?}");
        }
    }
    // A relay may fold and space otherwise what is relaxed.
    let mail = String::from_utf8(world.signer.sign(&Letter::new(8))).expect("ASCII");
    let mail = mail.replace("Subject: [build]", "SUBJECT:  [build]\r\n\t").replace("new patch set.", "new  patch\tset.   ");
    assert_eq!(world.send(mail.as_bytes()).await, "250 2.0.0 Ok: stored");
}

#[tokio::test]
async fn an_old_gerrit_names_the_project_in_its_list_and_shows_its_address_plainly() {
    let world = World::new().await;
    let letter = Letter::new(39_551)
        .without("X-Gerrit-Project")
        .without("X-Gerrit-Commit")
        .with("List-Id", "Changes of Go <gerrit-go.go-review.googlesource.com>")
        .with("X-Gerrit-ChangeURL", "<<https://go-review.googlesource.com/39551>>")
        .with("X-Gerrit-Change-Number", "many");
    assert_eq!(world.send(&world.signer.sign(&letter)).await, "250 2.0.0 Ok: stored");
    let mail = world.mails().remove(0);
    assert_eq!((mail.project.as_str(), mail.url.as_str()), ("go", "https://go-review.googlesource.com/39551"));
    assert_eq!((mail.commit.as_str(), mail.change_number), ("", 0));
}

#[tokio::test]
async fn what_is_put_above_a_signed_field_is_not_read() {
    let world = World::new().await;
    let mail = world.signer.sign(&Letter::new(7));
    let forged =
        [b"X-Gerrit-Project: secret\r\nx-gerrit-changeurl: <https://evil.example.org/1>\r\nMessage-ID: <new@evil.example.org>\r\n", &mail[..]].concat();
    assert_eq!(world.send(&forged).await, "250 2.0.0 Ok: stored");
    let seen = world.mails().remove(0);
    assert_eq!((seen.project.as_str(), seen.message_id.as_str()), ("build", "<7.9b61@google.com>"), "so the replay is known by its name");
    assert_eq!(seen.url, "https://go-review.googlesource.com/c/build/+/7");
    // Put below the genuine ones, they are what the signature is about, which they do not fit.
    let below = String::from_utf8(mail.clone()).expect("ASCII").replacen("\r\n\r\n", "\r\nX-Gerrit-Project: secret\r\n\r\n", 1);
    assert_eq!(world.send(below.as_bytes()).await, Refusal::BadSignature.reply());
    // Where the signer shut the door, nothing can be put above either.
    let shut = world.signer.sign_as(&Letter::new(7), &Form { fields: [Form::default().fields, vec!["x-gerrit-project".into()]].concat(), ..Form::default() });
    assert_eq!(world.send(&shut).await, "250 2.0.0 Ok: stored");
    assert_eq!(world.send(&[b"X-Gerrit-Project: secret\r\n", &shut[..]].concat()).await, Refusal::Fields.reply());
}

#[tokio::test]
async fn everything_else_is_refused_with_its_reason_and_counted() {
    let world = World::new().await;
    let (signer, letter) = (&world.signer, Letter::new(7));
    world.names.set("20221208._domainkey.evilgoogle.com", Answer::Text(testkit_mail::Signer::record()));
    world.names.set("revoked._domainkey.google.com", Answer::Text("v=DKIM1; k=rsa; p=".into()));
    world.names.set("rubbish._domainkey.google.com", Answer::Text("hello".into()));
    world.names.set("down._domainkey.google.com", Answer::Failure);
    let as_form = |change: fn(&mut Form)| {
        let mut form = Form::default();
        change(&mut form);
        signer.sign_as(&letter, &form)
    };
    let text = String::from_utf8(signer.sign(&letter)).expect("ASCII");
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    let fields = Form::default().fields;
    let without = |gone: &str| Form { fields: fields.iter().filter(|name| *name != gone).cloned().collect(), ..Form::default() };
    let cases = [
        (letter.text().into_bytes(), Refusal::Unsigned),
        (edit("X-Gerrit-Project: build", "X-Gerrit-Project: secret"), Refusal::BadSignature),
        (edit("uploaded a new", "uploaded no new"), Refusal::BadBody),
        ([text.as_bytes(), b"more\r\n"].concat(), Refusal::BadBody),
        (edit("b=", "b=AAAA"), Refusal::BadSignature),
        ([&signer.sign(&letter)[..text.find("Date:").expect("a date")], text.as_bytes()].concat(), Refusal::SignedTwice),
        (as_form(|form| form.domain = "evilgoogle.com".into()), Refusal::Domain),
        (as_form(|form| form.domain = "google.com.example.org".into()), Refusal::Domain),
        (as_form(|form| form.domain = "com".into()), Refusal::Domain),
        (as_form(|form| form.more = "x=1000000000;".into()), Refusal::Expired),
        (as_form(|form| form.more = "t=2000000000; x=1999999999;".into()), Refusal::Expired),
        (as_form(|form| form.more = "l=10;".into()), Refusal::SignatureForm),
        (as_form(|form| form.more = "i=ada@example.org;".into()), Refusal::BadSignature),
        (as_form(|form| form.algorithm = "rsa-sha1".into()), Refusal::SignatureForm),
        (as_form(|form| form.algorithm = "rot13".into()), Refusal::SignatureForm),
        (as_form(|form| form.selector = "missing".into()), Refusal::NoKey),
        (as_form(|form| form.selector = "revoked".into()), Refusal::NoKey),
        (as_form(|form| form.selector = "rubbish".into()), Refusal::NoKey),
        (as_form(|form| form.selector = "down".into()), Refusal::KeyLookUp),
        (as_form(|form| form.selector = "a b".into()), Refusal::NoKey),
        (as_form(|form| form.selector = "..".into()), Refusal::SignatureForm),
        (signer.sign_as(&letter, &without("x-gerrit-project")), Refusal::NotCovered),
        (signer.sign_as(&letter, &without("x-gerrit-changeurl")), Refusal::NotCovered),
        (signer.sign_as(&letter, &without("x-gerrit-commit")), Refusal::NotCovered),
        (signer.sign_as(&letter, &without("from")), Refusal::SignatureForm),
        (signer.sign(&letter.clone().without("X-Gerrit-ChangeURL")), Refusal::Fields),
        (signer.sign(&letter.clone().with("X-Gerrit-ChangeURL", "<javascript:alert(1)>")), Refusal::Fields),
        (signer.sign(&letter.clone().with("X-Gerrit-Commit", "--output=x")), Refusal::Fields),
        (edit("\r\n\r\n", "\r\nno field at all\r\n\r\n"), Refusal::Header),
        (edit("Subject:", "Sub\0ject:"), Refusal::Header),
        (edit("Subject:", "Subject :"), Refusal::Header),
        ([b" folded from nowhere\r\n", text.as_bytes()].concat(), Refusal::Header),
        (b"\r\n".to_vec(), Refusal::Header),
        (b"X-Only: this\r\n".to_vec(), Refusal::Header),
        (b"DKIM-Signature: \r\nFrom: a\r\n\r\n".to_vec(), Refusal::SignatureForm),
        (format!("X-Long: {}\r\n{text}", "x\r\n ".repeat(30_000)).into_bytes(), Refusal::HeaderSize),
        (signer.sign(&Letter { body: "0123456789abc\r\n".repeat(400_000), ..letter.clone() }), Refusal::Size),
    ];
    for (mail, why) in cases {
        let before = world.counters.refused(why);
        let shown = String::from_utf8_lossy(&mail[..mail.len().min(400)]).into_owned();
        assert_eq!(world.send(&mail).await, why.reply(), "{why:?}\n{shown}");
        assert_eq!(world.counters.refused(why), before + 1);
    }
    assert_eq!(world.mails(), [], "nothing of this reaches the sink");
    world.stop().await;
}

#[tokio::test]
async fn a_signature_expires_by_our_clock() {
    let clock = TestClock::at(4_000_000_000_000);
    let world = World::with(Setting { clock: Arc::new(clock.clone()), ..Setting::default() }).await;
    let mail = world.signer.sign_as(&Letter::new(7), &Form { more: "x=4000000010;".into(), ..Form::default() });
    assert_eq!(world.send(&mail).await, "250 2.0.0 Ok: stored");
    clock.advance_ms(10_000);
    assert_eq!(world.send(&mail).await, Refusal::Expired.reply());
}

#[tokio::test]
async fn subdomains_of_a_trusted_domain_count() {
    let world = World::new().await;
    world.names.set("20221208._domainkey.reviews.google.com", Answer::Text(testkit_mail::Signer::record()));
    let mail = world.signer.sign_as(&Letter::new(7), &Form { domain: "Reviews.Google.com".into(), ..Form::default() });
    assert_eq!(world.send(&mail).await, "250 2.0.0 Ok: stored");
    assert_eq!(world.mails()[0].domain, "reviews.google.com");
}

#[tokio::test]
async fn an_owner_may_take_unsigned_fields_that_stand_alone() {
    let world = World::with(Setting { config: Config { uncovered: Uncovered::TakeSingle, ..config() }, ..Setting::default() }).await;
    let mail = world.signer.sign_as(&Letter::new(7), &Form::over(&["from", "to", "subject", "date"]));
    assert_eq!(world.send(&mail).await, "250 2.0.0 Ok: stored");
    // Whatever an unsigned Message-ID says, a replay has the same name.
    let replay = String::from_utf8(mail.clone()).expect("ASCII").replace("Message-ID: <7.", "Message-ID: <8.");
    assert_eq!(world.send(replay.as_bytes()).await, "250 2.0.0 Ok: stored");
    let seen = world.mails();
    assert!(seen[0].message_id.starts_with("dkim:") && seen[0].message_id == seen[1].message_id, "{seen:?}");
    assert_eq!(world.send(&[b"X-Gerrit-Project: secret\r\n", &mail[..]].concat()).await, Refusal::NotCovered.reply());
}

#[tokio::test]
async fn a_mail_that_cannot_be_stored_stays_with_its_sender() {
    let world = World::with(Setting { says: Taken::NotNow("disk full".into()), ..Setting::default() }).await;
    assert_eq!(world.send(&world.signer.sign(&Letter::new(7))).await, "451 4.3.0 The mail could not be stored; try again later");
    assert_eq!((world.counters.accepted(), world.counters.refused(Refusal::NotStored)), (0, 1));
}

#[tokio::test]
async fn keys_are_asked_for_once_and_long_ones_over_tcp() {
    let world = World::new().await;
    for number in 0..20 {
        assert_eq!(world.send(&world.signer.sign(&Letter::new(number))).await, "250 2.0.0 Ok: stored");
    }
    assert_eq!(world.names.asked(), 1);
    world.names.set("long._domainkey.google.com", Answer::TextOverTcp(testkit_mail::Signer::record()));
    let mail = world.signer.sign_as(&Letter::new(7), &Form { selector: "long".into(), ..Form::default() });
    assert_eq!(world.send(&mail).await, "250 2.0.0 Ok: stored");
}

#[tokio::test]
async fn a_failed_look_up_is_tried_again_with_the_next_mail() {
    let world = World::new().await;
    let mail = world.signer.sign(&Letter::new(7));
    world.names.set(KEY, Answer::Failure);
    assert_eq!(world.send(&mail).await, Refusal::KeyLookUp.reply());
    world.names.set(KEY, Answer::Text(testkit_mail::Signer::record()));
    assert_eq!(world.send(&mail).await, "250 2.0.0 Ok: stored");
}

#[tokio::test]
async fn the_envelope_is_checked_before_the_mail_is_sent() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.say("EHLO x").await;
    for from in ["<>", "<ada@google.com>", "<ada@gerritcodereview.bounces.google.com.example.org>", "<ada@x.gerritcodereview.bounces.google.com>"] {
        assert_eq!(client.say(&format!("MAIL FROM:{from}")).await, Refusal::Sender.reply(), "{from}");
    }
    assert_eq!(client.say("MAIL FROM:<ada@GerritCodeReview.bounces.google.com>").await, "250 2.1.0 Ok");
    assert_eq!(client.say("RCPT TO:<root@farm.example.org>").await, "550 5.1.1 bad recipient");
    assert_eq!(client.say(&format!("RCPT TO:<{RCPT}>")).await, "250 2.1.5 Ok");
}

#[tokio::test]
async fn what_dkimpy_signed_is_taken() {
    let world = World::new().await;
    for mail in [&include_bytes!("fixtures/dkimpy-relaxed.eml")[..], include_bytes!("fixtures/dkimpy-simple.eml")] {
        assert_eq!(world.send(mail).await, "250 2.0.0 Ok: stored");
        let seen = world.mails().pop().expect("a mail");
        assert_eq!((seen.url.as_str(), seen.message_type.as_str()), ("https://go-review.googlesource.com/c/build/+/457036", "merged"));
        // It lists the project twice, so that nobody can put another above it.
        assert_eq!(world.send(&[b"X-Gerrit-Project: secret\r\n", mail].concat()).await, Refusal::Fields.reply());
    }
}
