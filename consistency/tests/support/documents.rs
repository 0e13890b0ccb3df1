//! Documents put into Elasticsearch by hand.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use fixtures::Lab;

/// A session with a lab's Elasticsearch.
pub struct Documents {
    transport: Transport,
    url: String,
}

impl Documents {
    pub fn of(lab: &Lab) -> Self {
        let url = lab.elasticsearch().expect("an Elasticsearch").url();
        Self {
            transport: Transport::single_node(&url).expect("a good URL"),
            url,
        }
    }

    /// The checker's section.
    pub fn section(&self) -> String {
        format!("[writer.elasticsearch]\nurls = [\"{}\"]\n", self.url)
    }

    /// An index whose documents are shown by no search until it is refreshed.
    pub async fn create(&self, index: &str) {
        let body = r#"{"settings":{"number_of_replicas":0,"number_of_shards":2,"refresh_interval":"-1"},
            "mappings":{"dynamic":false,"properties":{"__mysync_deleted":{"type":"boolean"}}}}"#;
        self.ask(Method::Put, index, body.to_owned()).await;
    }

    /// Puts documents, each an id and a source.
    pub async fn put(&self, index: &str, documents: &[(&str, &str)]) {
        let mut body = String::new();
        for (id, source) in documents {
            let id = serde_json::to_string(id).expect("a string");
            body.push_str(&format!("{{\"index\":{{\"_id\":{id}}}}}\n{source}\n"));
        }
        self.bulk(index, body).await;
    }

    /// Deletes a document.
    pub async fn delete(&self, index: &str, id: &str) {
        let id = serde_json::to_string(id).expect("a string");
        self.bulk(index, format!("{{\"delete\":{{\"_id\":{id}}}}}\n")).await;
    }

    async fn bulk(&self, index: &str, body: String) {
        let answer = self.ask(Method::Post, &format!("{index}/_bulk"), body).await;
        assert!(answer.contains("\"errors\":false"), "{answer}");
    }

    pub async fn ask(&self, method: Method, path: &str, body: String) -> String {
        let answer = self
            .transport
            .send(method, path, HeaderMap::new(), None::<&()>, Some(body), None)
            .await
            .expect("an answer");
        let status = answer.status_code();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status}: {text}");
        text
    }
}
