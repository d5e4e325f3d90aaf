//! Results into a store (`spec/perfdata.md` §4): one request with the file and the word that commits it.

use burrow_http_client::{Client, Request};
use http::header::AUTHORIZATION;

/// Why nothing was stored, or nobody knows whether it was.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The request could not be made, or had no answer.
    #[error("uploading to {url}: {error}")]
    Request {
        /// The store.
        url: String,
        /// Why.
        error: burrow_http_client::Error,
    },
    /// The store refused it.
    #[error("{url} answered {status}: {answer}")]
    Refused {
        /// The store.
        url: String,
        /// The status.
        status: u16,
        /// What it said.
        answer: String,
    },
    /// The answer is not a store's.
    #[error("{url} is no store of benchmark results: its answer has no uploadid")]
    NoStore {
        /// The address.
        url: String,
    },
}

/// Larger answers are not a store's.
const LARGEST_ANSWER: usize = 1 << 20;

/// Uploads a file; says where it can be seen, or the number that it has if the store does not say. A failure may have stored it all the same if the answer was lost.
///
/// # Errors
/// [`UploadError`]
pub async fn upload(client: &Client, store: &str, token: Option<&str>, file: &str, text: &[u8]) -> Result<String, UploadError> {
    let url = format!("{}/upload", store.trim_end_matches('/'));
    let wrong = |error| UploadError::Request { url: url.clone(), error };
    let (boundary, body) = multipart(file, text);
    let mut request = Request::post(&url, &format!("multipart/form-data; boundary={boundary}"), body).map_err(wrong)?;
    if let Some(token) = token {
        request = request.secret_header(AUTHORIZATION, &format!("Bearer {token}")).map_err(wrong)?;
    }
    let answer = client.send(request).await.map_err(wrong)?;
    let status = answer.status();
    let body = answer.bytes(LARGEST_ANSWER).await.map_err(wrong)?;
    if !status.is_success() {
        let answer = String::from_utf8_lossy(&body).trim().chars().take(1000).collect();
        return Err(UploadError::Refused { url, status: status.as_u16(), answer });
    }
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let word = |key: &str| said.get(key).and_then(serde_json::Value::as_str);
    match (word("viewurl"), word("uploadid")) {
        (Some(view), Some(_)) => Ok(view.to_owned()),
        (None, Some(id)) => Ok(format!("upload {id}")),
        _ => Err(UploadError::NoStore { url }),
    }
}

/// Boundary and body.
fn multipart(file: &str, text: &[u8]) -> (String, Vec<u8>) {
    // Benchmark text cannot hold this but on purpose; then another number is taken.
    let boundary = (0u32..).map(|n| format!("burrow-bench-{n:08x}")).find(|boundary| !contains(text, boundary.as_bytes())).unwrap_or_default();
    let name: String = file.chars().filter(|c| !c.is_control()).flat_map(|c| [matches!(c, '"' | '\\').then_some('\\'), Some(c)]).flatten().collect();
    let mut body =
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n")
            .into_bytes();
    body.extend_from_slice(text);
    body.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"commit\"\r\n\r\n1\r\n--{boundary}--\r\n").as_bytes());
    (boundary, body)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_holds_the_boundary_gets_another_one() {
        let (boundary, body) = multipart("a\"b.txt", b"x burrow-bench-00000000 y");
        assert_eq!(boundary, "burrow-bench-00000001");
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("filename=\"a\\\"b.txt\"") && body.ends_with("name=\"commit\"\r\n\r\n1\r\n--burrow-bench-00000001--\r\n"), "{body}");
    }
}
