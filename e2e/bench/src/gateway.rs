//! etcd's JSON gateway: many puts in one request, and one put without the start of a program.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use tweed_lab::etcd::PORT;
use tweed_lab::http;
use tweed_lab::topology::Lab;

/// Puts in one transaction; etcd allows 128.
const BATCH: usize = 100;

/// Writes keys and values.
///
/// # Errors
/// When etcd refuses.
pub fn put(lab: &Lab, entries: &[(String, String)]) -> Result<()> {
    for batch in entries.chunks(BATCH) {
        let puts: Vec<_> = batch
            .iter()
            .map(|(key, value)| {
                json!({ "requestPut": { "key": base64(key), "value": base64(value) } })
            })
            .collect();
        let answer = post(lab, "/v3/kv/txn", &json!({ "success": puts }))?;
        ensure!(answer["succeeded"] == true, "{answer}");
    }
    Ok(())
}

fn post(lab: &Lab, path: &str, body: &Value) -> Result<Value> {
    let (status, answer) = http::post(lab.switch.place(), PORT, path, &body.to_string())?;
    ensure!(status == 200, "etcd answers {status}: {answer}");
    Ok(serde_json::from_str(&answer)?)
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |bits, (index, &byte)| {
                bits | u32::from(byte) << (16 - 8 * index)
            });
        for digit in 0..4 {
            if digit <= chunk.len() {
                let index = (bits >> (18 - 6 * digit)) & 63;
                out.push(char::from(DIGITS[index as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn texts_of_every_length_are_encoded() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(base64);
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
