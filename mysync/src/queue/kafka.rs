//! The real queue: Kafka, by librdkafka.
