//! Request and response heads, redirects, registrations and pick-up targets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_revdial::{PickupTarget, Registration, RequestHead, ResponseHead, pickup_request, redirect_target};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(head)) = ResponseHead::parse(data) {
        assert!(head.len <= data.len());
        let _ = head.content_length();
        if let Ok(target) = redirect_target(&head) {
            assert!(target.starts_with('/') && !target.starts_with("//"));
            let _ = pickup_request(&target);
        }
    }
    if let Ok(Some(head)) = RequestHead::parse(data) {
        assert!(head.len <= data.len());
        let _ = (head.path(), head.content_length(), PickupTarget::parse(&head.target));
        if let Ok(registration) = Registration::read(&head, true) {
            let _ = registration.encode("/reverse");
        }
    }
});
