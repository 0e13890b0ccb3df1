import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.File;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.TopicExistsException;

/**
 * Debezium's embedded engine as it comes: its defaults, JSON with embedded schemas, snapshot first. Each record goes to its
 * own topic in Kafka, as from Kafka Connect, or into a file, a line each: topic, key and value, the two as they are, with tabs
 * between. It ends when a record of topic PREFIX.t.done has come, or at a signal.
 *
 * Arguments: mysql host, mysql port, user, password, server id, prefix, databases, work folder, "kafka:BOOTSTRAP" or
 * "file:PATH", then KEY=VALUE of the engine's properties.
 */
public class DebeziumRecords {
  public static void main(String[] args) throws Exception {
    String prefix = args[5], sink = args[8].substring(args[8].indexOf(':') + 1);
    File folder = new File(args[7]);
    folder.mkdirs();

    Properties engine = new Properties();
    engine.setProperty("name", prefix);
    engine.setProperty("connector.class", "io.debezium.connector.mysql.MySqlConnector");
    engine.setProperty("offset.storage", "org.apache.kafka.connect.storage.FileOffsetBackingStore");
    engine.setProperty("offset.storage.file.filename", new File(folder, "offsets.dat").getPath());
    engine.setProperty("offset.flush.interval.ms", "1000");
    engine.setProperty("schema.history.internal", "io.debezium.storage.file.history.FileSchemaHistory");
    engine.setProperty("schema.history.internal.file.filename", new File(folder, "history.dat").getPath());
    engine.setProperty("database.hostname", args[0]);
    engine.setProperty("database.port", args[1]);
    engine.setProperty("database.user", args[2]);
    engine.setProperty("database.password", args[3]);
    engine.setProperty("database.server.id", args[4]);
    engine.setProperty("topic.prefix", prefix);
    engine.setProperty("database.include.list", args[6]);
    for (int index = 9; index < args.length; index++) {
      int equals = args[index].indexOf('=');
      engine.setProperty(args[index].substring(0, equals), args[index].substring(equals + 1));
    }

    boolean isKafka = args[8].startsWith("kafka:");
    KafkaProducer<String, String> producer = isKafka ? producer(sink) : null;
    PrintWriter file = isKafka ? null : new PrintWriter(sink, StandardCharsets.UTF_8);
    Set<String> topics = new HashSet<>();
    CountDownLatch done = new CountDownLatch(1);
    DebeziumEngine<ChangeEvent<String, String>> debezium = DebeziumEngine.create(Json.class)
        .using(engine)
        .using((success, message, error) -> {
          if (error != null) error.printStackTrace();
          if (!success) System.err.println(message);
          done.countDown();
        })
        .notifying((List<ChangeEvent<String, String>> batch, DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) -> {
          List<Future<?>> sent = new ArrayList<>(batch.size());
          for (ChangeEvent<String, String> event : batch) {
            String topic = event.destination();
            if (isKafka) {
              if (topics.add(topic)) create(sink, topic);
              sent.add(producer.send(new ProducerRecord<>(topic, event.key(), event.value())));
            } else {
              file.println(topic + "\t" + event.key() + "\t" + event.value());
              if (topic.equals(prefix + ".t.done")) done.countDown();
            }
            committer.markProcessed(event);
          }
          for (Future<?> answer : sent) {
            try {
              answer.get();
            } catch (ExecutionException failed) {
              throw new RuntimeException(failed);
            }
          }
          committer.markBatchFinished();
          if (file != null) file.flush();
        })
        .build();
    Executors.newSingleThreadExecutor().execute(debezium);
    done.await();
    if (file != null) file.close();
    Runtime.getRuntime().halt(0);
  }

  /** As Kafka Connect does it, with three partitions. */
  static void create(String bootstrap, String topic) throws InterruptedException {
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
      admin.createTopics(List.of(new NewTopic(topic, Optional.of(3), Optional.empty()))).all().get();
    } catch (ExecutionException failed) {
      if (!(failed.getCause() instanceof TopicExistsException)) throw new RuntimeException(failed);
    }
  }

  static KafkaProducer<String, String> producer(String bootstrap) {
    Properties kafka = new Properties();
    kafka.setProperty("bootstrap.servers", bootstrap);
    kafka.setProperty("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
    kafka.setProperty("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
    // Kafka Connect's own settings.
    kafka.setProperty("acks", "all");
    kafka.setProperty("enable.idempotence", "false");
    kafka.setProperty("max.in.flight.requests.per.connection", "1");
    kafka.setProperty("delivery.timeout.ms", String.valueOf(Integer.MAX_VALUE));
    kafka.setProperty("max.request.size", "10485760");
    return new KafkaProducer<>(kafka);
  }
}
